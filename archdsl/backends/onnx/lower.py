"""Lowers a flat block to an ONNX graph that refers to weights by their state-dict names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx import GraphProto

from archdsl.backends.onnx.graph import GraphBuilder
from archdsl.backends.onnx.packing import Made
from archdsl.backends.onnx.protobuf import scan_attributes
from archdsl.diagnostics import InternalError
from archdsl.ir.lowering import Operand, Unsupported
from archdsl.ir.model import Block, Member, Node, Scan
from archdsl.ir.types import ShapeError, TensorType


@dataclass(frozen=True, slots=True)
class Refusal:
    """What ONNX cannot express exactly: the node (None for the model itself) and the reason."""

    node: Node | None
    reason: str
    help: str | None = None


class NotExportableError(Exception):
    """A model that has no exact ONNX form; all reasons at once, before anything is written."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        super().__init__("; ".join(refusal.reason for refusal in refusals))
        self.refusals = tuple(refusals)


@dataclass(frozen=True, slots=True)
class Lowered:
    """A graph without its weights: those it uses as they are, and what is made of others."""

    graph: GraphProto
    weights: Mapping[str, Operand]
    made: Sequence[Made]
    turned: frozenset[str]
    """Weights that some node reads to turn their axes."""

    @property
    def paths(self) -> frozenset[str]:
        """The paths of all weights that are needed."""
        return frozenset([*self.weights, *(path for made in self.made for path in made.paths)])


def lower(block: Block, graph: GraphProto, opset: int) -> Lowered:
    """A flat block in an empty graph, its weights in the order of their first use."""
    lowering = _Lowering(block, graph, opset)
    lowering.run()
    builder = lowering.builder
    made = tuple(builder.packings.values())
    return Lowered(lowering.graph(), builder.used_weights, made, frozenset(builder.turned))


class _Lowering:
    def __init__(self, block: Block, graph: GraphProto, opset: int) -> None:
        self.block = block
        self.builder = GraphBuilder(opset, graph, block.may_be_zero)
        self.operands: dict[int, Operand] = {}
        self.weights: dict[str, Mapping[str, Operand]] = {}
        self.refusals = _clashing_names(block)

    def run(self) -> None:
        """Lower every node, also after one was refused, so that all refusals are known."""
        self._begin()
        for node in self.block.nodes:
            try:
                self._lower(node)
            except Unsupported as problem:
                self._refuse(node, problem.reason, problem.help)
            except ShapeError as problem:
                self._refuse(node, problem.message, problem.help)
        if self.refusals:
            raise NotExportableError(self.refusals)

    def graph(self) -> GraphProto:
        outputs = [(port.name, self.operands[port.value]) for port in self.block.outputs]
        return self.builder.finish(outputs)

    def _begin(self) -> None:
        for member in self.block.members:
            self.weights[member.path] = _operands(member)
        weights = [operand for owned in self.weights.values() for operand in owned.values()]
        self.builder.reserve(operand.name for operand in weights)
        self.builder.reserve(port.name for port in self.block.outputs)
        for port in self.block.inputs:
            type = self.block.type(port.value)
            self.operands[port.value] = self.builder.input(port.name, type)
        self.builder.reserve(borrowed.path for borrowed in self.block.borrowed)
        for borrowed in self.block.borrowed:
            operand = Operand(borrowed.path, self.block.type(borrowed.value))
            self.operands[borrowed.value] = self.builder.borrow(operand)

    def _lower(self, node: Node) -> None:
        if node.scan is not None:
            self._lower_scan(node, node.scan)
            return
        if node.op is None:
            raise InternalError("a flat block has a node that is a call")
        path = node.scope if node.member is None else node.member
        weights = None if node.member is None else self.weights[node.member]
        given = [self.block.type(value) for value in node.outputs]
        self.builder.enter(path.replace(".", "/"), weights or {}, given)
        result = node.op.onnx(self.builder, *(self.operands[value] for value in node.inputs))
        results = result if isinstance(result, tuple) else (result,)
        for value, operand, type in zip(node.outputs, results, given, strict=True):
            if (operand.type.dtype, operand.type.rank) != (type.dtype, type.rank):
                raise InternalError(f"{node.op!r} gave {operand.type} in ONNX instead of {type}")
            self.operands[value] = self.builder.declare(operand, type)

    def _lower_scan(self, node: Node, scan: Scan) -> None:
        """The ONNX Scan operator: initial states and sequences in, final states and stacks out."""
        count, states = len(scan.axes), len(scan.states)
        sequences = [self.operands[value] for value in node.inputs[:count]]
        initials = [self.operands[value] for value in node.inputs[count : count + states]]
        scope = f"{node.scope}/scan".replace(".", "/").lstrip("/")
        self.builder.enter(scope, {})
        with self.builder.body() as body:
            for value in (*scan.states, *scan.elements):
                inner = self.block.values[value]
                self.operands[value] = self.builder.body_input(inner.name, inner.type)
            for step in scan.nodes:
                self._lower(step)
            self.builder.enter(scope, {})
            self.builder.body_outputs([self.operands[value] for value in scan.results])
        yields = len(scan.stacked)
        order = (*node.outputs[yields:], *node.outputs[:yields])
        outputs = self.builder.nodes(
            "Scan",
            *initials,
            *sequences,
            types=[self.block.type(value) for value in order],
            body=body,
            **scan_attributes(scan.axes, scan.stacked, reverse=scan.reverse),
        )
        self.operands.update(zip(order, outputs, strict=True))

    def _refuse(self, node: Node, reason: str, help: str | None) -> None:
        self.refusals.append(Refusal(node, reason, help))
        for value in node.outputs:
            self.operands[value] = Operand("", self.block.type(value))


def _operands(member: Member) -> dict[str, Operand]:
    return {
        weight.name: Operand(
            f"{member.path}.{weight.name}",
            TensorType(weight.dtype, weight.dims, (None,) * len(weight.dims)),
        )
        for weight in member.weights
    }


def _clashing_names(block: Block) -> list[Refusal]:
    """Inputs, outputs and weights share one space of names in ONNX."""
    names = Counter(port.name for port in (*block.inputs, *block.outputs))
    names.update({borrowed.path: 1 for borrowed in block.borrowed})
    return [
        Refusal(
            None,
            f"`{name}` is the name of more than one input, output or weight of the model,"
            " which ONNX cannot tell apart",
            "give the output another name",
        )
        for name, count in names.items()
        if count > 1
    ]
