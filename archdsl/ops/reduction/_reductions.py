"""ONNX reductions across opsets: axes as an attribute, later as an input."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.ir.lowering import OnnxGraph, Operand
from archdsl.ir.types import DType, TensorType


def reduced(
    g: OnnxGraph, op_type: str, x: Operand, axes: Sequence[int], result: TensorType
) -> Operand:
    """`op_type` over some axes; they stay with size 1 if the result has as many axes as `x`."""
    keepdims = int(result.rank == x.type.rank)
    if g.opset < (13 if op_type == "ReduceSum" else 18):
        return g.node(op_type, x, type=result, axes=tuple(axes), keepdims=keepdims)
    places = g.constant(list(axes), DType.INT64)
    return g.node(op_type, x, places, type=result, keepdims=keepdims)
