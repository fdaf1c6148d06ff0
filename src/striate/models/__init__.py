"""The networks of the field, each read off its paper's table, and the registry that finds them by name."""

from striate.models import (  # noqa: F401  # each enters its networks
    alexnet,
    densenet,
    efficientnet_lite,
    googlenet,
    inception_v3,
    lenet5,
    lenet5_1998,
    mobilenet_v2,
    nin,
    resnet,
    resnet_cifar,
    shufflenet_v2,
    squeezenet,
    vgg,
)
from striate.models.registry import ALIASES, MODELS, build, create, find, known, name_of, register

__all__ = ["ALIASES", "MODELS", "build", "create", "find", "known", "name_of", "register"]
