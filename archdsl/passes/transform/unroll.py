"""The transform `unroll`: scans of known length are written out step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from archdsl.ir.lowering import Unsupported
from archdsl.ir.model import Block, Node, Scan, Value
from archdsl.ir.obligations import SETTLED
from archdsl.ir.op import REGISTRY
from archdsl.ir.types import TensorType
from archdsl.passes.graph import read, with_nodes
from archdsl.sizes.dims import Dim
from archdsl.source import Span
from archdsl.weights.tensor_map import TensorMap, Transformed

MOST_NODES = 100_000
"""What is longer is of no use written out."""


def unroll(block: Block) -> Transformed:
    """Every step of scans written out; their lengths must be known."""
    unrolling = _Unrolling(block)
    unrolling.run()
    outputs = tuple(port.replaced({"value": unrolling.value(port.value)}) for port in block.outputs)
    renamed = block.replaced({"outputs": outputs})
    result = with_nodes(renamed, unrolling.written, unrolling.values, block.member)
    return Transformed(result, TensorMap.between(block, result))


class _Walk:
    """Nodes on their way, and what their values are in the result."""

    def __init__(self, nodes: Iterator[Node], around: _Walk | None) -> None:
        self.nodes = nodes
        self.known: dict[int, int] = {}
        self._around = around

    def value(self, value: int) -> int:
        """What a value is in the result; values from around are looked for there."""
        walk: _Walk | None = self
        while walk is not None:
            if value in walk.known:
                return walk.known[value]
            walk = walk._around
        return value

    def finish(self) -> bool:
        """What follows when the nodes are through; whether that was all."""
        return True


class _Unrolling(_Walk):
    """The outermost walk, and what it has written."""

    def __init__(self, block: Block) -> None:
        super().__init__(iter(block.nodes), None)
        self.block = block
        self.values = list(block.values)
        self.written: list[Node] = []

    def run(self) -> None:
        """Take every node of every step, in the order in which they run, without recursion."""
        walks: list[_Walk] = [self]
        while walks:
            node = next(walks[-1].nodes, None)
            if node is None:
                if walks[-1].finish():
                    walks.pop()
            elif node.scan is not None:
                walks.append(_Steps(self, walks[-1], node, node.scan))
            else:
                self._copy(walks[-1], node)

    def _copy(self, walk: _Walk, node: Node) -> None:
        inputs = tuple(walk.value(value) for value in node.inputs)
        outputs = node.outputs
        if walk is not self:
            outputs = tuple(self.add(self.values[value]) for value in node.outputs)
            walk.known.update(zip(node.outputs, outputs, strict=True))
        self._append(node.replaced({"inputs": inputs, "outputs": outputs}))

    def _append(self, node: Node) -> None:
        if len(self.written) >= MOST_NODES:
            raise Unsupported(
                f"written out, the scans of this model are more than {MOST_NODES:,} operators",
                help="give the lengths of the sequences smaller values with --dim",
                span=node.span,
            )
        self.written.append(node)

    def add(self, value: Value) -> int:
        """One more value."""
        self.values.append(value)
        return len(self.values) - 1

    def apply(self, at: Node, name: str, inputs: Sequence[int], **attributes: Any) -> int:
        """One more function, and its output."""
        op = REGISTRY[name].model_validate(attributes)
        type = op.infer(SETTLED, *(self.values[value].type for value in inputs))
        assert isinstance(type, TensorType)
        output = self.add(Value("", type, at.span))
        self._append(
            Node(op=op, inputs=tuple(inputs), outputs=(output,), scope=at.scope, span=at.span)
        )
        return output


class _Steps(_Walk):
    """The steps of one scan, one after the other."""

    def __init__(self, whole: _Unrolling, around: _Walk, node: Node, scan: Scan) -> None:
        super().__init__(iter(()), around)
        self._whole, self._outside, self._node, self._scan = whole, around, node, scan
        given = [around.value(value) for value in node.inputs]
        self._walked = given[: len(scan.axes)]
        self._states = given[len(scan.axes) : len(scan.axes) + len(scan.states)]
        self._yields: list[list[int]] = []
        places = range(_length(scan, node.span))
        self._places = iter(reversed(places) if scan.reverse else places)
        self._read = {value for each in scan.nodes for value in read(each)} | {*scan.results}
        self._next()

    def finish(self) -> bool:
        """End a step and begin the next one; after the last, what the scan gives is known."""
        results = [self.value(value) for value in self._scan.results]
        self._states = results[: len(self._states)]
        self._yields.append(results[len(self._states) :])
        if self._next():
            return False
        if self._scan.reverse:
            self._yields.reverse()
        stacked = [
            self._whole.apply(self._node, "stack", steps, axis=axis)
            for steps, axis in zip(zip(*self._yields, strict=True), self._scan.stacked, strict=True)
        ]
        outputs = zip(self._node.outputs, (*stacked, *self._states), strict=True)
        self._outside.known.update(outputs)
        return True

    def _next(self) -> bool:
        """Begin the next step; whether there is one."""
        scan, place = self._scan, next(self._places, None)
        if place is None:
            return False
        self.known = dict(zip(scan.states, self._states, strict=True))
        for element, walked, axis in zip(scan.elements, self._walked, scan.axes, strict=True):
            if element in self._read:
                index = Dim.of(place)
                self.known[element] = self._whole.apply(
                    self._node, "select", (walked,), axis=axis, index=index
                )
        self.nodes = iter(scan.nodes)
        return True


def _length(scan: Scan, span: Span) -> int:
    """How many steps there are."""
    if scan.length.value is not None:
        return scan.length.value
    name = scan.length.symbol_name
    raise Unsupported(
        f"a scan can be written out only over a known number of steps, not over {scan.length}",
        help=f"give it a value: --dim {name}=8" if name else "give sizes values with --dim",
        span=span,
    )
