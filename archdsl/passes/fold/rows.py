"""Collapses leading axes around operators on the last axis, so that they become matrix products."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from archdsl.ir.model import Block, Node, Value, every_node
from archdsl.ir.obligations import SETTLED
from archdsl.ir.op import REGISTRY, Op
from archdsl.ir.types import ShapeError, TensorType
from archdsl.passes.graph import read, with_nodes
from archdsl.sizes.dims import Dim

_ONE = Dim.of(1)
_PLACE = Dim.of("place")
"""Any place along an axis: what differs from place to place is not the same for every row."""


def in_rows(block: Block) -> Block:
    """The flat block with all axes but the last merged, wherever some operator asks for that.

    Around it go all operators that are connected with it and, as their pieces say, do the same
    to every row. What comes from others is reshaped before, and what others read afterwards.
    """
    if not any(_wants(block, node) for node in block.nodes):
        return block
    found = [_by_rows(block, node) for node in block.nodes]
    reached = _connected(block, [each for each in found if each is not None])
    near = [each if each is not None and each.outputs[0] in reached else None for each in found]
    return _Writing(block, _trimmed(block, near)).result()


def _wants(block: Block, node: Node) -> bool:
    if node.op is None or type(node.op).wants_rows is Op.wants_rows:
        return False
    return node.op.wants_rows(*map(block.type, node.inputs))


# --------------------------------------------------------------------- what works row by row


@dataclass(frozen=True, slots=True)
class _ByRows:
    """A node whose operator does the same to every row, and what it has as rows."""

    node: Node
    op: Op
    places: frozenset[int]
    """Where among its inputs those stand that have a row for each of the outputs."""

    @property
    def inputs(self) -> list[int]:
        """The values that it takes in rows."""
        return [value for place, value in enumerate(self.node.inputs) if place in self.places]

    @property
    def outputs(self) -> tuple[int, ...]:
        return self.node.outputs


def _by_rows(block: Block, node: Node) -> _ByRows | None:
    """The node in rows; None if its operator does not work on the last axis alone."""
    if node.op is None or node.fresh:
        return None
    given = [block.type(value) for value in node.inputs]
    made = [block.type(value) for value in node.outputs]
    leading = made[0].dims[:-1]
    if len(leading) < 2 or any(type.dims[:-1] != leading for type in made):
        return None
    chosen = _inputs_in_rows(node.op, given, leading)
    if not chosen:
        return None
    op = _from_the_end(node.op, given[0])
    rows = [_merged(type) if place in chosen else type for place, type in enumerate(given)]
    if not _gives(op, rows, [_merged(type) for type in made]):
        return None
    if op.weights(*rows) != node.op.weights(*given):
        return None
    return _ByRows(node, op, chosen)


def _inputs_in_rows(
    op: Op, given: Sequence[TensorType], leading: tuple[Dim, ...]
) -> frozenset[int] | None:
    """Which inputs have a row for each of the outputs; all others serve every row."""
    axes = list(range(len(leading)))
    general = [_of_any_size(type) if type.dims[:-1] == leading else type for type in given]
    pieces = [op.piece(axis, _PLACE, _ONE, *general) for axis in axes]
    chosen: set[int] = set()
    for place, type in enumerate(given):
        taken = [None if piece is None else piece.axes[place] for piece in pieces]
        if taken == axes and type.dims[:-1] == leading:
            chosen.add(place)
        elif any(axis is not None for axis in taken):
            return None
    is_same = all(piece is not None and piece.op == op for piece in pieces)
    return frozenset(chosen) if is_same else None


def _of_any_size(type: TensorType) -> TensorType:
    """The type with all axes but the last of any size, as what has size 1 seems to be stretched."""
    sizes = (Dim.of(f"size{axis}") for axis in range(type.rank - 1))
    return TensorType(type.dtype, (*sizes, type.dims[-1]), type.axes)


def _from_the_end(op: Op, x: TensorType) -> Op:
    """The operator with its axis counted from the last, which stays the last."""
    axis = getattr(op.placed(x), "axis", None)
    return op.model_copy(update={"axis": -1}) if axis == x.rank - 1 else op


def _gives(op: Op, given: Sequence[TensorType], wanted: Sequence[TensorType]) -> bool:
    try:
        types = op.output_types(SETTLED, *given)
    except ShapeError:
        return False
    return [(type.dtype, type.dims) for type in types] == [(t.dtype, t.dims) for t in wanted]


def _merged(type: TensorType) -> TensorType:
    rows = prod(type.dims[:-1], start=_ONE)
    return TensorType(type.dtype, (rows, type.dims[-1]), (None, type.axes[-1]))


# ------------------------------------------------------------------------------ which are worth it


def _connected(block: Block, found: Sequence[_ByRows]) -> set[int]:
    """The values in rows with which an operator that asks for rows is connected."""
    near: dict[int, list[int]] = defaultdict(list)
    for each in found:
        first, *others = (*each.outputs, *each.inputs)
        for value in others:
            near[first].append(value)
            near[value].append(first)
    waiting = [each.outputs[0] for each in found if _wants(block, each.node)]
    reached = set(waiting)
    while waiting:
        more = set(near[waiting.pop()]) - reached
        reached |= more
        waiting += more
    return reached


def _trimmed(block: Block, found: Sequence[_ByRows | None]) -> list[_ByRows | None]:
    """Without what comes last, asks for nothing and widens: runtimes copy what is changed back."""
    kept: list[_ByRows | None] = []
    read_in_rows: set[int] = set()
    for each in reversed(found):
        if each is None or (read_in_rows.isdisjoint(each.outputs) and _only_widens(block, each)):
            kept.append(None)
        else:
            kept.append(each)
            read_in_rows.update(each.inputs)
    kept.reverse()
    return kept


def _only_widens(block: Block, each: _ByRows) -> bool:
    before, after = (
        Dim.total(block.type(value).dims[-1] for value in values)
        for values in (each.inputs, each.outputs)
    )
    return not _wants(block, each.node) and (after.value or 0) > (before.value or 0)


# ------------------------------------------------------------------------------- the new block


class _Writing:
    def __init__(self, block: Block, found: Sequence[_ByRows | None]) -> None:
        self.block = block
        self.found = found
        self.values = list(block.values)
        self.rows: dict[int, int] = {}
        """Each value that there is in rows, and that which has its rows."""
        others = [n for n, each in zip(block.nodes, found, strict=True) if each is None]
        self.read_whole = {value for node in every_node(others) for value in read(node)}
        self.read_whole.update(port.value for port in block.outputs)

    def result(self) -> Block:
        """The block with reshapes where rows begin and end."""
        if not any(self.found):
            return self.block
        nodes: list[Node] = []
        for node, each in zip(self.block.nodes, self.found, strict=True):
            nodes += (node,) if each is None else self._written(each)
        return with_nodes(self.block, nodes, self.values, self.block.member)

    def _written(self, each: _ByRows) -> Iterator[Node]:
        node = each.node
        for value in each.inputs:
            if value not in self.rows:
                yield self._reshape(node, value, self._add_rows(value))
        inputs = tuple(
            self.rows[value] if place in each.places else value
            for place, value in enumerate(node.inputs)
        )
        outputs = tuple(map(self._add_rows, node.outputs))
        yield node.replaced({"op": each.op, "inputs": inputs, "outputs": outputs, "origins": ()})
        for value, rows in zip(node.outputs, outputs, strict=True):
            if value in self.read_whole:
                yield self._reshape(node, rows, value)

    def _add_rows(self, value: int) -> int:
        old = self.block.values[value]
        self.values.append(Value(old.name, _merged(old.type), old.span))
        self.rows[value] = len(self.values) - 1
        return self.rows[value]

    def _reshape(self, near: Node, value: int, wanted: int) -> Node:
        op = REGISTRY["reshape"].model_validate({"shape": self.values[wanted].type.dims})
        return Node(
            op=op,
            inputs=(value,),
            outputs=(wanted,),
            scope=near.scope if near.member is None else near.member,
            span=near.span,
        )
