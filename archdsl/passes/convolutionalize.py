"""Fully connected layers behind a flattened map, as convolutions over maps of any size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from archdsl import problems
from archdsl.ir.conditions import Compare, Condition
from archdsl.ir.dims import Dim
from archdsl.ir.lowering import Unsupported
from archdsl.ir.model import Block, Member, Node, Requirement, Value, every_node
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Op
from archdsl.ir.proof import Facts, smallest_admissible
from archdsl.ir.tracing import Blocks, Lost, Values
from archdsl.ir.types import ShapeError, TensorType
from archdsl.passes.flat_blocks import with_nodes
from archdsl.passes.tensor_map import Copy, Note, Part, Region, TensorMap, Transformed

_SPATIAL = {3: ("L",), 4: ("H", "W"), 5: ("D", "H", "W")}
"""What the sizes of maps are called, by the number of axes."""


def convolutionalize(block: Block) -> Transformed:
    """Fully connected layers made convolutions, which give a map of outputs for larger images.

    Where the image has the size that the layers were made for, the map has one place, and the
    outputs are the same (Long et al. 2015). The sizes of images become symbolic where all
    operators take others.
    """
    heads = _Heads(block)
    if not heads.maps:
        raise Unsupported(
            "no fully connected layer stands behind a flattened map",
            "what is made a convolution is `flatten` of [N, C, H, W], then `Linear` layers",
        )
    notes: list[Note] = []
    opened = _opened(block, heads)
    try:
        converting = _Converting(opened, heads)
        converting.run()
    except ShapeError as problem:
        if opened is block:
            raise Unsupported(f"with maps in the place of rows {problem.message}") from None
        notes.append(Note(block.span, problems.sizes_stay(problem.message)))
        converting = _Converting(block, heads)
        converting.run()
    result = converting.result()
    return replace(result, notes=(*result.notes, *notes))


@dataclass(frozen=True, slots=True)
class _Map:
    """A map in the place of rows: its value, and the window of it that was one row."""

    value: int
    window: tuple[int, ...]

    @property
    def is_place(self) -> bool:
        """Whether a row was one place of it."""
        return set(self.window) == {1}


class _Heads:
    """Which values are flattened maps, and which pooling makes those of one size."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._producer = {value: node for node in block.nodes for value in node.outputs}
        self._readers = Counter(value for node in block.nodes for value in node.inputs)
        self.maps: dict[int, tuple[int, ...]] = {}
        """The windows that become one row, by the value of the row."""
        self.pools: dict[int, Node] = {}
        """What makes maps of one size, by its value."""
        for node in block.nodes:
            if self._flattens(node):
                self._add(node)

    def _flattens(self, node: Node) -> bool:
        if node.op is None or len(node.inputs) != 1 or len(node.outputs) != 1:
            return False
        x, y = self._block.type(node.inputs[0]), self._block.type(node.outputs[0])
        is_map = x.rank in _SPATIAL and all(size.value for size in x.dims[1:])
        return is_map and y.rank == 2 and y.dims[0] == x.dims[0] and node.op.keeps_order(x)

    def _add(self, node: Node) -> None:
        """A flattened map, and the pooling before it, if nothing else comes between."""
        dims = self._block.type(node.inputs[0]).dims
        self.maps[node.outputs[0]] = tuple(size.value or 0 for size in dims[2:])
        value = node.inputs[0]
        while (before := self._producer.get(value)) is not None:
            types = [self._block.type(each) for each in before.inputs]
            if before.op is None or len(types) != 1 or self._readers[value] != 1:
                return
            if self._fixes_size(types[0], self._block.type(value)):
                self.pools[value] = before
                return
            if not _is_elementwise(before.op, types, self._block.type(value).rank):
                return
            value = before.inputs[0]

    def _fixes_size(self, x: TensorType, y: TensorType) -> bool:
        """Whether the sizes are other ones behind it, or would be for other inputs."""
        return x.rank == y.rank and any(
            before != after or before.value is None
            for before, after in zip(x.dims[2:], y.dims[2:], strict=True)
        )


def _is_elementwise(op: Op, types: Sequence[TensorType], rank: int) -> bool:
    """Whether every place is made of just those at the same place, along every axis."""
    return all(_keeps_axis(op, axis, types) for axis in range(rank))


def _keeps_axis(op: Op, axis: int, types: Sequence[TensorType]) -> bool:
    piece = op.piece(axis, Dim.of(0), Dim.of(1), *types)
    return piece is not None and piece.op == op and set(piece.axes) == {axis}
