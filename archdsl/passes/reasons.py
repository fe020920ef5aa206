"""What a model demands of the sizes of its inputs, and which operator needs each demand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from archdsl.ir.conditions import All, Compare, Condition
from archdsl.ir.dims import Dim
from archdsl.ir.model import Block, Model, Node, every_node
from archdsl.ir.obligations import Obligations
from archdsl.ir.proof import Facts
from archdsl.ir.solver import Effort
from archdsl.ir.types import ShapeError
from archdsl.passes.flatten import inline
from archdsl.source import Span


@dataclass(frozen=True, slots=True)
class Demand:
    """A condition on sizes, and the first operator that does not work without it."""

    condition: Condition
    operator: str | None = None
    """None where only what the spec itself states depends on it."""
    span: Span | None = None


def demands(model: Model) -> tuple[Demand, ...]:
    """Each condition that the inputs must satisfy, with its reason."""
    conditions = list(_parts(model))
    if not conditions:
        return ()
    flat, effort = inline(model), Effort()
    whole = Facts(dict.fromkeys(flat.symbols, 1), conditions, effort)
    found: list[Demand] = []
    for place, condition in enumerate(conditions):
        others = [*conditions[:place], *conditions[place + 1 :]]
        facts = Facts(dict.fromkeys(flat.symbols, 1), [*others, *_weaker(condition, whole)], effort)
        node = None if facts.prove(condition).proved else _first_refused(flat, facts)
        if node is None or node.op is None:
            found.append(Demand(condition))
        else:
            name = node.op.layer if node.member is not None else node.op.function
            found.append(Demand(condition, name, node.span))
    return tuple(found)


def _weaker(condition: Condition, whole: Facts) -> Iterator[Condition]:
    """What is left of a condition when it is just not met: one less, or only the least size."""
    for name in condition.symbols:
        least, _ = whole.range_of(Dim.symbol(name))
        if least is not None:
            is_bound = isinstance(condition, Compare) and condition.relation in (">=", ">")
            yield Compare(Dim.symbol(name), ">=", Dim.of(least - is_bound))


def _parts(model: Model) -> Iterator[Condition]:
    for requirement in model.root.requirements:
        condition = requirement.condition
        yield from condition.parts if isinstance(condition, All) else (condition,)


def _first_refused(flat: Block, facts: Facts) -> Node | None:
    return next((node for node in every_node(flat.nodes) if _is_refused(flat, node, facts)), None)


def _is_refused(flat: Block, node: Node, facts: Facts) -> bool:
    """Whether an operator would not take its inputs if only so much were known."""
    if node.op is None:
        return False
    check = Obligations(facts)
    try:
        node.op.infer(check, *map(flat.type, node.inputs))
    except ShapeError:
        return True
    return bool(check.deferred)
