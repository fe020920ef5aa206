"""Finds the time axis of every value, and the masks that hide later positions."""

from __future__ import annotations

from itertools import permutations

from archdsl.ir.model import Block, Node, every_node
from archdsl.ir.op import Op
from archdsl.ir.tiling import Later, Seen
from archdsl.ir.types import TensorType
from archdsl.passes.attributes import terms
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Facts
from archdsl.source import Span

_LOST = Seen("what a mask hid is changed before this")


class StepRefusal(Exception):
    """A model that cannot be taken one step at a time, where that is seen, and why."""

    def __init__(self, span: Span | None, reason: str, help: str | None = None) -> None:
        super().__init__(reason)
        self.span = span
        self.reason = reason
        self.help = help


class Timeline:
    """A flat block and the symbol of its axis of time."""

    def __init__(self, block: Block, symbol: str) -> None:
        self.block = block
        self.symbol = symbol
        self.time = Dim.of(symbol)
        self.facts = Facts(assumptions=[r.condition for r in block.requirements])
        self.maker = {value: node for node in block.nodes for value in node.outputs}
        self.timed: set[int] = set()
        """Values that are others where there are more steps."""
        self.given: set[int] = {port.value for port in block.inputs}
        """Values that inputs have a part in."""
        self.foreign: set[int] = set()
        """Values that need a size which no input that goes along with time has."""
        self.later: dict[tuple[int, int, int], Later | Seen] = {}
        """What a value has, along two of its axes, in a row at the later columns."""
        self.masked: set[int] = set()
        """Values with several axes of time in which something may be hidden."""
        self.shown: dict[Seen, Span] = {}
        """Where it first showed that a later place is seen."""
        self._follow()

    def type(self, value: int) -> TensorType:
        return self.block.type(value)

    def axes(self, value: int) -> tuple[int, ...]:
        """The axes of time of a value; more places may stand in front, as after padding."""
        return tuple(a for a, dim in enumerate(self.type(value).dims) if self._is_time(dim))

    def merged(self, value: int) -> Dim | None:
        """A size that has the number of steps in it and is another."""
        dims = self.type(value).dims
        return next((d for d in dims if self._speaks(d) and not self._is_time(d)), None)

    def _is_time(self, dim: Dim) -> bool:
        in_front = (dim - self.time).value
        return in_front is not None and in_front >= 0

    def mentions(self, op: Op) -> bool:
        """Whether an operator speaks of the number of steps."""
        return any(self.symbol in term.symbols for term in terms(op))

    def _speaks(self, dim: Dim) -> bool:
        return self.symbol in dim.symbols

    def _follow(self) -> None:
        self.timed = {
            port.value
            for port in self.block.inputs
            if any(map(self._speaks, self.type(port.value).dims))
        }
        known = {self.symbol}.union(*(_symbols(self.type(value)) for value in self.timed))
        for node in self.block.nodes:
            used = symbols_of(self.block, node)
            inputs = set(node.inputs)
            if self.symbol in used or inputs & self.timed:
                self.timed.update(node.outputs)
            if inputs & self.given:
                self.given.update(node.outputs)
            if used - known or inputs & self.foreign:
                self.foreign.update(node.outputs)
            if node.op is not None and len(node.outputs) == 1:
                self._compare(node, node.op)

    def _compare(self, node: Node, op: Op) -> None:
        """What the output has at later places, for each two of its axes of time."""
        value, types = node.outputs[0], tuple(map(self.type, node.inputs))
        if len(self.axes(value)) > 1 and not self.masked.isdisjoint(node.inputs):
            self.masked.add(value)
        for row, column in permutations(self.axes(value), 2):
            known = tuple(self._known(op, types, node, k, row, column) for k in range(len(types)))
            found = op.later(row, column, known, self.facts, *types)
            if found is not None:
                self.later[value, row, column] = found
                self.masked.add(value)
            if isinstance(found, Seen):
                self.shown.setdefault(found, node.span)

    def _known(
        self, op: Op, types: tuple[TensorType, ...], node: Node, k: int, row: int, column: int
    ) -> Later | Seen | None:
        """What is known of an input, along the axes that are those of the output."""

        def source(axis: int) -> int | None:
            piece = op.piece(axis, Dim.of(0), Dim.of(1), *types)
            # Softmax is no piece along its own axis, which it keeps in place.
            return axis if piece is None else piece.axes[k]

        value, first, second = node.inputs[k], source(row), source(column)
        if first is not None and second is not None and (value, first, second) in self.later:
            return self.later[value, first, second]
        return _LOST if value in self.masked else None


def symbols_of(block: Block, node: Node) -> set[str]:
    """The symbols of sizes that a node speaks of, itself and in what it makes."""
    found: set[str] = set()
    for inner in every_node([node]):
        if inner.op is not None:
            found.update(*(term.symbols for term in terms(inner.op)))
        if inner.scan is not None:
            found.update(inner.scan.length.symbols)
        for value in inner.outputs:
            found |= _symbols(block.type(value))
    return found


def _symbols(type: TensorType) -> set[str]:
    return set[str]().union(*(dim.symbols for dim in type.dims))
