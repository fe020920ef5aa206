"""Scaled dot-product attention in elementary ONNX operators."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from typing import Final

from archdsl.ir.lowering import OnnxGraph, Operand
from archdsl.ir.types import DType, TensorType
from archdsl.ops.attention import _masks_onnx
from archdsl.ops.attention._masks import Grid, keeps_some
from archdsl.ops.reduction._reductions import reduced
from archdsl.sizes.conditions import Compare
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Facts

LOWEST: Final = {
    DType.FLOAT16: -65504.0,
    DType.BFLOAT16: -3.3895313892515355e38,
    DType.FLOAT32: -3.4028234663852886e38,
    DType.FLOAT64: -1.7976931348623157e308,
}
"""The least finite number of each element type."""

_SCOPE = "masks"
"""Where what layers share of masks is named."""

_VISIBLE = Compare(Dim.of("_1"), "<=", Dim.of("_2"))
"""The first of each see each other, and no place sees a later one."""


@dataclass(frozen=True, slots=True)
class Mask:
    """Truth values that broadcast to the scores: what is kept, or what is dropped."""

    operand: Operand
    drops: bool = False

    def keeps(self, g: OnnxGraph) -> Operand:
        """What is kept."""
        given = self.operand
        if not self.drops:
            return given
        return g.shared(_SCOPE, ("kept", given.name), lambda: g.node("Not", given, type=given.type))


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
    effect = _effect(g, masking, scores)
    if query.type.dims[:-2] == key.type.dims[:-2]:
        weights = _weights(g, g.node("MatMul", query, key, type=scores), effect)
        return effect.alive(g, g.node("MatMul", weights, value, type=result))
    # Heads that share a key are put together along the places of the query: no key is copied.
    heads = key.type.dims[-3]
    query = g.reshape(query, _grouped(query.type, heads))
    weights = g.node("MatMul", query, key, type=_grouped(scores, heads))
    if effect.changes:
        weights = g.reshape(weights, scores)
    weights = g.reshape(_weights(g, weights, effect), _grouped(scores, heads))
    found = g.node("MatMul", weights, value, type=_grouped(result, heads))
    return effect.alive(g, g.reshape(found, result))


def _grouped(x: TensorType, heads: Dim) -> TensorType:
    """`[*, H, L, E]` as `[*, heads, H / heads * L, E]`."""
    *batch, many, places, width = x.dims
    return TensorType.of(x.dtype, *batch, heads, many // heads * places, width)


# ------------------------------------------------------------------------ what masks come down to


@dataclass(frozen=True, slots=True)
class _Effect:
    """What is done about masks: to the scores, and to rows of which nothing is kept."""

    chosen: Operand | None = None
    """Truths of a mask that is a constant: the scores are kept where it holds."""
    added: Operand | None = None
    """What is added to the scores; rows may be minus infinity altogether."""
    kept: Operand | None = None
    """Truths that may be missing in a whole row, which gives 0 then."""

    @property
    def changes(self) -> bool:
        """Whether anything is done to the scores."""
        return self.chosen is not None or self.added is not None

    def alive(self, g: OnnxGraph, means: Operand) -> Operand:
        """The means, and 0 in rows of which nothing is kept."""
        if self.kept is None:
            return means
        kept = self.kept
        some = g.shared(_SCOPE, ("some", kept.name), lambda: _some(g, kept))
        return g.node("Where", some, means, g.constant(0.0, means.type.dtype), type=means.type)


def _effect(g: OnnxGraph, masking: Masking, scores: TensorType) -> _Effect:
    grid, dtype = masking.grid, scores.dtype
    if masking.bias is not None:
        bias = masking.bias if grid is None else kept_of(g, grid, masking.bias)
        return _Effect(added=bias, kept=_present(g, bias))
    if masking.mask is not None:
        kept = masking.mask.keeps(g)
        if grid is not None:
            kept = kept_with(g, grid, kept)
        return _Effect(added=_far(g, kept, dtype), kept=kept)
    if grid is None:
        return _Effect()
    kept = _masks_onnx.kept(g, grid)
    guarded = None if keeps_some(Facts(), grid, scores.dims[-1]) else kept
    if all(dim.value is not None for dim in kept.type.dims):
        return _Effect(chosen=kept, kept=guarded)
    return _Effect(added=_far(g, kept, dtype), kept=guarded)


def _weights(g: OnnxGraph, scores: Operand, effect: _Effect) -> Operand:
    """The softmax of the scores."""
    type = scores.type
    if effect.chosen is not None:
        lowest = g.constant(LOWEST[type.dtype], type.dtype)
        scores = g.node("Where", effect.chosen, scores, lowest, type=type)
    if effect.added is not None:
        scores = g.node("Add", scores, effect.added, type=type)
    return g.node("Softmax", scores, type=type, axis=-1)


def _far(g: OnnxGraph, kept: Operand, dtype: DType) -> Operand:
    """0 where something is kept, elsewhere so little that softmax makes 0 of it.

    Minus infinity would make NaN of a row of which nothing is kept; the half is left so that
    no score added to it makes minus infinity either.
    """
    choices = g.constant(0.0, dtype), g.constant(LOWEST[dtype] / 2, dtype)
    type = kept.type.with_dtype(dtype)
    return g.shared(
        _SCOPE, ("far", kept.name, dtype), lambda: g.node("Where", kept, *choices, type=type)
    )


def _present(g: OnnxGraph, bias: Operand) -> Operand:
    """Where what is added is more than minus infinity."""
    nothing, type = g.constant(-inf, bias.type.dtype), bias.type.with_dtype(DType.BOOL)
    return g.shared(
        _SCOPE, ("present", bias.name), lambda: g.node("Greater", bias, nothing, type=type)
    )


def _some(g: OnnxGraph, kept: Operand) -> Operand:
    """Whether anything of a row is kept."""
    counted = kept.type.with_dtype(DType.INT32)
    numbers = g.node("Cast", kept, type=counted, to=DType.INT32)
    greatest = reduced(g, "ReduceMax", numbers, [kept.type.rank - 1], counted.with_dim(-1, 1))
    return g.node("Cast", greatest, type=greatest.type.with_dtype(DType.BOOL), to=DType.BOOL)


def kept_with(g: OnnxGraph, grid: Grid, kept: Operand) -> Operand:
    """What is kept, and its place admits too."""
    static = _masks_onnx.kept(g, grid)
    key = ("both", static.name, kept.name)
    return g.shared(_SCOPE, key, lambda: _masks_onnx.both(g, static, kept))


def kept_of(g: OnnxGraph, grid: Grid, bias: Operand) -> Operand:
    """What is added to scores, and minus infinity where a condition does not hold."""
    static = _masks_onnx.kept(g, grid)
    dtype = bias.type.dtype
    wide = _masks_onnx.joined(static.type.with_dtype(dtype), bias.type)
    nothing = g.constant(-inf, dtype)
    return g.shared(
        _SCOPE,
        ("of", static.name, bias.name),
        lambda: g.node("Where", static, bias, nothing, type=wide),
    )
