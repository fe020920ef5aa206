"""Broadcasting of sizes that may be symbolic."""

from __future__ import annotations

from archdsl.ir.lowering import Input, InputOrNumber
from archdsl.ir.obligations import Obligations
from archdsl.ir.types import DType, TensorType
from archdsl.ops.contract._axes import shared_name
from archdsl.ops.elementwise._casting import result_dtype
from archdsl.sizes.dims import Dim

_Axis = tuple[Dim, str | None]
_ONE: _Axis = (Dim.of(1), None)


def broadcast(check: Obligations, *types: TensorType, dtype: DType | None = None) -> TensorType:
    """The type of an elementwise combination; aligned sizes are provably equal or a constant 1."""
    result = types[0]
    for place, other in enumerate(types[1:], 1):
        result = _pair(check, result, other, place)
    return result if dtype is None else result.with_dtype(dtype)


def _pair(check: Obligations, left: TensorType, right: TensorType, place: int) -> TensorType:
    axes: list[_Axis] = []
    for back in range(max(left.rank, right.rank), 0, -1):
        first, second = _axis(left, back), _axis(right, back)
        if first is not _ONE and second is not _ONE and 1 not in (first[0], second[0]):
            name = first[1] or second[1] or f"-{back}"
            check.demand_equal(
                first[0],
                second[0],
                f"{left} and {right} do not fit together:"
                f" axis {name} is {first[0]} in one and {second[0]} in the other",
                inputs=(0, place),
            )
        axes.append(_joined(first, second))
    return TensorType(
        result_dtype(left, right),
        tuple(size for size, _ in axes),
        tuple(name for _, name in axes),
    )


def _axis(x: TensorType, back: int) -> _Axis:
    return (x.dims[-back], x.axes[-back]) if back <= x.rank else _ONE


def _joined(first: _Axis, second: _Axis) -> _Axis:
    if (first[0] == 1) == (second[0] == 1):
        return first[0], shared_name(first[1], second[1])
    long, short = (second, first) if first[0] == 1 else (first, second)
    return long[0], long[1] or short[1]


def operand(index: int, own: TensorType, partner: TensorType) -> Input | InputOrNumber:
    """A side of a torch operator: beside a tensor of its type a constant may stay a number."""
    if own.rank == 0 and partner.rank > 0 and own.dtype is partner.dtype:
        return InputOrNumber(index)
    return Input(index)
