"""Splits a causal model in two: prefill over a prompt, and one decode step.

The first one, the prefill, is the model with its states and caches as further outputs. The other
takes one new place of every input that goes along with time, and these states and caches; it gives
that place of the outputs, and the states and caches as the next step takes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from archdsl.ir.model import Block, Model, Node, Value
from archdsl.ir.types import TensorType
from archdsl.passes.attributes import Term, with_terms
from archdsl.passes.decode.build import build
from archdsl.passes.decode.liveness import plan
from archdsl.passes.decode.time_axis import StepRefusal, Timeline
from archdsl.passes.flatten import flatten
from archdsl.sizes.dims import Dim


@dataclass(frozen=True, slots=True)
class Stepping:
    """A model as two, and how the outputs of the one are the inputs of the other."""

    prefill: Model
    step: Model
    states: Mapping[str, str]
    """For each input of the step that comes from the step before, that one's output."""
    fixed: Sequence[str]
    """Inputs of the step that prefill gives once, under the same names."""


def stepping(model: Model, symbol: str | None = None) -> Stepping:
    """The model along an axis of time; raises StepRefusal if it cannot be taken step by step.

    Without a symbol it is found: the only one along which something is carried from step to step.
    """
    block = flatten(model)
    if symbol is None:
        return _found(model, block)
    if symbol not in _candidates(block):
        known = ", ".join(_candidates(block)) or "none"
        reason = f"`{symbol}` is not the size of an axis of an input; those are: {known}"
        raise StepRefusal(None, reason)
    found = _along(model, block, symbol)
    if not found.states:
        raise StepRefusal(None, f"nothing is carried along {symbol}: every step stands alone")
    return found


def _found(model: Model, block: Block) -> Stepping:
    """The only axis along which steps work and depend on each other."""
    found: dict[str, Stepping] = {}
    refused: dict[str, StepRefusal] = {}
    candidates = _candidates(block)
    for symbol in [name for name in candidates if _is_walked(block, name)] or candidates:
        try:
            stepped = _along(model, block, symbol)
        except StepRefusal as refusal:
            refused[symbol] = refusal
        else:
            if stepped.states:
                found[symbol] = stepped
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        reason = f"steps can go along {' or '.join(found)}"
        raise StepRefusal(None, reason, "say which: `--step NAME`")
    if len(refused) == 1:
        raise next(iter(refused.values()))
    reasons = "; ".join(f"along {name}, {each.reason}" for name, each in refused.items())
    raise StepRefusal(None, reasons or "no axis of an input is carried along from step to step")


def _candidates(block: Block) -> list[str]:
    """The symbols of axes of inputs."""
    dims = [dim for port in block.inputs for dim in block.type(port.value).dims]
    return [symbol for symbol in block.symbols if any(dim.symbol_name == symbol for dim in dims)]


def _is_walked(block: Block, symbol: str) -> bool:
    """Whether an operator carries something along such an axis, or compares its places."""
    time = Dim.of(symbol)
    for node in block.nodes:
        types = [block.type(value) for value in (*node.inputs[:1], *node.outputs[:1])]
        if node.scan is not None and node.scan.length == time:
            return True
        if any(type.dims.count(time) > 1 for type in types):
            return True
        if node.op is not None and node.inputs and time in types[0].dims:
            axis, given = types[0].dims.index(time), [block.type(value) for value in node.inputs]
            if node.op.carried(axis, *given) or node.op.newest(axis, *given):
                return True
    return False


def _along(model: Model, block: Block, symbol: str) -> Stepping:
    line = Timeline(block, symbol)
    built = build(line, lambda past: plan(line, past))
    return Stepping(
        _model(model, "prefill", built.prefill),
        _model(model, "step", built.step),
        built.states,
        built.fixed,
    )


def _model(model: Model, part: str, block: Block) -> Model:
    name = f"{model.name}_{part}"
    changes = {
        "name": name,
        "arguments": (),
        "nodes": tuple(map(_without_origins, block.nodes)),
        "values": tuple(
            Value(value.name, _plain_type(value.type), value.span) for value in block.values
        ),
    }
    root = block.model_copy(update=changes)
    return Model(edition=model.edition, name=name, doc=model.doc, entry=part, blocks={part: root})


def _without_origins(node: Node) -> Node:
    """A node whose sizes do not remember parameters, of which a flat block has none."""
    if node.scan is not None:
        nodes = tuple(map(_without_origins, node.scan.nodes))
        return node.model_copy(update={"scan": node.scan.model_copy(update={"nodes": nodes})})
    assert node.op is not None
    return node.model_copy(update={"op": with_terms(node.op, _plain)})


def _plain(term: Term) -> Term:
    return term.without_origin() if isinstance(term, Dim) else term


def _plain_type(type: TensorType) -> TensorType:
    return TensorType(type.dtype, tuple(dim.without_origin() for dim in type.dims), type.axes)
