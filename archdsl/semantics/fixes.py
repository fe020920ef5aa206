"""Proposes fixes where inputs don't fit together: a requirement, a crop, a resize."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from archdsl.ir.access import Reach
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Op
from archdsl.ir.receptive_field import Lost
from archdsl.ir.types import ShapeError, TensorType
from archdsl.problems import Mends
from archdsl.semantics.values import Tensor
from archdsl.sizes.conditions import Compare, Condition, all_of
from archdsl.sizes.dims import Dim
from archdsl.sizes.multiples import sufficient

if TYPE_CHECKING:
    from archdsl.semantics.body import Body
    from archdsl.sizes.proof import Facts

MOST_DEMANDS = 8
FIRST_SPATIAL_AXIS = 2
IMAGE_RANK = 4


def mends(
    body: Body, op: Op, types: Sequence[TensorType], tensors: Sequence[Tensor], error: ShapeError
) -> Mends:
    """What can be said of a way out; only what is proved or known."""
    demanded = _demanded(op, types, error, body.builder.facts)
    pair = [place for place in error.inputs if place < len(tensors)]
    if len(pair) != 2 or error.condition is None:
        return Mends(demanded)
    first, second = (_Map.of(body, tensors[place]) for place in pair)
    if first is None or second is None or not _is_all(op, types, pair, body.builder.facts):
        return Mends(demanded)
    strides = None
    if first.strides != second.strides and None not in (*first.strides, *second.strides):
        strides = first.told, second.told
    return Mends(
        demanded,
        names=(first.name, second.name),
        strides=strides,
        crop=_crop(body.builder.facts, first, second),
        size=_size(first, second),
    )


def _demanded(
    op: Op, types: Sequence[TensorType], error: ShapeError, facts: Facts
) -> Condition | None:
    """Sizes at which the operator is proved to take its inputs."""
    found: list[Condition] = []
    for _ in range(MOST_DEMANDS):
        condition = sufficient(error.condition, facts) if error.condition else None
        if condition is None:
            return None
        found.append(condition)
        facts = facts.assume(condition)
        try:
            op.infer(Obligations(facts), *types)
        except ShapeError as next_problem:
            error = next_problem
        else:
            return all_of(found)
    return None


def _is_all(op: Op, types: Sequence[TensorType], pair: Sequence[int], facts: Facts) -> bool:
    """Whether two maps fit as soon as they are of one size."""
    like, changed = (types[place] for place in pair)
    dims = changed.dims[:FIRST_SPATIAL_AXIS] + like.dims[FIRST_SPATIAL_AXIS:]
    resized = [*types]
    resized[pair[1]] = TensorType(changed.dtype, dims, changed.axes)
    try:
        op.infer(Obligations(facts), *resized)
    except ShapeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Map:
    """A value with spatial axes, and how each lies on the input."""

    name: str
    dims: tuple[Dim, ...]
    reaches: tuple[Reach | None, ...]

    @staticmethod
    def of(body: Body, tensor: Tensor) -> _Map | None:
        builder = body.builder
        value = builder.values[tensor.index]
        if value.type.rank != IMAGE_RANK:
            return None
        traces = builder.traced(body.program.traced_blocks).traces(tensor.index)
        reaches = [
            next(iter(trace.values())) if not isinstance(trace, Lost) and len(trace) == 1 else None
            for trace in traces[FIRST_SPATIAL_AXIS:]
        ]
        return _Map(value.name, value.type.dims[FIRST_SPATIAL_AXIS:], tuple(reaches))

    @property
    def strides(self) -> tuple[Fraction | None, ...]:
        return tuple(reach and reach.stride for reach in self.reaches)

    @property
    def told(self) -> str:
        return " x ".join(dict.fromkeys(map(str, self.strides)))


def _crop(facts: Facts, first: _Map, second: _Map) -> tuple[int, int] | None:
    """Which of two to cut, and from which place on, where that is the same along all axes."""
    for cut, (long, short) in enumerate(((first, second), (second, first))):
        leads = {
            _lead(mine, other) for mine, other in zip(long.reaches, short.reaches, strict=True)
        }
        lead = leads.pop() if len(leads) == 1 else None
        if lead is None:
            continue
        fits = zip(long.dims, short.dims, strict=True)
        if all(facts.prove(Compare(a, ">=", b + lead)).proved for a, b in fits):
            return cut, lead
    return None


def _lead(reach: Reach | None, like: Reach | None) -> int | None:
    """How many places one begins before another that lies on the same grid."""
    if reach is None or like is None or reach.stride is None or reach.stride != like.stride:
        return None
    if reach.offset is None or like.offset is None:
        return None
    lead = (like.offset - reach.offset) / reach.stride
    return int(lead) if lead.denominator == 1 and lead >= 0 else None


def _size(first: _Map, second: _Map) -> tuple[int, str]:
    """Which of two to resize and to what: to the one whose sizes are written shorter."""
    texts = [", ".join(str(dim.without_origin()) for dim in each.dims) for each in (first, second)]
    target = 0 if len(texts[0]) <= len(texts[1]) else 1
    return 1 - target, f"[{texts[target]}]"
