"""Batch norm after a convolution becomes part of the convolution's weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from archdsl.backends.arrays import numpy_dtype
from archdsl.ir.dims import Dim
from archdsl.ir.model import Block, Member, Node, every_node
from archdsl.ir.op import ZEROS, Op, Weight
from archdsl.passes.tensor_map import Arrays

Array = np.ndarray[Any, Any]


def fold_affine(block: Block, arrays: Arrays) -> tuple[Block, Arrays]:
    """A flat block and its weights, with every affine map folded that can be.

    A map folds into the layer before it when nothing else reads that layer's output and nothing
    else uses its weights. The new weights are computed in float64 when they are asked for.
    """
    kinds = {type(node.op) for node in block.nodes if node.op is not None}
    if all(kind.as_affine is Op.as_affine for kind in kinds):
        return block, arrays
    folding = _Folding(block, arrays)
    for node in block.nodes:
        folding.take(node)
    return folding.result()


@dataclass(slots=True)
class _Producer:
    """A layer that may take affine maps in, and those it has taken, with its place."""

    place: int
    node: Node
    member: Member
    maps: list[tuple[Array, Array]]


class _Folding:
    def __init__(self, block: Block, arrays: Arrays) -> None:
        self.block = block
        self.arrays = arrays
        self.nodes: list[Node | None] = []
        self.producers: dict[int, _Producer] = {}
        self.folded: list[_Producer] = []
        self.readers = Counter(value for node in block.nodes for value in node.inputs)
        self.readers.update(port.value for port in block.outputs)
        self.applications = Counter(node.member for node in every_node(block.nodes))
        self.borrowed = {borrowed.path for borrowed in block.borrowed}

    def take(self, node: Node) -> None:
        """Fold the node into the layer before it, or keep it."""
        producer = self.producers.get(node.inputs[0]) if len(node.inputs) == 1 else None
        affine = None if producer is None else self._affine(node, producer)
        if producer is None or affine is None:
            self._keep(node)
            return
        if not producer.maps:
            self.folded.append(producer)
        producer.maps.append(affine)
        producer.node = producer.node.replaced({"outputs": node.outputs})
        self.producers[node.outputs[0]] = producer

    def _keep(self, node: Node) -> None:
        place = len(self.nodes)
        self.nodes.append(node)
        member = self._sole_member(node)
        if member is not None:
            self.producers[node.outputs[0]] = _Producer(place, node, member, [])

    def _sole_member(self, node: Node) -> Member | None:
        """The layer applied here, if an affine map after it can be folded into its weights."""
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

    def _affine(self, node: Node, producer: _Producer) -> tuple[Array, Array] | None:
        if node.op is None or type(node.op).as_affine is Op.as_affine or node.member is None:
            return None
        if self.readers[node.inputs[0]] > 1 or len(node.outputs) != 1:
            return None
        weights = self.block.member[node.member].weights
        arrays = {
            weight.name: self.arrays[f"{node.member}.{weight.name}"]().astype(np.float64)
            for weight in weights
            if weight.dtype.is_floating
        }
        return node.op.as_affine(arrays)

    def result(self) -> tuple[Block, Arrays]:
        """The block without the folded nodes, and where its weights now come from."""
        arrays = dict(self.arrays)
        members = dict(self.block.member)
        for producer in self.folded:
            members[producer.member.path] = self._fold(producer, arrays)
        nodes = tuple(node for node in self.nodes if node is not None)
        used = {node.member for node in every_node(nodes)}
        owners = used.union(path.rpartition(".")[0] for path in self.borrowed)
        kept = tuple(member for path, member in members.items() if path in owners)
        # A copy would take the old block's cached `member` along.
        fields: dict[str, Any] = {name: getattr(self.block, name) for name in Block.model_fields}
        fields.update(nodes=nodes, members=kept)
        return Block.model_construct(**fields), arrays

    def _fold(self, producer: _Producer, arrays: dict[str, Callable[[], Array]]) -> Member:
        node, member = producer.node, producer.member
        assert node.op is not None and node.op.weight_output_axis is not None
        weights = {weight.name: weight for weight in member.weights}
        weight = weights["weight"]
        scale, shift = _composed(producer.maps)
        path = f"{member.path}.weight"
        arrays[path] = _scaled(arrays[path], scale, node.op.weight_output_axis)
        bias_path = f"{member.path}.bias"
        bias = arrays[bias_path] if "bias" in weights else None
        arrays[bias_path] = _shifted(bias, scale, shift, numpy_dtype(weight.dtype))
        op = node.op.model_copy(update={"bias": True})
        self.nodes[producer.place] = node.replaced({"op": op})
        bias_weight = Weight("bias", (Dim.of(scale.size),), ZEROS, weight.dtype)
        owned = (*(w for w in member.weights if w.name != "bias"), bias_weight)
        return member.replaced({"weights": owned})


def _composed(maps: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    scale, shift = maps[0]
    for next_scale, next_shift in maps[1:]:
        scale, shift = scale * next_scale, shift * next_scale + next_shift
    return scale, shift


def _scaled(array: Callable[[], Array], scale: Array, axis: int) -> Callable[[], Array]:
    """The weight times the scale of its output channel, computed in float64."""

    def compute() -> Array:
        weight = array()
        along = [1] * weight.ndim
        along[axis] = -1
        result = np.empty_like(weight)
        factor = scale.reshape(along)
        return np.multiply(weight, factor, out=result, dtype=np.float64, casting="same_kind")

    return compute


def _shifted(
    bias: Callable[[], Array] | None, scale: Array, shift: Array, dtype: np.dtype[Any]
) -> Callable[[], Array]:
    """The bias after the map, computed in float64; a layer without one begins at zero."""

    def compute() -> Array:
        before = 0.0 if bias is None else bias().astype(np.float64)
        return (before * scale + shift).astype(dtype)

    return compute
