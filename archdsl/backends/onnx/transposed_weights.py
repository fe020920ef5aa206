"""Transposes weights at export where the graph only reads them transposed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

from onnx import GraphProto, NodeProto

from archdsl.backends.onnx.lower import Lowered
from archdsl.backends.onnx.packing import Turned
from archdsl.backends.onnx.protobuf import bodies, rename, turning_of
from archdsl.ir.lowering import Operand
from archdsl.ir.types import TensorType

_Places = tuple[int, ...]


def turn_weights(lowered: Lowered) -> Lowered:
    """The graph without transposes of weights that nothing reads as they are.

    What is also read otherwise, as a tied weight is, stays transposed in the graph: two copies
    would make the file larger.
    """
    if not lowered.turned:
        return lowered
    outputs = {output.name for output in lowered.graph.output}
    graphs = list(_every_graph(lowered.graph))
    readers: dict[str, list[NodeProto]] = defaultdict(list)
    for graph in graphs:
        for node in graph.node:
            for name in lowered.turned.intersection(node.input):
                readers[name].append(node)
    turned: dict[tuple[str, _Places], Turned] = {}
    renamed: dict[str, str] = {}
    for name, nodes in readers.items():
        perms = [() if node.output[0] in outputs else turning_of(node) for node in nodes]
        if all(perms):
            for node, perm in zip(nodes, perms, strict=True):
                made = turned.setdefault((name, perm), _turned(lowered.weights[name], perm))
                renamed[node.output[0]] = made.operand.name
    if not turned:
        return lowered
    for graph in graphs:
        _replace(graph, renamed)
    gone = {name for name, _ in turned}
    left = {name: operand for name, operand in lowered.weights.items() if name not in gone}
    return replace(lowered, weights=left, made=(*lowered.made, *turned.values()))


def _every_graph(outermost: GraphProto) -> Iterator[GraphProto]:
    waiting = [outermost]
    while waiting:
        graph = waiting.pop()
        yield graph
        waiting += (body for node in graph.node for body in bodies(node))


def _turned(weight: Operand, perm: _Places) -> Turned:
    type = TensorType.of(weight.type.dtype, *(weight.type.dims[place] for place in perm))
    order = "" if perm == (1, 0) else "_" + "_".join(map(str, perm))
    return Turned(Operand(f"{weight.name}.transposed{order}", type), weight.name, perm)


def _replace(graph: GraphProto, renamed: Mapping[str, str]) -> None:
    """Read other tensors instead of some, and drop what makes those."""
    for node in graph.node:
        rename(node.input, renamed)
    for place in reversed(range(len(graph.node))):
        if graph.node[place].output[0] in renamed:
            del graph.node[place]
    for place in reversed(range(len(graph.value_info))):
        if graph.value_info[place].name in renamed:
            del graph.value_info[place]
