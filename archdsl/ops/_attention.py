"""Scaled dot-product attention in ONNX, by plain operators."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from typing import Final

from archdsl.ir.conditions import Compare
from archdsl.ir.dims import Dim
from archdsl.ir.lowering import OnnxGraph, Operand
from archdsl.ir.proof import Facts
from archdsl.ir.types import DType, TensorType
from archdsl.ops import _predicate_onnx
from archdsl.ops._predicate import Grid, keeps_some

LOWEST: Final = {
    DType.FLOAT16: -65504.0,
    DType.BFLOAT16: -3.3895313892515355e38,
    DType.FLOAT32: -3.4028234663852886e38,
    DType.FLOAT64: -1.7976931348623157e308,
}
"""The least finite number of each element type."""

_VISIBLE = Compare(Dim.of("_1"), "<=", Dim.of("_2"))
"""The first of each see each other, and no place sees a later one."""


@dataclass(frozen=True, slots=True)
class Mask:
    """Truth values that broadcast to the scores: what is kept, or what is dropped."""

    operand: Operand
    drops: bool = False

    def choose(self, g: OnnxGraph, kept: Operand, dropped: Operand, type: TensorType) -> Operand:
        """One or the other of two values, by the mask."""
        first, second = (dropped, kept) if self.drops else (kept, dropped)
        return g.node("Where", self.operand, first, second, type=type)


@dataclass(frozen=True, slots=True)
class Masking:
    """What keeps queries from keys: their places, truth values, and what is added to scores."""

    grid: Grid | None = None
    mask: Mask | None = None
    bias: Operand | None = None


def causal(queries: Dim, keys: Dim) -> Grid:
    """The keys that are not later than the query."""
    return Grid(_VISIBLE, {"_2": queries, "_1": keys}, 2)


def scaled(g: OnnxGraph, query: Operand, scale: float | None) -> Operand:
    """The query times the scale, which is one over the root of its width unless given."""
    width, dtype = query.type.dims[-1], query.type.dtype
    if scale is None and width.value is None:
        root = g.node("Sqrt", g.size(width, dtype), type=TensorType.of(dtype))
        return g.node("Div", query, root, type=query.type)
    factor = 1 / sqrt(width.value) if scale is None and width.value else scale
    if factor == 1:
        return query
    return g.node("Mul", query, g.constant(factor, dtype), type=query.type)


def attended(
    g: OnnxGraph, query: Operand, key: Operand, value: Operand, masking: Masking
) -> Operand:
    """`softmax(query @ key) @ value`, for a scaled query and a key that is turned already.

    With fewer heads in key and value, each serves as many heads of the query, one after the other.
    """
    scores = query.type.with_dim(-1, key.type.dims[-1])
    result = query.type.with_dim(-1, value.type.dims[-1])
    if query.type.dims[:-2] == key.type.dims[:-2]:
        weights = _weights(g, g.node("MatMul", query, key, type=scores), masking)
        return g.node("MatMul", weights, value, type=result)
    # Heads that share a key are put together along the places of the query: no key is copied.
    heads = key.type.dims[-3]
    query = g.reshape(query, _grouped(query.type, heads))
    weights = g.node("MatMul", query, key, type=_grouped(scores, heads))
    if masking != Masking():
        weights = g.reshape(weights, scores)
    weights = g.reshape(_weights(g, weights, masking), _grouped(scores, heads))
    return g.reshape(g.node("MatMul", weights, value, type=_grouped(result, heads)), result)


def _grouped(x: TensorType, heads: Dim) -> TensorType:
    """`[*, H, L, E]` as `[*, heads, H / heads * L, E]`."""
    *batch, many, places, width = x.dims
    return TensorType.of(x.dtype, *batch, heads, many // heads * places, width)


def _weights(g: OnnxGraph, scores: Operand, masking: Masking) -> Operand:
    """The softmax of the scores; 0 in rows of which nothing is kept."""
    if masking.bias is not None:
        return _biased(g, scores, masking.bias, masking.grid)
    type, dtype = scores.type, scores.type.dtype
    mask = _with_places(g, masking)
    if mask is None:
        return _softmax(g, scores)
    # Minus infinity would make NaN of a row of which nothing is kept.
    lowest = g.constant(LOWEST[dtype], dtype)
    weights = _softmax(g, mask.choose(g, scores, lowest, type))
    grid = masking.grid
    if masking.mask is None and grid and keeps_some(Facts(), grid, type.dims[-1]):
        return weights
    return mask.choose(g, weights, g.constant(0.0, dtype), type)


def _with_places(g: OnnxGraph, masking: Masking) -> Mask | None:
    grid, mask = masking.grid, masking.mask
    if grid is None:
        return mask
    if mask is None:
        return Mask(_predicate_onnx.kept(g, grid))
    if mask.drops:
        grid = Grid(grid.predicate.negated(), grid.sizes, grid.rank)
    static = _predicate_onnx.kept(g, grid)
    type = _predicate_onnx.joined(static.type, mask.operand.type)
    both = g.node("Or" if mask.drops else "And", static, mask.operand, type=type)
    return Mask(both, mask.drops)


def _biased(g: OnnxGraph, scores: Operand, bias: Operand, grid: Grid | None) -> Operand:
    """The softmax of a sum whose rows may be minus infinity altogether, where torch has 0."""
    type, dtype = scores.type, scores.type.dtype
    nothing = g.constant(-inf, dtype)
    if grid is not None:
        bias = kept_of(g, grid, bias)
    total = g.node("Add", scores, bias, type=type)
    dropped = g.node("Equal", total, nothing, type=type.with_dtype(DType.BOOL))
    return g.node("Where", dropped, g.constant(0.0, dtype), _softmax(g, total), type=type)


def kept_of(g: OnnxGraph, grid: Grid, bias: Operand) -> Operand:
    """What is added to scores, and minus infinity where a condition does not hold."""
    static = _predicate_onnx.kept(g, grid)
    dtype = bias.type.dtype
    wide = _predicate_onnx.joined(static.type.with_dtype(dtype), bias.type)
    return g.node("Where", static, bias, g.constant(-inf, dtype), type=wide)


def _softmax(g: OnnxGraph, scores: Operand) -> Operand:
    return g.node("Softmax", scores, type=scores.type, axis=-1)
