"""Long sums are cut into short ones: the gate of the direct kernels for whole layers (benchmarks/accuracy.py), kept for
every instruction set by its depth of a block. Expected: the same product in float64."""

import numpy as np
import pytest

from striate.kernels import native

GATE = 5e-7  # root mean square error over the standard deviation of the result
DEPTH, COLUMNS, SIZE = 4608, 32, (16, 8)  # 512 outputs of a 3x3 layer
AT = dict(stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1)


@pytest.mark.parametrize("for_dx", [0, 1])
def test_direct_sums_of_a_long_depth_stay_within_their_gate(isa, for_dx):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *SIZE, DEPTH), dtype=np.float32)
    w = rng.standard_normal((DEPTH, COLUMNS), dtype=np.float32)
    image = np.moveaxis(x, 3, 1)
    filters = np.ascontiguousarray(w if for_dx else w.T)[:, :, None, None]
    k = native.kernels(isa)
    packed = k.pack_filters(filters, for_dx=for_dx, groups=1, stride=(1, 1), dilation=(1, 1), nr=native.target(isa).nr)
    if for_dx:
        y = k.conv2d_dx_gemm(image, packed, None, in_channels=COLUMNS, size=SIZE, kernel=(1, 1), **AT)
    else:
        y = k.conv2d_gemm(image, packed, None, None, out_channels=COLUMNS, kernel=(1, 1), activation=0, moments=0, **AT)
        y = y[0]
    exact = np.moveaxis(x.astype(np.float64) @ w.astype(np.float64), 3, 1)
    assert np.sqrt(np.mean((y - exact) ** 2)) <= GATE * exact.std()
