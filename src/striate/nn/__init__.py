"""Networks and their layers: states, the operations on them, and what is asked of a network from outside."""

from striate.nn import init
from striate.nn.activation import GELU, HardSwish, LeakyReLU, ReLU, ReLU6, Sigmoid, Softmax, Tanh
from striate.nn.layers import (
    RBF,
    BatchNorm2d,
    ChannelShuffle,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    Sequential,
)
from striate.nn.module import Module, value_and_grad
from striate.nn.pool import AdaptiveAvgPool2d, AvgPool2d, GlobalAvgPool2d, LPPool2d, MaxPool2d, Pool2d
from striate.nn.saved import GraphModule, load, save

__all__ = [
    "GELU", "RBF", "AdaptiveAvgPool2d", "AvgPool2d", "BatchNorm2d", "ChannelShuffle", "Conv2d", "Dropout", "Flatten",
    "GlobalAvgPool2d", "GraphModule", "HardSwish", "LPPool2d", "LeakyReLU", "Linear", "LocalResponseNorm", "MaxPool2d",
    "Module", "Pool2d", "ReLU", "ReLU6", "Sequential", "Sigmoid", "Softmax", "Tanh", "init", "load", "save",
    "value_and_grad",
]
