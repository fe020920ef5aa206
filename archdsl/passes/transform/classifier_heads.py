"""Finds where feature maps are flattened for fully connected layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from archdsl.ir.lowering import Unsupported
from archdsl.ir.model import Block, Node
from archdsl.ir.op import Op
from archdsl.ir.types import TensorType
from archdsl.sizes.conditions import Compare, Condition
from archdsl.sizes.dims import Dim

NO_HEAD = (
    "no fully connected layer stands behind a flattened map",
    "what is made a convolution is `Linear` behind `flatten` of [N, C, H, W]",
)


@dataclass(frozen=True, slots=True)
class Pooling:
    """What stands for an operator that makes maps of one size; nothing, if it may be left out."""

    op: Op | None
    where: tuple[Condition, ...] = ()
    """The sizes at which that is the same."""


@dataclass(frozen=True, slots=True)
class Heads:
    """Flattened maps, by the value of the rows, and poolings before them, by their values."""

    windows: dict[int, tuple[int, ...]] = field(default_factory=dict[int, tuple[int, ...]])
    poolings: dict[int, Pooling] = field(default_factory=dict[int, Pooling])


def find_heads(block: Block) -> Heads:
    """The heads of a flat block; refuses if there is none."""
    heads = Heads()
    producer = {value: node for node in block.nodes for value in node.outputs}
    readers = Counter(value for node in block.nodes for value in node.inputs)
    for node in block.nodes:
        window = _flattened(block, node)
        if window is None:
            continue
        heads.windows[node.outputs[0]] = window
        value = node.inputs[0]
        while value in producer and readers[value] == 1:
            before = producer[value]
            pooling = _pooling(block, before)
            if pooling is not None:
                heads.poolings[value] = pooling
            if pooling is not None or not _is_elementwise(block, before):
                break
            value = before.inputs[0]
    if not heads.windows:
        raise Unsupported(*NO_HEAD)
    return heads


def _flattened(block: Block, node: Node) -> tuple[int, ...] | None:
    """The window that becomes a row, if the node makes rows of maps."""
    if node.op is None or len(node.inputs) != 1 or len(node.outputs) != 1:
        return None
    x, y = block.type(node.inputs[0]), block.type(node.outputs[0])
    if x.rank not in (3, 4, 5) or y.rank != 2 or y.dims[0] != x.dims[0]:
        return None
    window = tuple(size.value for size in x.dims[2:] if size.value)
    return window if len(window) == x.rank - 2 and node.op.keeps_order(x) else None


def _pooling(block: Block, node: Node) -> Pooling | None:
    """What stands for a node for maps of all sizes, if it makes maps of one."""
    if node.op is None or len(node.inputs) != 1 or len(node.outputs) != 1:
        return None
    x, y = block.type(node.inputs[0]), block.type(node.outputs[0])
    if x.rank != y.rank:
        return None
    pairs = list(zip(x.dims[2:], y.dims[2:], strict=True))
    where = tuple(Compare(a, "==", b) for a, b in pairs if a.value is None)
    if not where:
        op = node.op.sliding(x)
        is_idle = op is not None and node.op.is_idle(block.facts(), x)
        return None if op is None else Pooling(None if is_idle else op)
    if any(size.value is None for _, size in pairs):
        return None
    facts = block.facts()
    for condition in (*where, *(each.condition for each in block.requirements)):
        facts = facts.assume(condition)
    if any(size != 1 for _, size in pairs) and node.op.is_idle(facts, x):
        return Pooling(None, where)
    raise _unknown_window(node, x)


def _unknown_window(node: Node, x: TensorType) -> Unsupported:
    names = sorted({name for size in x.dims[2:] for name in size.symbols})
    given = " ".join(f"--dim {name}=224" for name in names)
    return Unsupported(
        f"`{node.called}` pools images of every size, so that no window is known in its place",
        f"give the size that the layers were made for: {given}",
        node.span,
    )


def _is_elementwise(block: Block, node: Node) -> bool:
    types = [block.type(value) for value in node.inputs]
    axes = range(block.type(node.outputs[0]).rank)
    return node.op is not None and len(types) == 1 and _keeps(node.op, types, axes)


def _keeps(op: Op, types: Sequence[TensorType], axes: Sequence[int]) -> bool:
    """Whether every place along these axes is made of those at the same place, and alike."""
    for axis in axes:
        piece = op.piece(axis, Dim.of(1), Dim.of(1), *types)
        if piece is None or piece.op != op:
            return False
        # Of an axis of size 1, its only place and all of it are one.
        pairs = zip(piece.axes, types, strict=True)
        if any(own != axis and (own is not None or x.dims[axis] != 1) for own, x in pairs):
            return False
    return True


def at_each_place(
    op: Op, rows: Sequence[TensorType], maps: Sequence[TensorType], window: tuple[int, ...]
) -> Op | None:
    """The operator that does to maps at each place what this does to rows; None if none does.

    What works along the features needs a row to be one place.
    """
    changes: dict[str, Any] = {}
    placed = op.placed(*rows)
    for name in op.axis_attributes():
        axis = getattr(placed, name)
        if isinstance(axis, int) and axis < 0:
            changes[name] = axis + 2
    moved = placed.model_copy(update=changes)
    is_place = set(window) == {1}
    if not _keeps(placed, rows, (0,) if is_place else (0, 1)):
        return None
    others = [axis for axis in range(maps[0].rank) if axis != 1 or not is_place]
    return moved if _keeps(moved, maps, others) else None
