"""Recognises attention that is written out in products, masks and a softmax."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, isclose, sqrt

from archdsl.ir.model import Node, Origin, Static
from archdsl.ir.obligations import SETTLED
from archdsl.ir.types import DType, TensorType
from archdsl.ops.attention._masks import Grid, by_position, keeps_some
from archdsl.ops.attention.attention import MaskScores, ScaledDotProductAttention
from archdsl.ops.contract._axes import position
from archdsl.ops.elementwise._broadcast import broadcast
from archdsl.ops.elementwise.arithmetic import Add, Div, Mul
from archdsl.ops.elementwise.dropout import Dropout
from archdsl.ops.layout.shape import Unsqueeze
from archdsl.ops.reduction.softmax import Softmax
from archdsl.ops.sources import Constant, Zeros
from archdsl.rewrites.products import Factor, Means, Pairs, Product, means, pairs, unturned
from archdsl.rewrites.site import Fusion, Site
from archdsl.sizes.conditions import Condition, all_of
from archdsl.sizes.dims import Dim

_MOST_STEPS = 64
"""How many operators are looked at between weights and products."""

_SAME = 1e-12

_FAR = -1e30
"""So low that scores added to it make no difference, and not what runtimes leave out."""


def attention(site: Site) -> Fusion | None:
    """Attention whose last product this is, if it is exactly that.

    Nothing else may read its scores and weights, and where a row keeps nothing there must come
    out what was written.
    """
    last = Product.of(site, site.node)
    for mean in () if last is None else means(last):
        scores = _scores(site, mean.weights)
        found = None if scores is None else _fusion(site, mean, scores)
        if found is not None:
            return found
    return None


@dataclass(frozen=True, slots=True)
class _Scores:
    """What is done to products of queries and keys before they are weights."""

    value: int
    """Where the search stands: from the softmax's input down to the products."""
    type: TensorType
    dropout: float = 0.0
    dropout_origins: tuple[Origin, ...] = ()
    factor: float = 1.0
    factor_origin: Static = None
    predicates: tuple[Condition, ...] = ()
    truths: tuple[int, ...] = ()
    biases: tuple[int, ...] = ()
    is_exact_when_empty: bool = True
    """Whether a row of which nothing is kept has the least finite number, added, everywhere."""
    product: Product | None = None

    def times(self, number: float, origin: Static) -> _Scores:
        """The same with another factor, whose origin is remembered if it is the only one."""
        origin = origin if self.factor == 1 else None
        return replace(self, factor=self.factor * number, factor_origin=origin)


# ------------------------------------------------------------------------- from weights to scores


def _scores(site: Site, weights: int) -> _Scores | None:
    """What weights are made of, if they are a softmax along their last axis."""
    node = _sole_maker(site, weights)
    dropout, origins = 0.0, ()
    if node is not None and isinstance(node.op, Dropout):
        dropout = node.op.p
        origins = tuple(Origin("dropout_p", o.value) for o in node.origins if o.attribute == "p")
        node = _sole_maker(site, node.inputs[0])
    if node is None or not isinstance(node.op, Softmax):
        return None
    (value,) = node.inputs
    type = site.type(value)
    if position(type, node.op.axis) != type.rank - 1:
        return None
    waiting = [_Scores(value, type, dropout, origins)]
    for _ in range(_MOST_STEPS):
        if not waiting or waiting[-1].product is not None:
            break
        waiting += _nearer(site, waiting.pop())
    return waiting[-1] if waiting and waiting[-1].product is not None else None


def _sole_maker(site: Site, value: int) -> Node | None:
    """What makes a value that nothing else reads."""
    return site.maker(value) if site.is_read_once(value) else None


def _nearer(site: Site, scores: _Scores) -> list[_Scores]:
    """The search one operator nearer to the products: on each way there may be."""
    node = _sole_maker(site, scores.value)
    if node is None or site.type(scores.value).dims != scores.type.dims:
        return []
    match node.op:
        case Mul() | Div():
            scaled = _unscaled(site, node)
            return [replace(scores, value=scaled[0]).times(*scaled[1:])] if scaled else []
        case MaskScores():
            masked = _unmasked(site, node, node.op, scores)
            return [masked] if masked else []
        case Add():
            return _unbiased(site, node, scores)
        case _:
            product = Product.of(site, node)
            return [replace(scores, product=product)] if product else []


def _unbiased(site: Site, node: Node, scores: _Scores) -> list[_Scores]:
    """A sum without one of its two terms, which broadcasts to the other."""
    if len(node.inputs) != 2 or scores.factor != 1:
        return []
    first, second = node.inputs
    return [
        replace(scores, value=value, biases=(bias, *scores.biases))
        for value, bias in ((first, second), (second, first))
        if site.type(bias).dtype is scores.type.dtype and site.is_surely_finite(bias)
    ]


def _unmasked(site: Site, node: Node, mask: MaskScores, scores: _Scores) -> _Scores | None:
    # A positive factor leaves what a mask fills in the least.
    if scores.factor <= 0 or mask.fill not in (None, -inf):
        return None
    value, *truths = node.inputs
    predicates = scores.predicates
    if mask.predicate is not None:
        predicates = (by_position(mask.predicate, site.type(value)), *predicates)
    # The least float16 is not so low that nothing added to it makes a difference.
    absorbs = mask.fill is None and scores.type.dtype is not DType.FLOAT16 and scores.factor <= 1
    return replace(
        scores,
        value=value,
        predicates=predicates,
        truths=(*truths, *scores.truths),
        is_exact_when_empty=scores.is_exact_when_empty and absorbs,
    )


def _unscaled(site: Site, node: Node) -> tuple[int, float, Static] | None:
    """What a node multiplies with a number or divides by one, the factor, and its origin."""
    if len(node.inputs) != 2:
        return None
    first, second = node.inputs
    number = _number(site, second)
    if isinstance(node.op, Div):
        return (first, 1 / number[0], None) if number and number[0] else None
    if number is not None:
        return first, *number
    number = _number(site, first)
    return (second, *number) if number else None


def _number(site: Site, value: int) -> tuple[float, Static] | None:
    """The number that a value is, and where it came from."""
    node = site.maker(value)
    if node is None or not isinstance(node.op, Constant):
        return None
    given = node.op.value
    number = given.value if isinstance(given, Dim) else given
    if number is None or isinstance(number, bool):
        return None
    origin = next((o.value for o in node.origins if o.attribute == "value"), None)
    return float(number), origin


# ---------------------------------------------------------------------------------- the operator


def _fusion(site: Site, mean: Means, scores: _Scores) -> Fusion | None:
    assert scores.product is not None
    pair = next(pairs(scores.product), None)
    masking = _masking(site, scores)
    if pair is None or masking is None:
        return None
    query, scores = _without_factor(site, pair.query, scores)
    key, scores = _without_factor(site, pair.key, scores)
    queries = pair.product.arranged(query, (*pair.batch, pair.rows, pair.width))
    keys = _keys(site, pair, key)
    values = mean.product.arranged(mean.values, (*mean.batch, mean.columns, mean.width))
    predicate, mask = masking
    causal = predicate is not None and mask is None and Grid.of(predicate, scores.type).is_causal
    scale = _scale(scores, _type(site, queries).dims[-1])
    op = ScaledDotProductAttention(
        dropout_p=scores.dropout,
        is_causal=causal,
        scale=scale,
        predicate=None if causal else predicate,
    )
    origins = scores.dropout_origins
    if scale is not None and scores.factor_origin is not None:
        origins = (*origins, Origin("scale", scores.factor_origin))
    given = (queries, keys, values) if mask is None else (queries, keys, values, mask)
    before = tuple((name,) for name in (*mean.batch, mean.rows, mean.width))
    result = mean.product.rearranged(Fusion(op, given, origins), before, mean.product.output)
    return result if isinstance(result, Fusion) else None


def _without_factor(site: Site, factor: Factor, scores: _Scores) -> tuple[Factor, _Scores]:
    """A query or key before it was scaled, and the scores with that factor."""
    node = _sole_maker(site, factor.value)
    scaled = _unscaled(site, node) if node and isinstance(node.op, Mul | Div) else None
    if scaled is None or site.type(scaled[0]).dims != site.type(factor.value).dims:
        return factor, scores
    return replace(factor, value=scaled[0]), scores.times(*scaled[1:])


def _keys(site: Site, pair: Pairs, key: Factor) -> int | Fusion:
    """The keys as rows, also where they were turned for a product of matrices."""
    names = (*pair.batch, pair.columns, pair.width)
    before = pair.product.arranged(unturned(site, key), names)
    return before if isinstance(before, int) else pair.product.arranged(key, names)


def _type(site: Site, item: int | Fusion) -> TensorType:
    if isinstance(item, int):
        return site.type(item)
    type = item.op.infer(SETTLED, *(_type(site, given) for given in item.inputs))
    assert isinstance(type, TensorType)
    return type


def _scale(scores: _Scores, width: Dim) -> float | None:
    """The factor, or None where it is the operator's own."""
    usual = width.value and isclose(scores.factor * sqrt(width.value), 1, rel_tol=_SAME)
    return None if usual else scores.factor


_Masking = tuple[Condition | None, int | Fusion | None]


def _masking(site: Site, scores: _Scores) -> _Masking | None:
    """What the operator is told of places, and what it is given to add to the scores."""
    predicate = all_of(scores.predicates) if scores.predicates else None
    keeps = predicate is None or keeps_some(
        site.facts, Grid.of(predicate, scores.type), scores.type.dims[-1]
    )
    biases: tuple[int | Fusion, ...] = scores.biases
    if scores.truths or not keeps:
        if not scores.is_exact_when_empty:
            return None
        biases = (*biases, _filled(site, predicate, scores))
        predicate = None
    if not biases:
        return predicate, None
    bias = biases[0] if len(biases) == 1 else Fusion(Add(), biases, name="mask")
    missing = scores.type.rank - _type(site, bias).rank
    # PyTorch is quick with masks of all axes, or of the last two.
    return predicate, Fusion(Unsqueeze(axis=0), (bias,), name="mask") if missing == 1 and (
        scores.type.rank > 3
    ) else bias


def _filled(site: Site, predicate: Condition | None, scores: _Scores) -> Fusion:
    """Zero where something is kept: a row of which nothing is has the same number everywhere."""
    dtype = scores.type.dtype
    sizes = [site.type(value).with_dtype(dtype) for value in scores.truths]
    if predicate is not None:
        sizes.append(TensorType.of(dtype, *Grid.of(predicate, scores.type).dims))
    dims = broadcast(SETTLED, *sizes).dims
    ones = (Dim.of(1),) * (scores.type.rank - len(dims))
    filled = Fusion(Zeros(shape=(*ones, *dims), dtype=dtype), (), name="mask")
    first, *others = scores.truths or (None,)
    given = (filled,) if first is None else (filled, first)
    filled = Fusion(MaskScores(predicate=predicate, fill=_FAR), given, name="mask")
    for truth in others:
        filled = Fusion(MaskScores(fill=_FAR), (filled, truth), name="mask")
    return filled
