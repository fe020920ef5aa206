"""Abstract values of a block and of one step of a scan in it."""

from __future__ import annotations

from collections.abc import Mapping

from archdsl.ir.model import Block, Member, Node, Value, every_node
from archdsl.passes.recurrence.algebra import Algebra
from archdsl.passes.recurrence.interpret import StepGraph
from archdsl.passes.recurrence.match import ELEMENT, STATE
from archdsl.passes.recurrence.values import Columns, Symbolic, weight_tensor
from archdsl.weights.tensor_map import WeightShapes

_Known = dict[int, Symbolic | None]


class StepValues:
    """Reads the nodes of a block as algebra; values may still be added to it."""

    def __init__(
        self, block: Block, values: list[Value], members: Mapping[str, Member], nodes: list[Node]
    ) -> None:
        self.values = values
        self._members = members
        self._graph = StepGraph(Algebra())
        self.outside = self._outside(block, nodes)
        """What is known of values outside of steps: weights, parts of them, and numbers."""

    @property
    def algebra(self) -> Algebra:
        return self._graph.algebra

    def apply(self, node: Node, known: _Known) -> None:
        """Make known what a node gives."""
        given = [known.get(value) for value in node.inputs]
        types = [self.values[value].type for value in node.inputs]
        weights = () if node.member is None else self._members[node.member].weights
        found = self._graph.apply(node, given, types, weights)
        known.update(zip(node.outputs, found, strict=True))

    def enter_element(self, known: _Known, place: int, value: int) -> None:
        """Make the features of an element known."""
        self._enter(known, ELEMENT, place, value)

    def enter_state(self, known: _Known, place: int, value: int) -> int | None:
        """Make the features of a state known; how many they are."""
        return self._enter(known, STATE, place, value)

    def _enter(self, known: _Known, kind: str, place: int, value: int) -> int | None:
        type = self.values[value].type
        width = type.dims[1].value if type.rank == 2 and type.dtype.is_floating else None
        if width is None or type.dims[0].value == 0:
            return None
        codes = self.algebra.codes(self.algebra.source(kind, place, width))
        known[value] = Columns(codes, 0)
        return width

    def _outside(self, block: Block, nodes: list[Node]) -> _Known:
        shapes = WeightShapes(block)
        known: _Known = {}
        for borrowed in block.borrowed:
            dims = self.values[borrowed.value].type.dims
            if borrowed.path in shapes:
                known[borrowed.value] = weight_tensor(borrowed.path, dims)
        for node in every_node(nodes):
            if all(known.get(value) is not None for value in node.inputs):
                self.apply(node, known)
        return known
