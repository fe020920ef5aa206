"""Type promotion as in torch, and casts around ONNX operators of fewer types."""

from __future__ import annotations

from typing import Any

from archdsl.ir.lowering import OnnxGraph, Operand
from archdsl.ir.types import DType, ShapeError, TensorType

_FLOATS = (DType.FLOAT16, DType.BFLOAT16, DType.FLOAT32, DType.FLOAT64)
_INTEGERS = (DType.INT8, DType.INT16, DType.INT32, DType.INT64)


def promote(first: DType, second: DType) -> DType:
    """torch.promote_types."""
    if first is second:
        return first
    pair = {first, second}
    for group in (_FLOATS, _INTEGERS):
        members = [dtype for dtype in group if dtype in pair]
        if not members:
            continue
        if pair == {DType.FLOAT16, DType.BFLOAT16}:
            return DType.FLOAT32
        if pair == {DType.INT8, DType.UINT8}:
            return DType.INT16
        return members[-1]
    return DType.UINT8


def result_dtype(first: TensorType, second: TensorType) -> DType:
    """torch.result_type: a value without axes only counts where it is of a higher kind."""
    if (first.rank == 0) == (second.rank == 0):
        return promote(first.dtype, second.dtype)
    ranked, single = (first, second) if first.rank else (second, first)
    if _kind(single.dtype) > _kind(ranked.dtype):
        return promote(ranked.dtype, single.dtype)
    return ranked.dtype


def _kind(dtype: DType) -> int:
    if dtype is DType.BOOL:
        return 0
    return 2 if dtype.is_floating else 1


def floating(dtype: DType) -> DType:
    """What torch computes real functions of this element type in."""
    return dtype if dtype.is_floating else DType.FLOAT32


def summed(dtype: DType) -> DType:
    """What torch adds up elements of this type in."""
    return dtype if dtype.is_floating else DType.INT64


def refuse_bool(x: TensorType, what: str, place: int = 0) -> None:
    """Refuse truth values where torch does, or where they make no sense."""
    if x.dtype is DType.BOOL:
        raise ShapeError(
            f"{what} takes numbers, but the input is {x}",
            help="convert it with `cast(float32)` or `cast(int64)`",
            inputs=(place,),
            code="dtype-mismatch",
        )


def cast(g: OnnxGraph, x: Operand, dtype: DType) -> Operand:
    """The operand in that element type."""
    if x.type.dtype is dtype:
        return x
    return g.node("Cast", x, type=x.type.with_dtype(dtype), to=dtype)


def node_in(
    g: OnnxGraph,
    dtype: DType,
    op_type: str,
    *inputs: Operand,
    type: TensorType,
    **attributes: Any,
) -> Operand:
    """A node that computes in `dtype` and gives `type`."""
    computed = [cast(g, x, dtype) for x in inputs]
    result = g.node(op_type, *computed, type=type.with_dtype(dtype), **attributes)
    return cast(g, result, type.dtype)


def without_int16(dtype: DType) -> DType:
    """The element type to compute in where runtimes have no kernel for 16-bit integers."""
    return DType.INT32 if dtype is DType.INT16 else dtype


def wide_below(opset: int, g: OnnxGraph, dtype: DType) -> DType:
    """The type to compute in where ONNX knows bfloat16 only since that opset."""
    return DType.FLOAT32 if dtype is DType.BFLOAT16 and g.opset < opset else dtype
