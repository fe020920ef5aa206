"""Applies the rewrites in every block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from archdsl.ir.model import Block, Model, Node, Value, every_node
from archdsl.ir.obligations import SETTLED
from archdsl.ir.op import Op
from archdsl.ir.types import TensorType
from archdsl.rewrites import PATTERNS
from archdsl.rewrites.site import Fusion
from archdsl.sizes.proof import Facts

Admitted = Callable[[Op, Sequence[TensorType]], bool]
"""Whether an operator is wanted in the place of what it is written out in."""


def for_torch(model: Model) -> Model:
    """The model with all operators put together."""
    return fuse(model, lambda op, inputs: True)


def for_onnx(model: Model, opset: int) -> Model:
    """The model with those operators put together that the opset has in one piece."""

    def admitted(op: Op, inputs: Sequence[TensorType]) -> bool:
        since = op.onnx_since(*inputs)
        return since is not None and since <= opset

    return fuse(model, admitted)


def fuse(model: Model, admitted: Admitted) -> Model:
    """The model with what is admitted in the place of what it is written out in."""
    if not any(map(_may_fuse, model.blocks.values())):
        return model
    given = _given_numbers(model)
    blocks = {
        key: _fused(block, given.get(key, set()), admitted) if _may_fuse(block) else block
        for key, block in model.blocks.items()
    }
    return model.model_copy(update={"blocks": blocks})


def _may_fuse(block: Block) -> bool:
    return any(
        node.op is not None and node.op.function in PATTERNS for node in every_node(block.nodes)
    )


def _fused(block: Block, given: set[int], admitted: Admitted) -> Block:
    fusing = _Fusing(block, given, admitted)
    nodes = fusing.level(block.nodes)
    if len(fusing.values) == len(block.values) and not fusing.replaced:
        return block
    unused = {node.member for node in fusing.replaced} - {node.member for node in every_node(nodes)}
    # A copy would take the old block's cached `member` along.
    fields: dict[str, Any] = {name: getattr(block, name) for name in Block.model_fields}
    members = tuple(member for member in block.members if member.path not in unused)
    fields.update(nodes=nodes, values=tuple(fusing.values), members=members)
    return Block.model_construct(**fields)


class _Fusing:
    """One block whose nodes are taken level by level: its own, and those of each scan."""

    def __init__(self, block: Block, given: set[int], admitted: Admitted) -> None:
        self.block = block
        self.given = given
        self.admitted = admitted
        self.values: list[Value] = list(block.values)
        self.replaced: list[Node] = []
        self.facts = Facts(
            dict.fromkeys(block.symbols, 1), [fact.condition for fact in block.requirements]
        )
        self.readers = _readers(block)

    def type(self, value: int) -> TensorType:
        return self.values[value].type

    def level(self, nodes: Sequence[Node]) -> tuple[Node, ...]:
        """These nodes with fusions in the place of what they replace."""
        makers = {node.outputs[0]: node for node in nodes if self._is_plain(node)}
        result: list[Node] = []
        for node in nodes:
            fused = self._fuse(node, _Place(self, node, makers)) if self._is_plain(node) else None
            if fused is not None:
                result += fused
            elif node.scan is not None:
                scan = node.scan.model_copy(update={"nodes": self.level(node.scan.nodes)})
                result.append(node.model_copy(update={"scan": scan}))
            else:
                result.append(node)
        return self._without_released(result)

    def _is_plain(self, node: Node) -> bool:
        """Whether an operator without weights makes one value."""
        if node.op is None or len(node.outputs) != 1:
            return False
        return node.member is None or not self.block.member[node.member].weights

    def _fuse(self, node: Node, place: _Place) -> list[Node] | None:
        """The nodes in the place of one that is the last of something written out."""
        assert node.op is not None
        pattern = PATTERNS.get(node.op.function or "")
        fusion = None if pattern is None else pattern(place)
        if fusion is None:
            return None
        count = len(self.values)
        lost = [v for v in node.inputs if place.maker(v) and place.is_read_once(v)]
        name = next((self.values[v].name for v in lost), "")
        made: list[Node] = []
        self._make(fusion, node, name, made)
        if not any(self._is_admitted(new) for new in made):
            del self.values[count:]
            return None
        made[-1] = made[-1].model_copy(update={"outputs": node.outputs})
        self.values.pop()
        self._release(node)
        return made

    def _is_admitted(self, node: Node) -> bool:
        assert node.op is not None
        return self.admitted(node.op, [self.type(value) for value in node.inputs])

    def _make(self, fusion: Fusion, last: Node, name: str, made: list[Node]) -> int:
        """Append the nodes of a fusion, which is a tree of a few levels; the value it gives."""
        inputs = tuple(
            self._make(item, last, name, made) if isinstance(item, Fusion) else item
            for item in fusion.inputs
        )
        type = fusion.op.infer(SETTLED, *map(self.type, inputs))
        assert isinstance(type, TensorType)
        self.values.append(Value(name if fusion.name is None else fusion.name, type, last.span))
        changes: dict[str, Any] = {
            "op": fusion.op,
            "member": None,
            "inputs": inputs,
            "outputs": (len(self.values) - 1,),
            "origins": fusion.origins,
        }
        made.append(last.model_copy(update=changes))
        for value in inputs:
            self.readers[value] += 1
        return len(self.values) - 1

    def _release(self, node: Node) -> None:
        self.replaced.append(node)
        self.readers.subtract(node.inputs)

    def _without_released(self, nodes: Sequence[Node]) -> tuple[Node, ...]:
        """The nodes without those that only something replaced has read."""
        lost = {value for node in self.replaced for value in node.inputs}
        kept: list[Node] = []
        for node in reversed(nodes):
            if (
                self._is_plain(node)
                and not self.readers[node.outputs[0]]
                and (node.outputs[0] in lost)
            ):
                self._release(node)
                lost.update(node.inputs)
            else:
                kept.append(node)
        return tuple(reversed(kept))


@dataclass(frozen=True, slots=True)
class _Place:
    """A node, and what an operator may ask of its surroundings."""

    fusing: _Fusing
    node: Node
    makers: dict[int, Node]

    @property
    def facts(self) -> Facts:
        return self.fusing.facts

    def type(self, value: int) -> TensorType:
        return self.fusing.type(value)

    def maker(self, value: int) -> Node | None:
        return self.makers.get(value)

    def is_read_once(self, value: int) -> bool:
        return self.fusing.readers[value] == 1

    def is_surely_finite(self, value: int) -> bool:
        return value not in self.fusing.given


def _readers(block: Block) -> Counter[int]:
    """How many inputs of nodes and outputs of the block and of its scans read each value."""
    readers = Counter(port.value for port in block.outputs)
    for node in every_node(block.nodes):
        readers.update(node.inputs)
        if node.scan is not None:
            readers.update(node.scan.results)
    return readers


# ---------------------------------------------------------------- what users give in numbers


def _given_numbers(model: Model) -> dict[str, set[int]]:
    """In each block the values that depend on floating-point inputs of the model."""
    root = model.root
    floats = {p.value for p in root.inputs if root.type(p.value).dtype.is_floating}
    given: dict[str, set[int]] = {model.entry: floats}
    for key in _callers_first(model):
        _spread(model, model.blocks[key].nodes, given.setdefault(key, set()), given)
    return given


def _spread(
    model: Model, nodes: Iterable[Node], here: set[int], given: dict[str, set[int]]
) -> None:
    for node in every_node(nodes):
        if here.isdisjoint(node.inputs):
            continue
        here.update(node.outputs)
        if node.scan is not None:
            here.update((*node.scan.elements, *node.scan.states))
        if node.block is not None:
            ports = zip(model.blocks[node.block].inputs, node.inputs, strict=True)
            inner = given.setdefault(node.block, set())
            inner.update(port.value for port, value in ports if value in here)


def _callers_first(model: Model) -> list[str]:
    """The blocks that are used, each after all that call it."""
    calls = {
        key: [node.block for node in every_node(block.nodes) if node.block is not None]
        for key, block in model.blocks.items()
    }
    waiting = Counter(callee for callees in calls.values() for callee in set(callees))
    ready = [key for key in calls if not waiting[key]]
    order: list[str] = []
    while ready:
        order.append(ready.pop())
        for callee in set(calls[order[-1]]):
            waiting[callee] -= 1
            if not waiting[callee]:
                ready.append(callee)
    return order
