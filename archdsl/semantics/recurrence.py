"""`scan`: steps along an axis with carried states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from archdsl import problems
from archdsl.diagnostics import Label
from archdsl.ir.model import Node, Scan
from archdsl.ir.types import ShapeError, TensorType
from archdsl.semantics.problem import Problem
from archdsl.semantics.scope import Environment
from archdsl.semantics.values import (
    UNKNOWN,
    Evaluated,
    Tensor,
    Tensors,
    Text,
    Unknown,
    describe,
)
from archdsl.sizes.conditions import Compare
from archdsl.sizes.dims import Dim
from archdsl.syntax import ast

if TYPE_CHECKING:
    from archdsl.semantics.body import Body


@dataclass(frozen=True, slots=True)
class Walked:
    """One tensor that a scan walks along, and the axis it walks."""

    tensor: Tensor
    type: TensorType
    axis: int

    @property
    def length(self) -> Dim:
        return self.type.dims[self.axis]


def scan(body: Body, node: ast.Scan, env: Environment) -> Evaluated:
    """Expand a scan: its stacked yields, then its final states."""
    if len(node.elements) != len(node.sequences):
        raise Problem(problems.scan_counts(node.span, len(node.elements), len(node.sequences)))
    sequences = [_sequence(body, item, env) for item in node.sequences]
    initials = [body.expressions.tensor(carry.initial, env) for carry in node.carries]
    walked = [item for item in sequences if item is not None]
    known = [item for item in initials if item is not None]
    if len(walked) != len(sequences) or len(known) != len(initials):
        return UNKNOWN
    _check_lengths(body, node, walked)
    elements = [
        body.builder.add_value(item.type.without_axis(item.axis), name.span, name.text)
        for name, item in zip(node.elements, walked, strict=True)
    ]
    states = [
        body.builder.add_value(body.builder.type(initial), carry.span, carry.name.text)
        for carry, initial in zip(node.carries, known, strict=True)
    ]
    step = _step(body, node, env, elements, states)
    if step is None:
        return UNKNOWN
    return _finish(body, node, walked, known, elements, states, step)


def _sequence(body: Body, node: ast.Expression, env: Environment) -> Walked | None:
    """`words(axis=T)`: the tensor and the axis."""
    is_call = isinstance(node, ast.Call) and len(node.arguments) == 1
    if not is_call or node.arguments[0].name is None:  # pyright: ignore
        raise Problem(problems.scan_needs_axis(node.span, body.program.text_of(node.span)))
    assert isinstance(node, ast.Call)
    argument = node.arguments[0]
    if argument.name is None or argument.name.text != "axis":
        raise Problem(problems.scan_needs_axis(node.span, body.program.text_of(node.function.span)))
    tensor = body.expressions.tensor(node.function, env)
    axis = body.arguments.axis(argument.value, env)
    if tensor is None or isinstance(axis, Unknown):
        return None
    type_ = body.builder.type(tensor)
    if isinstance(axis, Text):
        wanted: int | str = axis.value
    elif isinstance(axis, Dim) and axis.value is not None:
        wanted = axis.value
    else:
        raise Problem(problems.wrong_kind(argument.span, "an axis", describe(axis)))
    try:
        return Walked(tensor, type_, type_.axis(wanted))
    except ShapeError as error:
        chain = [body.builder.chain(tensor)]
        raise Problem(problems.shape_error(argument.span, "scan", error, [type_], chain)) from None


def _check_lengths(body: Body, node: ast.Scan, walked: Sequence[Walked]) -> None:
    first = walked[0]
    label = Label(node.sequences[0].span, f"walks along {first.length} of {first.type}")
    for item, written in zip(walked[1:], node.sequences[1:], strict=True):
        verdict = body.builder.facts.prove(Compare(item.length, "==", first.length))
        if not verdict.proved:
            raise Problem(
                problems.scan_lengths_differ(
                    written.span,
                    item.type,
                    item.length,
                    label,
                    first.length,
                    verdict.counterexample,
                )
            )


@dataclass(frozen=True, slots=True)
class Step:
    """The expanded body of a scan."""

    nodes: tuple[Node, ...]
    states: tuple[Tensor, ...]
    yields: tuple[Tensor, ...]


def _step(
    body: Body,
    node: ast.Scan,
    env: Environment,
    elements: Sequence[Tensor],
    states: Sequence[Tensor],
) -> Step | None:
    inner = Environment(env.file, env, {}, env.symbols)
    for name, element in zip(node.elements, elements, strict=True):
        inner.variables[name.text] = element
    for carry, state in zip(node.carries, states, strict=True):
        inner.variables[carry.name.text] = state
    if len(elements) == 1:
        inner.variables["it"] = elements[0]
    last = node.body[-1] if node.body else None
    if not isinstance(last, ast.Yield) and not node.carries:
        raise Problem(problems.scan_without_yield(node.span))
    statements = node.body[:-1] if isinstance(last, ast.Yield) else node.body
    with body.builder.region() as nodes:
        before, body.failed = body.failed, False
        returned = body.run(statements, inner)
        failed, body.failed = body.failed, body.failed or before
        if returned is not None or failed:
            return None
        yields = _yields(body, last, inner)
        if yields is None:
            return None
        new_states = _new_states(body, node, inner, states)
    return None if new_states is None else Step(tuple(nodes), new_states, yields)


def _yields(body: Body, last: ast.Statement | None, env: Environment) -> tuple[Tensor, ...] | None:
    if not isinstance(last, ast.Yield):
        return ()
    values = [body.expressions.tensor(value, env) for value in last.values]
    known = tuple(value for value in values if value is not None)
    return known if len(known) == len(values) else None


def _new_states(
    body: Body, node: ast.Scan, env: Environment, states: Sequence[Tensor]
) -> tuple[Tensor, ...] | None:
    """What the carried names mean at the end of a step: of the same type as at its beginning."""
    found: list[Tensor] = []
    for carry, before in zip(node.carries, states, strict=True):
        value = env.variables[carry.name.text]
        if isinstance(value, Unknown):
            return None
        if not isinstance(value, Tensor):
            raise Problem(problems.wrong_kind(carry.span, "a tensor", describe(value)))
        if value == before:
            raise Problem(problems.state_never_assigned(carry.name.span, carry.name.text))
        _check_state(body, carry, before, value)
        found.append(value)
    return tuple(found)


def _check_state(body: Body, carry: ast.Carry, before: Tensor, after: Tensor) -> None:
    first, then = body.builder.type(before), body.builder.type(after)
    name, chain = carry.name.text, body.builder.chain(after)
    if first.dtype is not then.dtype or first.rank != then.rank:
        raise Problem(problems.state_changes(carry.span, name, first, then, chain, None))
    for left, right in zip(first.dims, then.dims, strict=True):
        verdict = body.builder.facts.prove(Compare(left, "==", right))
        if not verdict.proved:
            raise Problem(
                problems.state_changes(carry.span, name, first, then, chain, verdict.counterexample)
            )


def _finish(
    body: Body,
    node: ast.Scan,
    walked: Sequence[Walked],
    initials: Sequence[Tensor],
    elements: Sequence[Tensor],
    states: Sequence[Tensor],
    step: Step,
) -> Tensors:
    builder, first = body.builder, walked[0]
    own = {tensor.index for tensor in (*elements, *states)}
    given = [item.tensor.index for item in walked] + [initial.index for initial in initials]
    captured = _captured(step, own)
    stacked: list[int] = []
    types: list[TensorType] = []
    for item in step.yields:
        type_ = builder.type(item)
        place = min(first.axis, type_.rank)
        name = first.type.axes[first.axis]
        stacked.append(place)
        types.append(type_.with_axis(place, first.length, None if name in type_.axes else name))
    types += [builder.type(state) for state in initials]
    spec = Scan(
        length=first.length,
        reverse=node.reverse,
        axes=tuple(item.axis for item in walked),
        elements=tuple(tensor.index for tensor in elements),
        states=tuple(tensor.index for tensor in states),
        nodes=step.nodes,
        results=tuple(tensor.index for tensor in (*step.states, *step.yields)),
        stacked=tuple(stacked),
    )
    outputs = builder.add_scan(spec, (*given, *captured), types, node.span)
    return Tensors(outputs, len(step.yields) or len(outputs))


def _captured(step: Step, own: set[int]) -> list[int]:
    """Values of the block around a scan that its nodes or results use, in order of first use."""
    made = set(own)
    used: dict[int, None] = {}
    for node in step.nodes:
        used.update(dict.fromkeys(value for value in node.inputs if value not in made))
        made.update(node.outputs)
    results = (tensor.index for tensor in (*step.states, *step.yields))
    used.update(dict.fromkeys(value for value in results if value not in made))
    return list(used)
