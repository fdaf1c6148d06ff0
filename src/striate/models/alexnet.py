"""AlexNet: on two towers as it won in 2012, on one, and in the form of 2014 that torchvision has.

Ref: Krizhevsky, Sutskever and Hinton 2012, NIPS, section 3 and figure 2; Krizhevsky 2014, One weird trick for
parallelizing convolutional neural networks, arXiv 1404.5997, section 5. Two towers are convolutions of two groups.
Differs: weights start from He et al. 2015; images of another size are pooled to 6x6 before the linear layers, as
torchvision's are; the form of 2014 has, as torchvision's, 256 maps in the fourth convolution and dropout before the
hidden linear layers, not behind them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from striate import ops
from striate.models.registry import register
from striate.nn import Conv2d, Dropout, Linear, LocalResponseNorm, MaxPool2d, Module, ReLU, Sequential, init


class Row(NamedTuple):
    """A convolution with its ReLU; then, if it has them, response norm and overlapping max-pool, 3x3 of stride 2."""

    maps: int
    kernel: int
    stride: int
    padding: int
    groups: int
    normed: bool
    pooled: bool


TWO_TOWERS = (
    Row(96, 11, 4, 0, 1, True, True),
    Row(256, 5, 1, 2, 2, True, True),
    Row(384, 3, 1, 1, 1, False, False),
    Row(384, 3, 1, 1, 2, False, False),
    Row(256, 3, 1, 1, 2, False, True),
)
ONE_TOWER = tuple(row._replace(groups=1) for row in TWO_TOWERS)
FORM_2014 = (
    Row(64, 11, 4, 2, 1, False, True),
    Row(192, 5, 1, 2, 1, False, True),
    Row(384, 3, 1, 1, 1, False, False),
    Row(256, 3, 1, 1, 1, False, False),
    Row(256, 3, 1, 1, 1, False, True),
)
SIZE = 6  # height and width of the maps that the linear layers see
UNITS = 4096  # of both hidden linear layers


class AlexNet(Module):
    """Shapes: (N, in_channels, H, W) -> (N, classes); H and W at least 67, in the form of 2014 63."""

    def __init__(self, rows: tuple[Row, ...], drops_inputs: bool, classes: int, in_channels: int, *,
                 units: int = UNITS) -> None:
        super().__init__()
        self.features = Sequential(*_layers(rows, in_channels))
        first = [Linear(rows[-1].maps * SIZE * SIZE, units, weight_init=init.he_normal), ReLU()]
        second = [Linear(units, units, weight_init=init.he_normal), ReLU()]
        a, b = Dropout(0.5), Dropout(0.5)
        hidden = [a, *first, b, *second] if drops_inputs else [*first, a, *second, b]
        self.classifier = Sequential(*hidden, Linear(units, classes))

    def forward(self, x: Any) -> Any:
        x = self.features(x)
        x = x if x.shape[2:] == (SIZE, SIZE) else ops.adaptive_avg_pool2d(x, SIZE)
        return self.classifier(ops.flatten(x))


def _layers(rows: tuple[Row, ...], c: int) -> Iterator[Module]:
    for row in rows:
        yield Conv2d(c, row.maps, row.kernel, row.stride, row.padding, groups=row.groups, weight_init=init.he_normal)
        yield ReLU()
        if row.normed:
            yield LocalResponseNorm(5)
        if row.pooled:
            yield MaxPool2d(3, stride=2)
        c = row.maps


NIPS = ((3, 227, 227), 1000, "Krizhevsky et al. 2012, NIPS", 2012)
register("alexnet_two_tower", partial(AlexNet, TWO_TOWERS, False), *NIPS, top1=59.3,
         top1_source="the paper, table 2, 10 crops")
register("alexnet_one_tower", partial(AlexNet, ONE_TOWER, False), *NIPS)
register("alexnet", partial(AlexNet, FORM_2014, True), (3, 224, 224), 1000, "Krizhevsky 2014, arXiv 1404.5997", 2014,
         top1=56.522, top1_source="torchvision")
