"""What layers with weights share: widths that must be known, and torch's default distributions."""

from __future__ import annotations

from math import sqrt
from typing import Any

from archdsl.ir.op import Init
from archdsl.ir.types import DType, ShapeError, TensorType


def known_width(x: TensorType, axis: int, what: str) -> int:
    """The size of an axis that weights are as wide as; it must be a known, positive number."""
    width = x.dims[axis].value
    if width is None:
        raise ShapeError(
            f"the {what} must be a known number, because weights have that size,"
            f" but axis {axis % x.rank} of {x} is {x.dims[axis]}",
            help="give this axis a number where the tensor is declared",
            inputs=(0,),
        )
    if width < 1:
        raise ShapeError(f"the {what} must be at least 1, but is {width} in {x}", inputs=(0,))
    return width


def uniform_over(fan_in: int) -> Init:
    """What torch fills the weights of linear layers and convolutions with by default."""
    bound = 1 / sqrt(fan_in)
    return Init.of("uniform", a=-bound, b=bound)


def dtype_argument(dtype: DType) -> dict[str, Any]:
    """torch's keyword for weights of another element type than torch's default."""
    return {} if dtype is DType.FLOAT32 else {"dtype": dtype}
