"""What layers with weights share: known channels, default initial distributions."""

from __future__ import annotations

from math import sqrt
from typing import Any

from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Init
from archdsl.ir.types import DType, ShapeError, TensorType


def known_width(x: TensorType, axis: int, what: str) -> int:
    """The size of an axis that weights are as wide as; it must be a known, positive number."""
    width = x.dims[axis].value
    if width is None:
        help = "give this axis a number where the tensor is declared"
        if x.dims[axis].symbol_name is None:
            help = "fix the sizes of the input, as with `--dim H=224`, or pool to one size before"
        raise ShapeError(
            f"the {what} must be a known number, because weights have that size,"
            f" but axis {axis % x.rank} of {x} is {x.dims[axis]}",
            help=help,
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


def demand_same_dtype(first: TensorType, other: TensorType, place: int) -> None:
    """Refuse the input at that place unless it has the element type of the first."""
    if first.dtype is not other.dtype:
        raise ShapeError(
            f"both must have one element type, but are {first} and {other}",
            help="convert one with `cast`",
            inputs=(0, place),
            code="dtype-mismatch",
        )


def demand_bias(check: Obligations, weight: TensorType, bias: TensorType) -> None:
    """Refuse a bias, the third input, that is not one number for each output of the weight."""
    if bias.rank != 1:
        raise ShapeError(f"the bias must have 1 axis, but is {bias}", inputs=(2,))
    check.demand_equal(
        bias.dims[0],
        weight.dims[0],
        f"the bias has {bias.dims[0]} elements, but the weight {weight} gives {weight.dims[0]}",
        inputs=(1, 2),
    )
    demand_same_dtype(weight, bias, 2)
