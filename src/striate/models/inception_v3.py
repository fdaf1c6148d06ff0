"""Inception-v3: large kernels taken apart into small ones and into rows and columns.

Ref: Szegedy et al. 2015, Rethinking the Inception architecture for computer vision, arXiv 1512.00567, table 1 and
section 6. Differs as torchvision's does: an auxiliary head with a 5x5 convolution behind the last 17x17 block, three
35x35 blocks that keep a 5x5 kernel, and no label smoothing unless `loss` is replaced; weights start from He et al.
2015. 27,161,264 parameters, of which inference uses 23,834,568: the head has the others.
"""

from __future__ import annotations

from typing import Any

from striate import ops
from striate.models.inception import BLOCK_B, BLOCK_D, BLOCK_E, BasicConv2d, Mixed, block_a, block_c, weighted_loss
from striate.models.registry import register
from striate.nn import Dropout, Linear, Module
from striate.ops.arguments import flag

# layer, maps, kernel, stride, padding; () is a 3x3 maximum of stride 2
STEM: tuple[tuple[Any, ...], ...] = (
    ("Conv2d_1a_3x3", 32, 3, 2, 0),
    ("Conv2d_2a_3x3", 32, 3, 1, 0),
    ("Conv2d_2b_3x3", 64, 3, 1, 1),
    (),
    ("Conv2d_3b_1x1", 80, 1, 1, 0),
    ("Conv2d_4a_3x3", 192, 3, 1, 0),
    (),
)
BLOCKS = (  # from 35x35 maps to 17x17 to 8x8
    ("Mixed_5b", block_a(32)), ("Mixed_5c", block_a(64)), ("Mixed_5d", block_a(64)),
    ("Mixed_6a", BLOCK_B),
    ("Mixed_6b", block_c(128)), ("Mixed_6c", block_c(160)), ("Mixed_6d", block_c(160)), ("Mixed_6e", block_c(192)),
    ("Mixed_7a", BLOCK_D),
    ("Mixed_7b", BLOCK_E), ("Mixed_7c", BLOCK_E),
)
HEAD = "Mixed_6e"  # the block whose maps the auxiliary head reads
HEAD_WEIGHT = 0.4  # of the head's loss, that of the authors' own training; the paper has none


def loss(outputs: Any, targets: Any) -> Any:
    """The cross-entropy of the main output plus 0.4 of the head's; of the main one alone where there are no others.

    Shapes: outputs (N, classes), or a tuple (main, aux) of them, targets (N,) -> ().
    """
    return weighted_loss(outputs, targets, HEAD_WEIGHT)


class AuxiliaryHead(Module):
    """Classes from maps halfway. Shapes: (N, c, H, W) -> (N, classes), H and W of at least 17."""

    def __init__(self, c: int, classes: int) -> None:
        super().__init__()
        self.conv0, self.conv1 = BasicConv2d(c, 128, 1), BasicConv2d(128, 768, 5)
        self.fc = Linear(768, classes)

    def forward(self, x: Any) -> Any:
        x = self.conv1(self.conv0(ops.avg_pool2d(x, 5, stride=3)))
        return self.fc(ops.flatten(ops.global_avg_pool2d(x)))


class InceptionV3(Module):
    """Shapes: (N, in_channels, 299, 299) -> (N, classes), any H and W of at least 75; in training a tuple (main, aux).

    `loss` weighs them. heads=False builds no auxiliary head; training with it needs H and W of at least 299.
    """

    loss = staticmethod(loss)

    def __init__(self, classes: int = 1000, in_channels: int = 3, *, heads: bool = True) -> None:
        super().__init__()
        self.heads = flag("InceptionV3", "heads", heads)
        maps = in_channels
        for name, o, *at in filter(None, STEM):
            setattr(self, name, BasicConv2d(maps, o, *at))
            maps = o
        for name, table in BLOCKS:
            block = Mixed(maps, table)
            setattr(self, name, block)
            maps = block.out_channels
            if heads and name == HEAD:
                self.AuxLogits = AuxiliaryHead(maps, classes)
        self.dropout = Dropout(0.5)
        self.fc = Linear(maps, classes)

    def forward(self, x: Any) -> Any:
        for row in STEM:
            x = getattr(self, row[0])(x) if row else ops.max_pool2d(x, 3, stride=2)
        heads = []
        for name, _ in BLOCKS:
            x = getattr(self, name)(x)
            if self.heads and name == HEAD and x.graph.training:
                heads.append(self.AuxLogits(x))
        main = self.fc(self.dropout(ops.flatten(ops.global_avg_pool2d(x))))
        return (main, *heads) if heads else main


register("inception_v3", InceptionV3, (3, 299, 299), 1000, "Szegedy et al. 2015, arXiv 1512.00567", 2015, top1=77.294,
         top1_source="torchvision")
