"""Padding of spatial axes in ONNX, for operators that pad first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from archdsl.ir.lowering import OnnxGraph, Operand
from archdsl.ir.types import DType, TensorType
from archdsl.sizes.dims import Dim

EdgeMode = Literal["reflect", "replicate", "circular"]


def padded_type(x: TensorType, before: Sequence[int], after: Sequence[int]) -> TensorType:
    """The type with its last axes longer."""
    first = x.rank - len(before)
    grown = [
        size + start + end for size, start, end in zip(x.dims[first:], before, after, strict=True)
    ]
    return x.with_dims(*x.dims[:first], *grown)


def pad_constant(
    g: OnnxGraph, x: Operand, before: Sequence[int], after: Sequence[int], value: float
) -> Operand:
    """Pad the last axes with a number."""
    if not any(before) and not any(after):
        return x
    fill = g.constant(value, x.type.dtype)
    return g.node(
        "Pad", x, _pads(g, x, before, after), fill, type=padded_type(x.type, before, after)
    )


def pad_from_edges(
    g: OnnxGraph, x: Operand, before: Sequence[int], after: Sequence[int], mode: EdgeMode
) -> Operand:
    """Pad the last axes with what stands in the tensor, as torch's padding modes do."""
    if not any(before) and not any(after):
        return x
    if mode == "circular":
        return _wrapped(g, x, before, after)
    return g.node(
        "Pad",
        x,
        _pads(g, x, before, after),
        type=padded_type(x.type, before, after),
        mode="edge" if mode == "replicate" else mode,
    )


def _pads(g: OnnxGraph, x: Operand, before: Sequence[int], after: Sequence[int]) -> Operand:
    untouched = [0] * (x.type.rank - len(before))
    return g.constant([*untouched, *before, *untouched, *after], DType.INT64)


def _wrapped(g: OnnxGraph, x: Operand, before: Sequence[int], after: Sequence[int]) -> Operand:
    """Slices and Concat: Pad knows `wrap` only since opset 19, and not every runtime has it."""
    first = x.type.rank - len(before)
    for axis, (start, end) in enumerate(zip(before, after, strict=True), first):
        pieces = [x]
        if start:
            pieces.insert(0, _slice(g, x, axis, -start, 2**63 - 1, start))
        if end:
            pieces.append(_slice(g, x, axis, 0, end, end))
        if len(pieces) > 1:
            grown = x.type.with_dim(axis, x.type.dims[axis] + start + end)
            x = g.node("Concat", *pieces, type=grown, axis=axis)
    return x


def _slice(g: OnnxGraph, x: Operand, axis: int, start: int, end: int, length: Dim | int) -> Operand:
    bounds = [g.constant([bound], DType.INT64) for bound in (start, end, axis)]
    return g.node("Slice", x, *bounds, type=x.type.with_dim(axis, length))
