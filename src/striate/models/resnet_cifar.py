"""Residual networks for CIFAR-10, and their plain twins.

Ref: He, Zhang, Ren and Sun 2015, arXiv 1512.03385, section 4.2: a 3x3 convolution, then three stages of 16, 32 and 64
maps with n basic blocks each, 6n + 2 layers with weights. Shortcuts are of option A, so a twin has as many parameters.
"""

from __future__ import annotations

from functools import partial

from striate.models.registry import register
from striate.models.resnet import PAPER, Stem, basic

STEM = Stem(maps=16, kernel=3, stride=1, pooled=False)
# Depth -> n; top-1 of table 6. The paper's plain networks have no figures but in its figure 6.
DEPTHS = {20: (3, 91.25), 32: (5, 92.49), 44: (7, 92.83), 56: (9, 93.03), 110: (18, 93.57)}

for depth, (n, top1) in DEPTHS.items():
    family = (partial(basic, STEM, (n, n, n)), (3, 32, 32), 10, PAPER, 2015)
    register(f"resnet{depth}_cifar", *family, top1=top1, top1_source="the paper, CIFAR-10, table 6",
             aliases=(f"resnet{depth}",), shortcut="A")
    register(f"plain{depth}_cifar", *family, aliases=(f"plain{depth}",), residual=False)
