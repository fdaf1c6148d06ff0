"""Inception blocks: branches side by side on the same maps, joined along the channels; a loss for auxiliary heads.

Ref: Szegedy et al. 2014, Going deeper with convolutions, arXiv 1409.4842, figure 2b (Inception); Szegedy et al. 2015,
Rethinking the Inception architecture for computer vision, arXiv 1512.00567, figures 5 to 7 and 10 (Mixed and its
tables). Parameters are named as torchvision's. Joining copies nothing: each branch writes its own channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from striate import ops
from striate.nn import BatchNorm2d, Conv2d, MaxPool2d, Module, Sequential, init

Branch = tuple[tuple[Any, ...], ...]  # of (layer, maps, kernel), (layer, maps, kernel, stride) or (pooling,)
Table = tuple[Branch, ...]  # a row a branch; branches that begin alike share the layers they begin with

POOLINGS: dict[str, Callable[[Any], Any]] = {
    "average": lambda x: ops.avg_pool2d(x, 3, stride=1, padding=1),
    "maximum": lambda x: ops.max_pool2d(x, 3, stride=2),
}


class BasicConv2d(Module):
    """relu(norm(conv(x))), or with batch_norm=False relu(conv(x) + bias).

    Shapes: (N, c, H, W) -> (N, o, OH, OW), as ops.conv2d.
    """

    def __init__(self, c: int, o: int, kernel: Any, stride: int = 1, padding: Any = 0, *,
                 batch_norm: bool = True) -> None:
        super().__init__()
        self.conv = Conv2d(c, o, kernel, stride, padding, bias=not batch_norm, weight_init=init.he_normal)
        self.bn = BatchNorm2d(o, eps=1e-3) if batch_norm else None

    def forward(self, x: Any) -> Any:
        x = self.conv(x)
        return ops.relu(x if self.bn is None else self.bn(x))


class Inception(Module):
    """The block of GoogLeNet in the words of the paper's table 1; `wide` is the kernel it has as 5x5.

    Shapes: (N, c, H, W) -> (N, out_channels, H, W).
    """

    def __init__(self, c: int, ones: int, threes_reduce: int, threes: int, fives_reduce: int, fives: int,
                 pool_proj: int, *, wide: int = 5, batch_norm: bool = False) -> None:
        super().__init__()

        def conv(c: int, o: int, kernel: int) -> BasicConv2d:
            return BasicConv2d(c, o, kernel, padding=kernel // 2, batch_norm=batch_norm)

        self.branch1 = conv(c, ones, 1)
        self.branch2 = Sequential(conv(c, threes_reduce, 1), conv(threes_reduce, threes, 3))
        self.branch3 = Sequential(conv(c, fives_reduce, 1), conv(fives_reduce, fives, wide))
        self.branch4 = Sequential(MaxPool2d(3, stride=1, padding=1), conv(c, pool_proj, 1))
        self.out_channels = ones + threes + fives + pool_proj

    def forward(self, x: Any) -> Any:
        return ops.concat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)])


class Mixed(Module):
    """A block read off a table of branches, as those below are.

    Shapes: (N, c, H, W) -> (N, out_channels, H, W), or (N, out_channels, (H - 1) // 2, (W - 1) // 2) where the table
    has steps of stride 2. Steps of stride 1 are padded to keep the size, the others not at all.
    """

    def __init__(self, c: int, table: Table) -> None:
        super().__init__()
        self.table = table
        self.out_channels = sum(self._add(c, branch) for branch in table)

    def forward(self, x: Any) -> Any:
        ys: dict[Branch, Any] = {(): x}
        for branch in self.table:
            for i, (name, *layer) in enumerate(branch):
                apply = getattr(self, name) if layer else POOLINGS[name]
                if branch[: i + 1] not in ys:
                    ys[branch[: i + 1]] = apply(ys[branch[:i]])
        return ops.concat([ys[branch] for branch in self.table])

    def _add(self, c: int, branch: Branch) -> int:
        """Adds the layers of a branch behind `c` maps that are not there yet; gives the maps at its end."""
        for name, *layer in branch:
            if layer:
                o, kernel, stride = (*layer, 1)[:3]
                height, width = kernel if isinstance(kernel, tuple) else (kernel, kernel)
                padding = (height // 2, width // 2) if stride == 1 else 0
                if not hasattr(self, name):
                    setattr(self, name, BasicConv2d(c, o, kernel, stride, padding))
                c = o
        return c


def weighted_loss(outputs: Any, targets: Any, weight: float) -> Any:
    """The cross-entropy of the first output plus `weight` times that of each other one; there may be no other.

    Shapes: outputs (N, classes), or a tuple (main, heads...) of them, targets (N,) -> ().
    """
    main, *heads = outputs if isinstance(outputs, tuple) else (outputs,)
    total = ops.cross_entropy(main, targets)
    for head in heads:
        total = total + weight * ops.cross_entropy(head, targets)
    return total


def block_a(pool_proj: int) -> Table:  # figure 5: two 3x3 in a row for a 5x5, of which one stays
    return (
        (("branch1x1", 64, 1),),
        (("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)),
        (("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)),
        (("average",), ("branch_pool", pool_proj, 1)),
    )


BLOCK_B: Table = (  # figure 10: convolutions and a pooling of stride 2 side by side
    (("branch3x3", 384, 3, 2),),
    (("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3, 2)),
    (("maximum",),),
)


def block_c(maps: int) -> Table:  # figure 6: 1x7 behind 7x1 for a 7x7
    return (
        (("branch1x1", 192, 1),),
        (("branch7x7_1", maps, 1), ("branch7x7_2", maps, (1, 7)), ("branch7x7_3", 192, (7, 1))),
        (("branch7x7dbl_1", maps, 1), ("branch7x7dbl_2", maps, (7, 1)), ("branch7x7dbl_3", maps, (1, 7)),
         ("branch7x7dbl_4", maps, (7, 1)), ("branch7x7dbl_5", 192, (1, 7))),
        (("average",), ("branch_pool", 192, 1)),
    )


BLOCK_D: Table = (  # figure 10 again, with a 7x7
    (("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3, 2)),
    (("branch7x7x3_1", 192, 1), ("branch7x7x3_2", 192, (1, 7)), ("branch7x7x3_3", 192, (7, 1)),
     ("branch7x7x3_4", 192, 3, 2)),
    (("maximum",),),
)
BLOCK_E: Table = (  # figure 7: 1x3 and 3x1 side by side, many features of small maps
    (("branch1x1", 320, 1),),
    (("branch3x3_1", 384, 1), ("branch3x3_2a", 384, (1, 3))),
    (("branch3x3_1", 384, 1), ("branch3x3_2b", 384, (3, 1))),
    (("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3), ("branch3x3dbl_3a", 384, (1, 3))),
    (("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3), ("branch3x3dbl_3b", 384, (3, 1))),
    (("average",), ("branch_pool", 192, 1)),
)
