"""One row a kernel: its tensors, its parameters, the shapes of its outputs, and what an output may overwrite."""

from striate.kernels.contract import (  # noqa: F401  # enter their rows
    conv,
    elementwise,
    linear,
    loss,
    norm,
    optim,
    pool,
    shape,
    winograd,
    winograd_dw,
)
from striate.kernels.contract.conv import HALVED, HALVING, PLAIN
from striate.kernels.contract.elementwise import broadcast
from striate.kernels.contract.row import (
    DENSE,
    ROWS,
    Row,
    Shape,
    Spec,
    checked,
    conv_size,
    need_pixels,
    need_rank,
    need_shape,
    pool_size,
)

__all__ = [
    "DENSE", "HALVED", "HALVING", "PLAIN", "ROWS", "Row", "Shape", "Spec", "broadcast", "checked", "conv_size",
    "need_pixels", "need_rank", "need_shape", "pool_size",
]
