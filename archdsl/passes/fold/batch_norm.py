"""Folds batch norms into the convolutions before them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from archdsl.ir.model import Block, Member, Node, every_node
from archdsl.ir.op import ZEROS, Op, Weight
from archdsl.passes.graph import with_nodes
from archdsl.sizes.dims import Dim
from archdsl.weights.tensor_map import Array, Computed, TensorMap, Transformed


def fuse_batch_norm(block: Block) -> Transformed:
    """Batch norms in inference made part of the weights of the layers before them.

    One goes into the layer before it when nothing else reads that layer's output and nothing else
    uses its weights. The new weights are computed in float64 when they are asked for.
    """
    kinds = {type(node.op) for node in block.nodes if node.op is not None}
    if all(kind.as_affine is Op.as_affine for kind in kinds):
        return Transformed(block, TensorMap.between(block, block))
    fusing = _Fusing(block)
    for node in block.nodes:
        fusing.take(node)
    return fusing.result()


@dataclass(slots=True)
class _Producer:
    """A layer that may take affine maps in, where it stands, and the maps it has taken."""

    place: int
    node: Node
    member: Member
    maps: list[tuple[Op, Member]] = field(default_factory=list[tuple[Op, Member]])

    @property
    def op(self) -> Op:
        assert self.node.op is not None
        return self.node.op

    @property
    def has_bias(self) -> bool:
        return any(weight.name == "bias" for weight in self.member.weights)

    @property
    def new_node(self) -> Node:
        return self.node.replaced({"op": self.op.model_copy(update={"bias": True})})

    @property
    def new_member(self) -> Member:
        """The layer with a bias, which has the dtype and length of its outputs' axis."""
        assert self.op.weight_output_axis is not None
        weight = next(weight for weight in self.member.weights if weight.name == "weight")
        count = weight.dims[self.op.weight_output_axis]
        bias = Weight("bias", (Dim.of(count),), ZEROS, weight.dtype)
        others = (weight for weight in self.member.weights if weight.name != "bias")
        return self.member.replaced({"weights": (*others, bias)})

    def computed(self) -> tuple[Computed, Computed]:
        """How the new weight and bias are computed."""
        path, axis = self.member.path, self.op.weight_output_axis
        assert axis is not None
        maps = tuple(f"{m.path}.{w.name}" for _, m in self.maps for w in _floating(m))
        bias = (f"{path}.bias",) if self.has_bias else ()

        def weight_of(weight: Array, *arrays: Array) -> Array:
            scale, _ = self._affine(arrays)
            return _scaled(weight, scale, axis)

        def bias_of(weight: Array, *arrays: Array) -> Array:
            scale, shift = self._affine(arrays[len(bias) :])
            before = arrays[0].astype(np.float64) if bias else 0.0
            return (before * scale + shift).astype(weight.dtype)

        owned = f"{path}.weight"
        return (
            Computed(owned, (owned, *maps), weight_of),
            Computed(f"{path}.bias", (owned, *bias, *maps), bias_of),
        )

    def _affine(self, arrays: tuple[Array, ...]) -> tuple[Array, Array]:
        """All maps in one: scale and shift, of the weights of each in order."""
        left = list(arrays)
        scale, shift = np.float64(1), np.float64(0)
        for op, member in self.maps:
            names = [weight.name for weight in _floating(member)]
            own = {name: left.pop(0).astype(np.float64) for name in names}
            found = op.as_affine(own)
            assert found is not None
            scale, shift = scale * found[0], shift * found[0] + found[1]
        return np.asarray(scale), np.asarray(shift)


class _Fusing:
    def __init__(self, block: Block) -> None:
        self.block = block
        self.nodes: list[Node] = []
        self.producers: dict[int, _Producer] = {}
        self.fused: list[_Producer] = []
        self.readers = Counter(value for node in block.nodes for value in node.inputs)
        self.readers.update(port.value for port in block.outputs)
        self.applications = Counter(node.member for node in every_node(block.nodes))
        self.borrowed = {borrowed.path for borrowed in block.borrowed}

    def take(self, node: Node) -> None:
        """Make the node part of the layer before it, or keep it."""
        producer = self.producers.get(node.inputs[0]) if len(node.inputs) == 1 else None
        if producer is None or not self._is_affine(node):
            self._keep(node)
            return
        assert node.op is not None and node.member is not None
        if not producer.maps:
            self.fused.append(producer)
        producer.maps.append((node.op, self.block.member[node.member]))
        producer.node = producer.node.replaced({"outputs": node.outputs})
        self.producers[node.outputs[0]] = producer

    def _keep(self, node: Node) -> None:
        place = len(self.nodes)
        self.nodes.append(node)
        member = self._sole_member(node)
        if member is not None:
            self.producers[node.outputs[0]] = _Producer(place, node, member)

    def _sole_member(self, node: Node) -> Member | None:
        """The layer applied here, if an affine map after it can become part of its weights."""
        if node.op is None or node.op.weight_output_axis is None or node.member is None:
            return None
        member = self.block.member[node.member]
        paths = {f"{member.path}.{weight.name}" for weight in member.weights}
        if self.applications[node.member] > 1 or not self.borrowed.isdisjoint(paths):
            return None
        # Affine maps act along axis 1; that is the layer's output axis in convolutions, whose
        # weights have as many axes as what they give, and in linear layers on [N, features].
        rank = self.block.type(node.outputs[0]).rank
        weight = next(weight for weight in member.weights if weight.name == "weight")
        return member if len(weight.dims) == rank else None

    def _is_affine(self, node: Node) -> bool:
        if node.op is None or type(node.op).as_affine is Op.as_affine or node.member is None:
            return False
        if self.readers[node.inputs[0]] > 1 or len(node.outputs) != 1:
            return False
        # Whether it is an affine map depends on its attributes alone, so any weights will do.
        weights = _floating(self.block.member[node.member])
        return node.op.as_affine({weight.name: np.ones(1) for weight in weights}) is not None

    def result(self) -> Transformed:
        """The block without the nodes that went into others, and how its weights are computed."""
        members: dict[str, Member] = dict(self.block.member)
        computed: list[Computed] = []
        for producer in self.fused:
            self.nodes[producer.place] = producer.new_node
            members[producer.member.path] = producer.new_member
            computed += producer.computed()
        result = with_nodes(self.block, self.nodes, self.block.values, members)
        return Transformed(result, TensorMap.between(self.block, result, computed=computed))


def _floating(member: Member) -> list[Weight]:
    return [weight for weight in member.weights if weight.dtype.is_floating]


def _scaled(weight: Array, scale: Array, axis: int) -> Array:
    """The weight times the scale of its output channel, computed in float64."""
    along = [1] * weight.ndim
    along[axis] = -1
    result = np.empty_like(weight)
    factor = scale.reshape(along)
    return np.multiply(weight, factor, out=result, dtype=np.float64, casting="same_kind")
