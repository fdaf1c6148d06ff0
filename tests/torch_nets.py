"""Networks of the zoo written with PyTorch's layers, under torchvision's names. They need torch."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn


def basic(c, o, kernel, stride=1, padding=0, norm=True):
    """Convolution, batch norm or else a bias, relu."""
    bn = {"bn": nn.BatchNorm2d(o, eps=1e-3)} if norm else {}
    conv = nn.Conv2d(c, o, kernel, stride, padding, bias=not norm)
    return nn.Sequential(OrderedDict(conv=conv, **bn, relu=nn.ReLU()))


class VGG16(nn.Module):
    def __init__(self, units):
        super().__init__()
        layers, c = [], 3
        for o in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
            layers += [nn.Conv2d(c, o, 3, padding=1), nn.ReLU()] if o else [nn.MaxPool2d(2, 2)]
            c = o or c
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(7 * 7 * 512, units), nn.ReLU(), nn.Dropout(), nn.Linear(units, units), nn.ReLU(), nn.Dropout(),
            nn.Linear(units, 1000))

    def forward(self, x):
        return self.classifier(nn.functional.adaptive_avg_pool2d(self.features(x), 7).flatten(1))


class Inception(nn.Module):
    def __init__(self, c, ones, reduce3, threes, reduce5, fives, pool, norm):
        super().__init__()
        wide = 3 if norm else 5
        self.branch1 = basic(c, ones, 1, norm=norm)
        self.branch2 = nn.Sequential(basic(c, reduce3, 1, norm=norm), basic(reduce3, threes, 3, 1, 1, norm))
        self.branch3 = nn.Sequential(basic(c, reduce5, 1, norm=norm), basic(reduce5, fives, wide, 1, wide // 2, norm))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), basic(c, pool, 1, norm=norm))

    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class GoogLeNet(nn.Module):
    def __init__(self, norm=False):
        super().__init__()
        def halve(size=3):
            return nn.MaxPool2d(size, 2, ceil_mode=True)

        lrn = nn.Identity() if norm else nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)
        self.body = nn.Sequential(OrderedDict(
            conv1=basic(3, 64, 7, 2, 3, norm), pool1=halve(), norm1=lrn, conv2=basic(64, 64, 1, norm=norm),
            conv3=basic(64, 192, 3, 1, 1, norm), norm2=lrn, pool2=halve(),
            inception3a=Inception(192, 64, 96, 128, 16, 32, 32, norm),
            inception3b=Inception(256, 128, 128, 192, 32, 96, 64, norm), pool3=halve(),
            inception4a=Inception(480, 192, 96, 208, 16, 48, 64, norm),
            inception4b=Inception(512, 160, 112, 224, 24, 64, 64, norm),
            inception4c=Inception(512, 128, 128, 256, 24, 64, 64, norm),
            inception4d=Inception(512, 112, 144, 288, 32, 64, 64, norm),
            inception4e=Inception(528, 256, 160, 320, 32, 128, 128, norm), pool4=halve(2 if norm else 3),
            inception5a=Inception(832, 256, 160, 320, 32, 128, 128, norm),
            inception5b=Inception(832, 384, 192, 384, 48, 128, 128, norm)))
        self.fc = nn.Linear(1024, 1000)

    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3)))


class Block(nn.Module):
    """Branches of Inception-v3: `layers` are name=(maps in, maps, kernel, stride), `wires` how the outputs are made.

    A wire is names behind one another; "avg" and "max" pool. A name met again on the same way computes the same again.
    """

    def __init__(self, wires, **layers):
        super().__init__()
        self.wires = [wire.split() for wire in wires]
        for name, (c, o, kernel, *stride) in layers.items():
            h, w = kernel if isinstance(kernel, tuple) else (kernel, kernel)
            setattr(self, name, basic(c, o, kernel, *(stride or [1]), 0 if stride else (h // 2, w // 2)))

    def forward(self, x):
        ys = []
        for wire in self.wires:
            y = x
            for name in wire:
                if name == "avg":
                    y = nn.functional.avg_pool2d(y, 3, 1, 1)
                elif name == "max":
                    y = nn.functional.max_pool2d(y, 3, 2)
                else:
                    y = getattr(self, name)(y)
            ys.append(y)
        return torch.cat(ys, 1)


def block_a(c, pool):
    return Block(["branch1x1", "branch5x5_1 branch5x5_2", "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3",
                  "avg branch_pool"],
                 branch1x1=(c, 64, 1), branch5x5_1=(c, 48, 1), branch5x5_2=(48, 64, 5), branch3x3dbl_1=(c, 64, 1),
                 branch3x3dbl_2=(64, 96, 3), branch3x3dbl_3=(96, 96, 3), branch_pool=(c, pool, 1))


def block_c(m):
    row, column = (1, 7), (7, 1)
    return Block(["branch1x1", "branch7x7_1 branch7x7_2 branch7x7_3",
                  "branch7x7dbl_1 branch7x7dbl_2 branch7x7dbl_3 branch7x7dbl_4 branch7x7dbl_5", "avg branch_pool"],
                 branch1x1=(768, 192, 1), branch7x7_1=(768, m, 1), branch7x7_2=(m, m, row),
                 branch7x7_3=(m, 192, column), branch7x7dbl_1=(768, m, 1), branch7x7dbl_2=(m, m, column),
                 branch7x7dbl_3=(m, m, row), branch7x7dbl_4=(m, m, column), branch7x7dbl_5=(m, 192, row),
                 branch_pool=(768, 192, 1))


def block_e(c):
    row, column = (1, 3), (3, 1)
    return Block(["branch1x1", "branch3x3_1 branch3x3_2a", "branch3x3_1 branch3x3_2b",
                  "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3a", "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3b",
                  "avg branch_pool"],
                 branch1x1=(c, 320, 1), branch3x3_1=(c, 384, 1), branch3x3_2a=(384, 384, row),
                 branch3x3_2b=(384, 384, column), branch3x3dbl_1=(c, 448, 1), branch3x3dbl_2=(448, 384, 3),
                 branch3x3dbl_3a=(384, 384, row), branch3x3dbl_3b=(384, 384, column), branch_pool=(c, 192, 1))


def inception_v3():
    return nn.Sequential(OrderedDict(
        Conv2d_1a_3x3=basic(3, 32, 3, 2), Conv2d_2a_3x3=basic(32, 32, 3), Conv2d_2b_3x3=basic(32, 64, 3, 1, 1),
        maxpool1=nn.MaxPool2d(3, 2), Conv2d_3b_1x1=basic(64, 80, 1), Conv2d_4a_3x3=basic(80, 192, 3),
        maxpool2=nn.MaxPool2d(3, 2), Mixed_5b=block_a(192, 32), Mixed_5c=block_a(256, 64), Mixed_5d=block_a(288, 64),
        Mixed_6a=Block(["branch3x3", "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3", "max"],
                       branch3x3=(288, 384, 3, 2), branch3x3dbl_1=(288, 64, 1), branch3x3dbl_2=(64, 96, 3),
                       branch3x3dbl_3=(96, 96, 3, 2)),
        Mixed_6b=block_c(128), Mixed_6c=block_c(160), Mixed_6d=block_c(160), Mixed_6e=block_c(192),
        Mixed_7a=Block(["branch3x3_1 branch3x3_2", "branch7x7x3_1 branch7x7x3_2 branch7x7x3_3 branch7x7x3_4", "max"],
                       branch3x3_1=(768, 192, 1), branch3x3_2=(192, 320, 3, 2), branch7x7x3_1=(768, 192, 1),
                       branch7x7x3_2=(192, 192, (1, 7)), branch7x7x3_3=(192, 192, (7, 1)),
                       branch7x7x3_4=(192, 192, 3, 2)),
        Mixed_7b=block_e(1280), Mixed_7c=block_e(2048),
        avgpool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), fc=nn.Linear(2048, 1000)))


class Bottleneck(nn.Module):
    def __init__(self, c, maps, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c, maps, 1, bias=False), nn.BatchNorm2d(maps)
        self.conv2, self.bn2 = nn.Conv2d(maps, maps, 3, stride, 1, bias=False), nn.BatchNorm2d(maps)
        self.conv3, self.bn3 = nn.Conv2d(maps, 4 * maps, 1, bias=False), nn.BatchNorm2d(4 * maps)
        if c != 4 * maps:
            self.downsample = nn.Sequential(nn.Conv2d(c, 4 * maps, 1, stride, bias=False), nn.BatchNorm2d(4 * maps))

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn3(self.conv3(self.bn2(self.conv2(y)).relu()))
        return (y + (self.downsample(x) if hasattr(self, "downsample") else x)).relu()


class ResNet50(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, c = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), 64
        for i, (maps, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)], 1):
            strides = [1 if i == 1 else 2] + [1] * (blocks - 1)
            rows = [Bottleneck(c if j == 0 else 4 * maps, maps, stride) for j, stride in enumerate(strides)]
            setattr(self, f"layer{i}", nn.Sequential(*rows))
            c = 4 * maps
        self.fc = nn.Linear(c, 1000)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        return self.fc(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3)))


class Late(nn.Conv2d):
    """TensorFlow's "same" for a convolution of stride 2 on an even size: one row more at the end than at the start."""

    def padded(self, x):
        before, after = {3: (0, 1), 5: (1, 2)}[self.kernel_size[0]]
        return nn.functional.pad(x, (before, after, before, after))

    def forward(self, x):
        return super().forward(self.padded(x))


def unit(lite, c, o, kernel, stride=1, groups=1):
    """Convolution, batch norm, relu6."""
    if lite and stride == 2:
        conv = Late(c, o, kernel, stride, 0, groups=groups, bias=False)
    else:
        conv = nn.Conv2d(c, o, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(o, eps=1e-3 if lite else 1e-5), nn.ReLU6())


class InvertedResidual(nn.Module):
    def __init__(self, lite, c, o, t, stride, kernel):
        super().__init__()
        expand = [unit(lite, c, c * t, 1)] if t > 1 else []
        self.conv = nn.Sequential(*expand, unit(lite, c * t, c * t, kernel, stride, c * t),
                                  nn.Conv2d(c * t, o, 1, bias=False), nn.BatchNorm2d(o, eps=1e-3 if lite else 1e-5))
        self.add = stride == 1 and c == o

    def forward(self, x):
        return x + self.conv(x) if self.add else self.conv(x)


class MobileNetV2(nn.Module):
    """`rows` are (expansion, maps, blocks, stride, kernel); `lite` says how EfficientNet-Lite pads and normalises."""

    def __init__(self, rows, lite=False):
        super().__init__()
        blocks, c = [], 32
        for t, o, n, s, kernel in rows:
            for i in range(n):
                blocks.append(InvertedResidual(lite, c, o, t, s if i == 0 else 1, kernel))
                c = o
        self.features = nn.Sequential(unit(lite, 3, 32, 3, 2), *blocks, unit(lite, 320, 1280, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class Fire(nn.Module):
    def __init__(self, c, squeeze, o):
        super().__init__()
        self.squeeze, self.expand1x1 = nn.Conv2d(c, squeeze, 1), nn.Conv2d(squeeze, o, 1)
        self.expand3x3 = nn.Conv2d(squeeze, o, 3, padding=1)

    def forward(self, x):
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], 1)


def squeezenet(o, kernel, fires):
    """`fires` are (maps in, squeezed, expanded each way), or 0 for a pooling."""
    layers = [Fire(*row) if row else nn.MaxPool2d(3, 2, ceil_mode=True) for row in fires]
    last = [nn.Dropout(), nn.Conv2d(512, 1000, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(OrderedDict(features=nn.Sequential(nn.Conv2d(3, o, kernel, 2), nn.ReLU(), *layers),
                                     classifier=nn.Sequential(*last)))


class DenseLayer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(c), nn.Conv2d(c, 128, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(128), nn.Conv2d(128, 32, 3, padding=1, bias=False)

    def forward(self, x):
        y = self.conv1(self.norm1(x).relu())
        return torch.cat([x, self.conv2(self.norm2(y).relu())], 1)


def densenet():
    layers, c = dict(conv0=nn.Conv2d(3, 64, 7, 2, 3, bias=False), norm0=nn.BatchNorm2d(64), relu0=nn.ReLU(),
                     pool0=nn.MaxPool2d(3, 2, 1)), 64
    for i, n in enumerate((6, 12, 24, 16), 1):
        rows = {f"denselayer{j + 1}": DenseLayer(c + 32 * j) for j in range(n)}
        layers[f"denseblock{i}"] = nn.Sequential(OrderedDict(rows))
        c += 32 * n
        if i < 4:
            layers[f"transition{i}"] = nn.Sequential(OrderedDict(
                norm=nn.BatchNorm2d(c), relu=nn.ReLU(), conv=nn.Conv2d(c, c // 2, 1, bias=False), pool=nn.AvgPool2d(2)))
            c //= 2
    layers |= dict(norm5=nn.BatchNorm2d(c), relu5=nn.ReLU(), pool5=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten())
    return nn.Sequential(OrderedDict(features=nn.Sequential(OrderedDict(layers)), classifier=nn.Linear(c, 1000)))


class Shuffled(nn.Module):
    def __init__(self, c, o, stride):
        super().__init__()
        half = o // 2

        def one(c):
            return [nn.Conv2d(c, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU()]

        def deep(c):
            return [nn.Conv2d(c, c, 3, stride, 1, groups=c, bias=False), nn.BatchNorm2d(c)]

        self.branch1 = nn.Sequential(*deep(c), *one(c)) if stride > 1 else None
        self.branch2 = nn.Sequential(*one(c if stride > 1 else half), *deep(half), *one(half))

    def forward(self, x):
        left, right = (self.branch1(x), x) if self.branch1 else x.chunk(2, 1)
        y = torch.cat([left, self.branch2(right)], 1)
        n, c, h, w = y.shape
        return y.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(y.shape)


def shufflenet():
    stem = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU())
    layers, c = dict(conv1=stem, maxpool=nn.MaxPool2d(3, 2, 1)), 24
    for i, (o, n) in enumerate([(116, 4), (232, 8), (464, 4)], 2):
        layers[f"stage{i}"] = nn.Sequential(Shuffled(c, o, 2), *(Shuffled(o, o, 1) for _ in range(n - 1)))
        c = o
    layers["conv5"] = nn.Sequential(nn.Conv2d(c, 1024, 1, bias=False), nn.BatchNorm2d(1024), nn.ReLU())
    return nn.Sequential(OrderedDict(layers, pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), fc=nn.Linear(1024, 1000)))


MOBILENET_V2 = [(1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 32, 3, 2, 3), (6, 64, 4, 2, 3), (6, 96, 3, 1, 3),
                (6, 160, 3, 2, 3), (6, 320, 1, 1, 3)]
EFFICIENTNET_LITE0 = [(1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5),
                      (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)]
SQUEEZENET_1_0 = (96, 7, [0, (96, 16, 64), (128, 16, 64), (128, 32, 128), 0, (256, 32, 128), (256, 48, 192),
                          (384, 48, 192), (384, 64, 256), 0, (512, 64, 256)])
SQUEEZENET_1_1 = (64, 3, [0, (64, 16, 64), (128, 16, 64), 0, (128, 32, 128), (256, 32, 128), 0, (256, 48, 192),
                          (384, 48, 192), (384, 64, 256), (512, 64, 256)])

# the definition, the image's size, options of the network here: as small as it allows
NETWORKS = {
    "vgg_d": (lambda: VGG16(512), 64, dict(units=512)),
    "googlenet": (GoogLeNet, 96, dict(heads=False)),
    "googlenet_torchvision": (lambda: GoogLeNet(norm=True), 96, dict(heads=False)),
    "inception_v3": (inception_v3, 96, dict(heads=False)),
    "resnet50": (ResNet50, 64, {}),
    "mobilenet_v2": (lambda: MobileNetV2(MOBILENET_V2), 64, {}),
    "efficientnet_lite0": (lambda: MobileNetV2(EFFICIENTNET_LITE0, lite=True), 64, {}),
    "squeezenet1_0": (lambda: squeezenet(*SQUEEZENET_1_0), 64, {}),
    "squeezenet1_1": (lambda: squeezenet(*SQUEEZENET_1_1), 64, {}),
    "densenet121": (densenet, 64, {}),
    "shufflenet_v2_x1_0": (shufflenet, 64, {}),
}
