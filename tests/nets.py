"""Small networks that together use every operation the engine treats specially."""

from __future__ import annotations

import numpy as np

from striate import nn, ops


class Tiny(nn.Module):
    """Convolution, norm, activation, a residual add, pooling, a linear head."""

    def __init__(self, classes=5, channels=6):
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.inner = nn.Conv2d(channels, channels, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(channels * 4 * 4, classes)

    def forward(self, x):
        x = ops.relu(self.norm(self.stem(x)))
        x = x + ops.tanh(self.inner(x))
        return self.head(ops.flatten(self.pool(x)))


class Branches(nn.Module):
    """Concat, split, slice, pad, average pooling, grouped and true convolution, dropout, arithmetic; two outputs."""

    def __init__(self):
        super().__init__()
        self.left = nn.Conv2d(4, 8, 3, padding="same", groups=2)
        self.right = nn.Conv2d(4, 4, 5, stride=2, padding=2, flip=True)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(10, 3)

    def forward(self, x):
        left = ops.avg_pool2d(ops.sigmoid(self.left(x)), 2)
        right = self.right(ops.pad(x, ((0, 1), (1, 0)), 0.5))
        right = ops.slice(ops.slice(right, 0, 4, 2), 0, 4, 3)
        both = ops.concat([left, right], axis=1)
        a, b = ops.split(both, [10, 2], axis=1)
        scaled = ops.clip(a * 0.5 - 1.0 / (ops.mul(a, a) + 1.0), -2.0, 2.0)
        features = ops.flatten(ops.global_avg_pool2d(self.drop(scaled)))
        return {"logits": self.head(features), "aux": [ops.mean(b), features]}


class Shared(nn.Module):
    """One layer used twice: one state under its first path."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 2, 3, padding=1)
        self.again = self.first

    def forward(self, x):
        return ops.flatten(ops.global_avg_pool2d(self.again(ops.relu(self.first(x)))))


class Classics(nn.Module):
    """What older networks and those for phones have: other activations and pools, response norm, shuffle, centres."""

    def __init__(self, classes=5):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=False), nn.LeakyReLU(0.1), nn.LocalResponseNorm(alpha=0.1),
            nn.Conv2d(8, 12, 3, padding=1, groups=2), nn.ReLU6(), nn.ChannelShuffle(2),
            nn.Conv2d(12, 12, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU6(), nn.LPPool2d(2, 3, 2),
            nn.Conv2d(12, 6, 1), nn.HardSwish(), nn.AdaptiveAvgPool2d((3, 2)), nn.GELU(), nn.GELU("tanh"), nn.Flatten())
        self.middle = nn.Linear(36, 4, bias=False)  # its rows are centres that learn
        self.head = nn.RBF(np.eye(classes, 4))

    def forward(self, x):
        return -self.head(ops.rbf(self.features(x), self.middle.weight) * 0.01)


class Bottlenecks(nn.Module):
    """Two residual blocks of 1x1, 3x3 and 1x1 kernels: their gradients meet batch norms in every way."""

    def __init__(self, channels=40, inner=24, classes=5):
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.blocks = [
            [nn.Conv2d(a, b, k, padding=k // 2, bias=False), nn.BatchNorm2d(b)]
            for a, b, k in ((channels, inner, 1), (inner, inner, 3), (inner, channels, 1)) * 2
        ]
        self.head = nn.Linear(channels, classes)

    def forward(self, x):
        x = self.stem(x)
        for number in (0, 3):
            y = x
            for conv, norm in self.blocks[number : number + 2]:
                y = ops.relu(norm(conv(y)))
            conv, norm = self.blocks[number + 2]
            x = norm(conv(y)) + x
            x = x if number else ops.relu(x)
        return self.head(ops.flatten(ops.global_avg_pool2d(x)))
