"""The transform `split_towers`: grouped layers become parallel towers, as on AlexNet's two GPUs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from archdsl import problems
from archdsl.diagnostics import GivenError
from archdsl.ir.lowering import Unsupported
from archdsl.ir.model import Block, Member, Node, Value, every_node
from archdsl.ir.obligations import SETTLED
from archdsl.ir.op import REGISTRY, Op, Weight
from archdsl.ir.tiling import Piece
from archdsl.passes.graph import read, with_nodes
from archdsl.sizes.dims import Dim
from archdsl.weights.tensor_map import Copy, Note, Part, Region, TensorMap, Transformed

_AS_A_WHOLE = frozenset({"values", "eye", "dirac"})
"""How weights begin of which a part does not begin in that way."""


def split_towers(block: Block, *, towers: int) -> Transformed:
    """Layers in groups made parallel towers of channels, as AlexNet's on two GPUs.

    A layer of one group is parted by its outputs and takes the channels of all towers. What
    cannot be parted runs once, on the channels of all towers.
    """
    if towers < 2:
        raise GivenError(f"`towers` must be at least 2, but is {towers}")
    splitting = _Splitting(block, towers)
    splitting.plan()
    splitting.run()
    return splitting.result()


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a node is parted: an operator for each tower, and which parts they take."""

    pieces: tuple[Piece, ...]

    @property
    def axes(self) -> tuple[int | None, ...]:
        return self.pieces[0].axes

    def parts_groups_of(self, node: Node) -> bool:
        """Whether it is a layer in groups, of which each tower gets some."""
        is_layer = node.op is not None and node.member is not None
        return is_layer and 1 in self.axes and self.pieces[0].op != node.op


class _Splitting:
    def __init__(self, block: Block, towers: int) -> None:
        self.block = block
        self.towers = towers
        self.values = list(block.values)
        self.nodes: list[Node] = []
        self.members = dict(block.member)
        self.parts: list[Part] = []
        self.notes: list[Note] = []
        self.plans: dict[int, _Plan] = {}
        self.whole = {port.value for port in block.inputs}
        self.whole.update(each.value for each in block.borrowed)
        self.shares: dict[tuple[int, int], tuple[int, ...]] = {}
        self.applications = Counter(node.member for node in every_node(block.nodes))
        self.borrowed = {each.path for each in block.borrowed}
        self.prefix = self._free_prefix()

    def _free_prefix(self) -> str:
        """What the paths of towers begin with."""
        taken = {path.partition(".")[0] for path in self.block.member}
        taken.update(weight.name for weight in self.block.weights)
        prefix = "tower"
        while any(f"{prefix}{number}" in taken for number in range(self.towers)):
            prefix += "_"
        return prefix

    # -------------------------------------------------------------------------------- planning

    def plan(self) -> None:
        """Decide from the outputs back which nodes are parted."""
        wanted: set[int] = set()
        grouped = False
        for place in reversed(range(len(self.block.nodes))):
            node = self.block.nodes[place]
            plan = self._planned(node)
            in_groups = plan is not None and plan.parts_groups_of(node)
            if plan is not None and (in_groups or not wanted.isdisjoint(node.outputs)):
                self.plans[place] = plan
                own = zip(node.inputs, plan.axes, strict=True)
                wanted.update(value for value, axis in own if axis == 1)
            if _mixes_channels(node) or (plan is None and not wanted.isdisjoint(node.outputs)):
                # It takes the channels of all towers, each of which makes its part of them.
                wanted.update(node.inputs)
            grouped |= in_groups
        if not grouped:
            raise Unsupported(
                f"no layer has groups of channels that make {self.towers} towers",
                "give convolutions `groups` that the number of towers divides",
            )

    def _planned(self, node: Node) -> _Plan | None:
        """How the node can be parted along the channels."""
        sizes = [self._part(value, 1) for value in node.outputs]
        size = sizes[0] if sizes else None
        if node.op is None or size is None or None in sizes:
            return None
        pieces: list[Piece] = []
        for number in range(self.towers):
            piece = self._piece(node, node.op, Dim.of(number * size), Dim.of(size))
            if piece is None:
                return None
            pieces.append(piece)
        plan = _Plan(tuple(pieces))
        own = zip(node.inputs, plan.axes, strict=True)
        fits = all(axis is None or self._part(value, axis) is not None for value, axis in own)
        return plan if fits else None

    def _part(self, value: int, axis: int) -> int | None:
        """How long a tower's part of an axis is, if all can be equal."""
        dims = self.values[value].type.dims
        size = dims[axis].value if len(dims) > axis else None
        return None if size is None or size % self.towers else size // self.towers

    def _piece(self, node: Node, op: Op, start: Dim, size: Dim) -> Piece | None:
        types = [self.values[value].type for value in node.inputs]
        weights = () if node.member is None else self.block.member[node.member].weights
        if not weights:
            return op.share(self.towers, *types) or op.piece(1, start, size, *types)
        return op.share(self.towers, *types) if self._is_own(node, weights) else None

    def _is_own(self, node: Node, weights: tuple[Weight, ...]) -> bool:
        """Whether nothing else uses the layer's weights, and parts of them begin as they do."""
        paths = {f"{node.member}.{weight.name}" for weight in weights}
        return (
            self.applications[node.member] == 1
            and self.borrowed.isdisjoint(paths)
            and all(weight.init.kind not in _AS_A_WHOLE for weight in weights)
        )

    # ------------------------------------------------------------------------------- rewriting

    def run(self) -> None:
        """Write every node, in each tower or once."""
        for place, node in enumerate(self.block.nodes):
            plan = self.plans.get(place)
            if plan is None:
                self._once(node)
            else:
                self._in_towers(node, plan)
        for port in self.block.outputs:
            self._join(port.value)

    def _once(self, node: Node) -> None:
        if any(value not in self.whole for value in node.inputs) and not _mixes_channels(node):
            self.notes.append(Note(node.span, problems.towers_meet(node.called)))
        for value in read(node):
            self._join(value)
        self.nodes.append(node)
        self.whole.update(node.outputs)

    def _in_towers(self, node: Node, plan: _Plan) -> None:
        results: list[tuple[int, ...]] = []
        taken = [
            self._taken(value, axis) for value, axis in zip(node.inputs, plan.axes, strict=True)
        ]
        for number, piece in enumerate(plan.pieces):
            inputs = tuple(shares[number] for shares in taken)
            types = piece.op.output_types(SETTLED, *(self.values[value].type for value in inputs))
            outputs = tuple(self._add(Value("", type, node.span)) for type in types)
            member = None if node.member is None else f"{self.prefix}{number}.{node.member}"
            changes = {"op": piece.op, "member": member, "inputs": inputs, "outputs": outputs}
            self.nodes.append(node.replaced({**changes, "origins": (), "frames": ()}))
            results.append(outputs)
            if member is not None and node.member is not None:
                self._part_weights(self.block.member[node.member], member, number, piece.op, inputs)
        for output, shares in zip(node.outputs, zip(*results, strict=True), strict=True):
            self.shares[output, 1] = shares

    def _part_weights(
        self, old: Member, path: str, number: int, op: Op, inputs: tuple[int, ...]
    ) -> None:
        """The layer of one tower, and of which parts of the old weights its own are made."""
        own = op.weights(*(self.values[value].type for value in inputs))
        weights: list[Weight] = []
        for weight, before in zip(own, old.weights, strict=True):
            weights.append(replace(weight, init=before.init))
            source = Region.whole(f"{old.path}.{weight.name}", _sizes(before))
            less = [axis for axis, size in enumerate(_sizes(weight)) if size != source.shape[axis]]
            for axis in less:
                size = _sizes(weight)[axis]
                source = source.part(axis, number * size, 1, size)
            target = Region.whole(f"{path}.{weight.name}", _sizes(weight))
            self.parts.append(Copy(target, source))
        self.members[path] = old.replaced({"path": path, "weights": tuple(weights), "frames": ()})

    def _taken(self, value: int, axis: int | None) -> tuple[int, ...]:
        """What each tower takes of a value: its part along an axis, or all."""
        if axis is None:
            self._join(value)
            return (value,) * self.towers
        if (value, axis) not in self.shares:
            self._join(value)
            self.shares[value, axis] = tuple(self._split(value, axis))
        return self.shares[value, axis]

    def _split(self, value: int, axis: int) -> Iterator[int]:
        op = REGISTRY["split"].model_validate({"parts": Dim.of(self.towers), "axis": axis})
        types = op.infer(SETTLED, self.values[value].type)
        assert isinstance(types, tuple)
        span = self.values[value].span
        outputs = tuple(self._add(Value("", type, span)) for type in types)
        self.nodes.append(Node(op=op, inputs=(value,), outputs=outputs, span=span))
        yield from outputs

    def _join(self, value: int) -> None:
        """Put the channels of all towers together, under the number that they had."""
        if value in self.whole:
            return
        op = REGISTRY["concat"].model_validate({"axis": 1})
        span = self.values[value].span
        self.nodes.append(Node(op=op, inputs=self.shares[value, 1], outputs=(value,), span=span))
        self.whole.add(value)

    def _add(self, value: Value) -> int:
        self.values.append(value)
        return len(self.values) - 1

    def result(self) -> Transformed:
        """The block with its towers, and the weights as parts of the old ones."""
        block = with_nodes(self.block, self.nodes, self.values, self.members)
        map = TensorMap.between(self.block, block, self.parts)
        return Transformed(block, map, tuple(self.notes))


def _mixes_channels(node: Node) -> bool:
    """Whether it is a layer that makes each channel of many."""
    return node.op is not None and node.op.weight_output_axis is not None


def _sizes(weight: Weight) -> tuple[int, ...]:
    return tuple(dim.value for dim in weight.dims if dim.value is not None)
