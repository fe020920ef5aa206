"""Horizontal fusion: layers of one input (queries, keys, values) become one layer."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from archdsl.ir.model import Block, Member, Node, Value, every_node
from archdsl.ir.obligations import SETTLED
from archdsl.ir.op import Op, Weight
from archdsl.ir.types import TensorType
from archdsl.sizes.dims import Dim
from archdsl.weights.tensor_map import Array, Arrays


def fold_siblings(block: Block, arrays: Arrays) -> tuple[Block, Arrays]:
    """A flat block and its weights, with one layer where several can be one beside each other.

    Nothing else may use the weights of such a layer; they follow each other along the first axis.
    """
    kinds = {type(node.op) for node in block.nodes if node.op is not None}
    if all(kind.beside is Op.beside for kind in kinds):
        return block, arrays
    folding = _Folding(block, arrays)
    for nodes in folding.families():
        folding.join(nodes)
    return folding.result()


class _Folding:
    def __init__(self, block: Block, arrays: Arrays) -> None:
        self.block = block
        self.arrays = dict(arrays)
        self.values = list(block.values)
        self.members = dict(block.member)
        self.replaced: dict[int, tuple[Node, ...]] = {}
        """What stands in the place of a node, which is known by its first output."""

    def families(self) -> list[list[Node]]:
        """Layers that see the same value and whose weights are theirs alone."""
        applied = Counter(node.member for node in every_node(self.block.nodes))
        shared = {borrowed.path.rpartition(".")[0] for borrowed in self.block.borrowed}
        found: dict[tuple[int, ...], list[Node]] = defaultdict(list)
        for node in self.block.nodes:
            if (
                node.op is not None
                and node.member is not None
                and (applied[node.member] == 1 and node.member not in shared)
            ):
                found[node.inputs].append(node)
        return [nodes for nodes in found.values() if len(nodes) > 1]

    def join(self, nodes: Sequence[Node]) -> None:
        """Put one layer in the place of the first, and what takes its output apart."""
        first, *others = nodes
        assert first.op is not None
        types = tuple(map(self.block.type, first.inputs))
        ops = [node.op for node in others if node.op is not None]
        together = first.op.beside(ops, *types)
        if together is None:
            return
        wide, apart = together
        type = wide.infer(SETTLED, *types)
        assert isinstance(type, TensorType)
        self.values.append(Value("", type, first.span))
        made = (len(self.values) - 1,)
        member = self._member(nodes)
        outputs = tuple(node.outputs[0] for node in nodes)
        scope = member.path.rpartition(".")[0]
        changes: dict[str, Any] = {"op": wide, "member": member.path, "outputs": made}
        split: dict[str, Any] = {"op": apart, "member": None, "inputs": made, "scope": scope}
        self.replaced.update((node.outputs[0], ()) for node in others)
        self.replaced[first.outputs[0]] = (
            first.model_copy(update=changes),
            first.model_copy(update=split | {"outputs": outputs}),
        )

    def _member(self, nodes: Sequence[Node]) -> Member:
        """The layer that has the weights of all."""
        members = [self.members.pop(str(node.member)) for node in nodes]
        parent, dot, _ = members[0].path.rpartition(".")
        names = [member.path.removeprefix(parent + dot) for member in members]
        path = parent + dot + "+".join(names)
        weights: list[Weight] = []
        for same in zip(*(member.weights for member in members), strict=True):
            name = same[0].name
            count = Dim.total(weight.dims[0] for weight in same)
            weights.append(replace(same[0], dims=(count, *same[0].dims[1:])))
            parts = [self.arrays.pop(f"{member.path}.{name}") for member in members]
            self.arrays[f"{path}.{name}"] = partial(_joined, parts)
        changes = {"path": path, "weights": tuple(weights)}
        self.members[path] = members[0].model_copy(update=changes)
        return self.members[path]

    def result(self) -> tuple[Block, Arrays]:
        """The block with what was joined, and where its weights now come from."""
        if not self.replaced:
            return self.block, self.arrays
        nodes = [
            new for node in self.block.nodes for new in self.replaced.get(node.outputs[0], (node,))
        ]
        # A copy would take the old block's cached `member` along.
        fields: dict[str, Any] = {name: getattr(self.block, name) for name in Block.model_fields}
        members = tuple(self.members.values())
        fields.update(nodes=tuple(nodes), values=tuple(self.values), members=members)
        return Block.model_construct(**fields), self.arrays


def _joined(parts: Sequence[Callable[[], Array]]) -> Array:
    return np.concatenate([part() for part in parts])
