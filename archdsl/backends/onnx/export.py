"""Exports a model as an ONNX file: graph, weights and metadata for one opset."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto

from archdsl.backends.onnx.file import Initializer, attach, write
from archdsl.backends.onnx.lower import Lowered, NotExportableError, Refusal, lower
from archdsl.backends.onnx.transposed_weights import turn_weights
from archdsl.ir.lowering import Operand
from archdsl.ir.model import Block, Model
from archdsl.passes.flatten import flatten
from archdsl.passes.fold.batch_norm import fuse_batch_norm
from archdsl.passes.fold.rows import in_rows
from archdsl.passes.fold.siblings import fold_siblings
from archdsl.passes.recurrence.fuse import fuse_recurrence_for_onnx
from archdsl.rewrites.fuse import for_onnx
from archdsl.sizes.proof import Compare
from archdsl.version import VERSION
from archdsl.weights.fit import WeightsMismatchError, arrays_by_first_names, compare
from archdsl.weights.initial import initial_weight
from archdsl.weights.state_dict import known_shape, state
from archdsl.weights.tensor_map import Arrays

Array = np.ndarray[Any, Any]

IR_VERSIONS: Mapping[int, int] = {
    17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11, 24: 12, 25: 13, 26: 13,
}  # fmt: skip
"""The opsets that can be emitted, each with the lowest IR version that has it."""

DEFAULT_OPSET = 17


def export(
    model: Model,
    weights: Mapping[str, Array] | None,
    *,
    opset: int = DEFAULT_OPSET,
    seed: int = 0,
    fold: bool = True,
    fuse: bool = True,
    training_outputs: bool = False,
) -> ModelProto:
    """The model in memory, with its weights; drawn from the seed when none are given."""
    request = Request(model, weights, opset, seed, fold, fuse, training_outputs)
    proto, initializers = prepare(request)
    attach(proto, initializers)
    return proto


def save(
    path: str | PathLike[str],
    model: Model,
    weights: Mapping[str, Array] | None,
    *,
    opset: int = DEFAULT_OPSET,
    seed: int = 0,
    fold: bool = True,
    fuse: bool = True,
    training_outputs: bool = False,
    external: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the model to a file, atomically; weights stream to it one after the other.

    They go to a file beside it when that is wanted, and when one file cannot hold them.
    `progress` is told how many bytes of weights are written, and of how many.
    """
    request = Request(model, weights, opset, seed, fold, fuse, training_outputs)
    proto, initializers = prepare(request)
    write(path, proto, initializers, external=external, progress=progress)


def refusals(
    model: Model, *, opset: int = DEFAULT_OPSET, training_outputs: bool = False
) -> tuple[Refusal, ...]:
    """Everything in the model that has no exact form at this opset; none means it exports."""
    try:
        _lower_unfolded(model, opset, training_outputs)
    except NotExportableError as problem:
        return problem.refusals
    return ()


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be exported, and how."""

    model: Model
    weights: Mapping[str, Array] | None
    opset: int
    seed: int
    fold: bool
    fuse: bool
    training_outputs: bool


def prepare(request: Request) -> tuple[ModelProto, list[Initializer]]:
    """The model without its weights, and the weights in order, not yet computed."""
    _demand_opset(request.opset)
    model = for_onnx(request.model, request.opset)
    block = flatten(model, keep_training=request.training_outputs)
    arrays = _arrays(request)
    if request.fuse:
        fused = fuse_recurrence_for_onnx(block)
        block, arrays = fused.block, fused.map.forward(arrays)
    if request.fold:
        folded = fuse_batch_norm(block)
        block, arrays = fold_siblings(folded.block, folded.map.forward(arrays))
    proto = _model(request.model, request.opset)
    place = _folded if request.fold else lower
    lowered = place(block, proto.graph, request.opset)
    initializers = [_initializer(o, arrays[path]) for path, o in lowered.weights.items()]
    initializers += [
        _initializer(made.operand, partial(made.array, arrays)) for made in lowered.made
    ]
    return proto, initializers


def _folded(block: Block, graph: GraphProto, opset: int) -> Lowered:
    """As `lower`, in rows if that gives fewer nodes, and with weights stored as they are read."""
    whole, rows = turn_weights(lower(block, graph, opset)), in_rows(block)
    if rows is block:
        return whole
    other = turn_weights(lower(rows, GraphProto(name=graph.name), opset))
    if len(other.graph.node) >= len(graph.node):
        return whole
    graph.CopyFrom(other.graph)
    return replace(other, graph=graph)


def _initializer(operand: Operand, array: Callable[[], Array]) -> Initializer:
    type = operand.type
    return Initializer(operand.name, type.dtype, known_shape(operand.name, type.dims), array)


def _demand_opset(opset: int) -> None:
    if opset in IR_VERSIONS:
        return
    first, last = min(IR_VERSIONS), max(IR_VERSIONS)
    reason = f"opset {opset} cannot be emitted; those from {first} to {last} can"
    raise NotExportableError(
        [Refusal(None, reason, f"use opset {DEFAULT_OPSET}, the most portable")]
    )


def _lower_unfolded(model: Model, opset: int, training_outputs: bool) -> frozenset[str]:
    """The paths of the weights that the unfolded graph needs."""
    _demand_opset(opset)
    block = flatten(for_onnx(model, opset), keep_training=training_outputs)
    return lower(block, GraphProto(), opset).paths


def _arrays(request: Request) -> Arrays:
    expected = state(request.model)
    given = request.weights
    if given is None:
        return {path: partial(initial_weight, w, request.seed) for path, w in expected.items()}
    given = arrays_by_first_names(request.model, expected, given)
    report = compare(expected, given)
    if report.missing:
        # Weights that only training uses, and counters, may be missing.
        needed = _lower_unfolded(request.model, request.opset, request.training_outputs)
        report = report.without_missing(set(report.missing) - needed)
    if not report.fits:
        raise WeightsMismatchError(report)
    return {path: partial(np.asarray, given[path]) for path in expected if path in given}


def _model(model: Model, opset: int) -> ModelProto:
    proto = ModelProto(
        ir_version=IR_VERSIONS[opset],
        producer_name="archdsl",
        producer_version=VERSION,
        doc_string=model.doc or model.root.doc,
    )
    proto.graph.name = model.name
    proto.opset_import.add(domain="", version=opset)
    for key, value in _metadata(model).items():
        proto.metadata_props.add(key=key, value=value)
    return proto


def _metadata(model: Model) -> dict[str, str]:
    facts = {
        "archdsl.edition": str(model.edition),
        "archdsl.model": model.name,
        "archdsl.sizes": json.dumps(_least_sizes(model.root)),
    }
    if model.root.requirements:
        stated = [str(requirement.condition) for requirement in model.root.requirements]
        facts["archdsl.requirements"] = json.dumps(stated)
    return facts


def _least_sizes(block: Block) -> dict[str, int]:
    """The least size of each symbol, as far as single requirements say it."""
    least = {name: 0 if name in block.empty else 1 for name in block.symbols}
    for requirement in block.requirements:
        bound = _bound(requirement.condition)
        if bound is not None and bound[0] in least:
            least[bound[0]] = max(least[bound[0]], bound[1])
    return least


def _bound(condition: object) -> tuple[str, int] | None:
    if not isinstance(condition, Compare):
        return None
    symbol, bound = condition.left.symbol_name, condition.right.value
    if symbol is None or bound is None or condition.relation not in (">", ">="):
        return None
    return symbol, bound + (condition.relation == ">")
