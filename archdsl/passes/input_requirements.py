"""Which conditions a model places on its input sizes, and which operator needs each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from archdsl.ir.lowering import Unsupported
from archdsl.ir.model import Block, Model, Node, every_node
from archdsl.ir.obligations import Obligations
from archdsl.ir.types import ShapeError, TensorType
from archdsl.passes.flatten import inline
from archdsl.sizes.conditions import All, Compare, Condition, all_of
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Facts
from archdsl.sizes.solver import Effort
from archdsl.source import Span

MOST_EXPLAINED: Final = 8
"""For so many conditions reasons are sought, each in a walk over all operators."""


@dataclass(frozen=True, slots=True)
class Demand:
    """A condition on sizes, and the first operator that does not work without it."""

    condition: Condition
    operator: str | None
    """None where no operator is known to need it alone."""
    span: Span
    """Of the operator, or else of the `require`."""


def demands(model: Model) -> tuple[Demand, ...]:
    """What the inputs must satisfy; conditions that have one reason are one demand."""
    required = _required(model)
    if not required:
        return ()
    flat = _inlined(model)
    known = flat.facts(Effort())
    conditions = _independent(required, known)
    reasons = _reasons(flat, known, conditions)
    found = dict[tuple[str | None, Span], list[Condition]]()
    for condition in conditions:
        reason = reasons.get(condition) or (None, required[condition])
        found.setdefault(reason, []).append(condition)
    return tuple(Demand(all_of(alike), *reason) for reason, alike in found.items())


def _required(model: Model) -> Mapping[Condition, Span]:
    """Each condition, and where it was first written."""
    found = dict[Condition, Span]()
    for requirement in model.root.requirements:
        condition = requirement.condition
        for part in condition.parts if isinstance(condition, All) else (condition,):
            found.setdefault(part, requirement.span)
    return found


def _inlined(model: Model) -> Block:
    """All operators on the model's own sizes; only the outermost if those can't be written out."""
    try:
        return inline(model)
    except Unsupported:
        return model.root


def _independent(conditions: Iterable[Condition], known: Facts) -> Sequence[Condition]:
    """The conditions without those that follow from the others."""
    kept = list(conditions)
    for condition in kept[:MOST_EXPLAINED]:
        others = [each for each in kept if each is not condition]
        if _assuming(known, others).prove(condition).proved:
            kept = others
    return kept


def _reasons(
    flat: Block, known: Facts, conditions: Sequence[Condition]
) -> Mapping[Condition, tuple[str, Span]]:
    """For each condition, the first operator that is refused when it is just not met."""
    whole = _assuming(known, conditions)
    reasons = dict[Condition, tuple[str, Span]]()
    for condition in conditions[:MOST_EXPLAINED]:
        others = [each for each in conditions if each is not condition]
        facts = _assuming(known, [*others, *_weaker(condition, whole)])
        refused = _first_refused(flat, facts)
        if refused is not None:
            reasons[condition] = refused.called, refused.span
    return reasons


def _assuming(known: Facts, conditions: Iterable[Condition]) -> Facts:
    for condition in conditions:
        known = known.assume(condition)
    return known


def _weaker(condition: Condition, whole: Facts) -> Iterator[Condition]:
    """What is left of a condition when it is just not met: one less, or only the least size."""
    is_bound = isinstance(condition, Compare) and condition.relation in (">=", ">")
    for name in condition.symbols:
        least, _ = whole.range_of(Dim.symbol(name))
        if least is not None:
            yield Compare(Dim.symbol(name), ">=", Dim.of(least - is_bound))


def _first_refused(flat: Block, facts: Facts) -> Node | None:
    """The first operator that would not take its inputs if only so much were known.

    What those are is inferred again: a signature may have called sizes by what they are proved to
    be equal to.
    """
    found: dict[int, TensorType] = {}
    for node in every_node(flat.nodes):
        if node.op is None:
            continue
        check = Obligations(facts)
        given = (found.get(value) or flat.type(value) for value in node.inputs)
        try:
            types = node.op.output_types(check, *given)
        except ShapeError:
            return node
        if check.deferred:
            return node
        if node.fresh:
            continue
        for value, type in zip(node.outputs, types, strict=True):
            found[value] = TensorType(type.dtype, type.dims, flat.type(value).axes)
    return None
