"""Turn: the way each call goes through its maps."""

from __future__ import annotations

import math

import pytest

from striate.engine.tape import Buffer, Call, Storage
from striate.engine.turn import turned
from striate.kernels.contract import ROWS


def buffer(name, *shape, dense=False):
    return Buffer(Storage(name, 4 * math.prod(shape)), shape, "float32", dense=dense)


X, Y, SMALL, FLAT = buffer("x", 2, 8, 4, 4), buffer("y", 2, 8, 4, 4), buffer("s", 2, 2, 4, 4), buffer("f", 2, 9)
W = buffer("w", 512, 512, 1, 1, dense=True)
CALLS = {
    "conv x y": ("conv2d", (X, W, None, None), (Y,)),
    "relu x x": ("relu", (X,), (X,)),
    "relu y x": ("relu", (Y,), (X,)),
    "relu s s": ("relu", (SMALL,), (SMALL,)),
    "relu f f": ("relu", (FLAT,), (FLAT,)),
    "add s x y": ("add", (SMALL, X), (Y,)),
}


@pytest.mark.parametrize(("names", "ways"), [
    (("conv x y", "relu y x", "conv x y"), "><>"),
    (("conv x y", "relu x x", "relu y x"), "><>"),  # x was touched last
    (("relu x x", "relu s s", "add s x y"), ">><"),  # s was, but it comes out of cache wherever it is begun
    (("conv x y", "relu f f", "relu y x"), ">><"),  # f is no map
    (("relu f f", "relu f f"), ">>"),
    (("conv x y", "conv x y", "conv x y"), "><>"),
    ((), ""),
])
def test_each_call_turns_around_in_the_large_map_touched_last(names, ways):
    calls = [Call(ROWS[row], reads, writes, {}, "forward") for row, reads, writes in map(CALLS.get, names)]
    assert "".join("<" if back else ">" for back in turned(calls)) == ways
