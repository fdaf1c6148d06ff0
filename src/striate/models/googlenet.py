"""GoogLeNet: nine Inception blocks, and two auxiliary heads that training adds; and torchvision's form of it.

Ref: Szegedy et al. 2014, Going deeper with convolutions, arXiv 1409.4842, table 1 and section 5. Differs: weights start
from He et al. 2015; the normalisation, of which the paper says nothing, is AlexNet's; the average in front of the
classes takes the whole map, and that in front of a head gives 4x4 whatever the map (5x5 windows of stride 3 for the
paper's 14x14), so images may have any size. 6,998,552 parameters without the heads, 13,378,280 with them.
googlenet_torchvision differs further as its checkpoint does: batch norm for the biases and the normalisation, 3x3 for
the 5x5 kernels, a 2x2 pooling in front of 5a, dropout of 0.2. 6,624,904 parameters without the heads, 13,004,888 with.
"""

from __future__ import annotations

from typing import Any, ClassVar

from striate import ops
from striate.models.inception import BasicConv2d, Inception, weighted_loss
from striate.models.registry import register
from striate.nn import Dropout, Linear, Module, init
from striate.ops.arguments import flag

# block, #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj
INCEPTIONS = (
    ("3a", 64, 96, 128, 16, 32, 32),
    ("3b", 128, 128, 192, 32, 96, 64),
    ("4a", 192, 96, 208, 16, 48, 64),
    ("4b", 160, 112, 224, 24, 64, 64),
    ("4c", 128, 128, 256, 24, 64, 64),
    ("4d", 112, 144, 288, 32, 64, 64),
    ("4e", 256, 160, 320, 32, 128, 128),
    ("5a", 256, 160, 320, 32, 128, 128),
    ("5b", 384, 192, 384, 48, 128, 128),
)
HEADS = {"4a": "aux1", "4d": "aux2"}  # a block -> the head that reads its maps
HEAD_WEIGHT = 0.3  # of a head's loss


def loss(outputs: Any, targets: Any) -> Any:
    """The cross-entropy of the main output plus 0.3 of each head's; of the main one alone where there are no others.

    Shapes: outputs (N, classes), or a tuple (main, aux1, aux2) of them, targets (N,) -> ().
    """
    return weighted_loss(outputs, targets, HEAD_WEIGHT)


class AuxiliaryHead(Module):
    """Classes from maps halfway. Shapes: (N, c, H, W) -> (N, classes)."""

    def __init__(self, c: int, classes: int, batch_norm: bool) -> None:
        super().__init__()
        self.conv = BasicConv2d(c, 128, 1, batch_norm=batch_norm)
        self.fc1 = Linear(128 * 4 * 4, 1024, weight_init=init.he_normal)
        self.dropout = Dropout(0.7)
        self.fc2 = Linear(1024, classes)
        self.windows = not batch_norm  # the paper's

    def forward(self, x: Any) -> Any:
        if self.windows and x.shape[2:] == (14, 14):
            x = ops.avg_pool2d(x, 5, stride=3)
        else:
            x = ops.adaptive_avg_pool2d(x, 4)
        x = ops.relu(self.fc1(ops.flatten(self.conv(x))))
        return self.fc2(self.dropout(x))


class GoogLeNet(Module):
    """Shapes: (N, in_channels, 224, 224) -> (N, classes), any H and W of at least 47; in training a tuple of three.

    These are (main, aux1, aux2); `loss` weighs them. heads=False builds no auxiliary heads: then training gives one.
    """

    batch_norm: ClassVar[bool] = False
    wide: ClassVar[int] = 5  # the kernel of the branch with the widest one
    last_pool: ClassVar[int] = 3
    dropout: ClassVar[float] = 0.4
    loss = staticmethod(loss)

    def __init__(self, classes: int = 1000, in_channels: int = 3, *, heads: bool = True) -> None:
        super().__init__()
        self.heads = flag("GoogLeNet", "heads", heads)
        norm = self.batch_norm
        self.conv1 = BasicConv2d(in_channels, 64, 7, 2, 3, batch_norm=norm)
        self.conv2 = BasicConv2d(64, 64, 1, batch_norm=norm)
        self.conv3 = BasicConv2d(64, 192, 3, padding=1, batch_norm=norm)
        c = 192
        for name, *maps in INCEPTIONS:
            block = Inception(c, *maps, wide=self.wide, batch_norm=norm)
            setattr(self, f"inception{name}", block)
            c = block.out_channels
            if heads and name in HEADS:
                setattr(self, HEADS[name], AuxiliaryHead(c, classes, norm))
        self.drop = Dropout(self.dropout)
        self.fc = Linear(c, classes)

    def forward(self, x: Any) -> Any:
        x = self.normalized(ops.max_pool2d(self.conv1(x), 3, stride=2, ceil_mode=True))
        x = ops.max_pool2d(self.normalized(self.conv3(self.conv2(x))), 3, stride=2, ceil_mode=True)
        heads = []
        for name, *_ in INCEPTIONS:
            if name in ("4a", "5a"):
                x = ops.max_pool2d(x, 3 if name == "4a" else self.last_pool, stride=2, ceil_mode=True)
            x = getattr(self, f"inception{name}")(x)
            if self.heads and name in HEADS and x.graph.training:
                heads.append(getattr(self, HEADS[name])(x))
        main = self.fc(self.drop(ops.flatten(ops.global_avg_pool2d(x))))
        return (main, *heads) if heads else main

    def normalized(self, x: Any) -> Any:
        """Maps behind the normalisation that the form with batch norm has no need of."""
        return x if self.batch_norm else ops.local_response_norm(x, 5)


class GoogLeNetTorchvision(GoogLeNet):
    """Shapes: as GoogLeNet's, H and W of at least 31."""

    batch_norm, wide, last_pool, dropout = True, 3, 2, 0.2


PAPER = "Szegedy et al. 2014, arXiv 1409.4842"
register("googlenet", GoogLeNet, (3, 224, 224), 1000, PAPER, 2014, top1=68.7, top1_source="Caffe's training of it")
register("googlenet_torchvision", GoogLeNetTorchvision, (3, 224, 224), 1000, PAPER, 2014, top1=69.778,
         top1_source="torchvision")
