"""Networks and their layers: states, the operations on them, and what is asked of a network from outside."""

from striate.nn import init
from striate.nn.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    Pool2d,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
)
from striate.nn.module import Module, value_and_grad
from striate.nn.saved import GraphModule, load, save

__all__ = [
    "AvgPool2d", "BatchNorm2d", "Conv2d", "Dropout", "Flatten", "GlobalAvgPool2d", "GraphModule", "Linear", "MaxPool2d",
    "Module", "Pool2d", "ReLU", "Sequential", "Sigmoid", "Softmax", "Tanh", "init", "load", "save", "value_and_grad",
]
