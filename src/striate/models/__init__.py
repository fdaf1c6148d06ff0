"""The networks of the field, each read off its paper's table, and the registry that finds them by name."""

from striate.models import lenet5  # noqa: F401  # enters its network
from striate.models.registry import MODELS, create, find, name_of, register

__all__ = ["MODELS", "create", "find", "name_of", "register"]
