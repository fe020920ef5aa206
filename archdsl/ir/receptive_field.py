"""Composes access maps through a block: stride, offset and receptive field of its values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from archdsl.ir.access import SAME, Reach
from archdsl.ir.model import Block, Node, Value
from archdsl.source import Span

Origin = tuple[int, int]
"""An axis of the inputs: the position of the input, and which of its axes."""


@dataclass(frozen=True, slots=True)
class Lost:
    """An axis of which nothing is known, since the operator at that place does not tell."""

    span: Span
    reason: str


Trace = Mapping[Origin, Reach] | Lost
"""What an axis of a value sees, by axes of the inputs."""

Traces = tuple[Trace, ...]
"""A trace for every axis of a value."""


class Blocks:
    """The traces of what blocks return, each computed once."""

    def __init__(self, blocks: Mapping[str, Block]) -> None:
        self._blocks = blocks
        self._found: dict[str, tuple[Traces, ...]] = {}

    def outputs(self, key: str) -> tuple[Traces, ...]:
        """What each output of a block sees of the block's inputs."""
        # Blocks stand behind those they use, so that this needs no recursion.
        for name, block in self._blocks.items():
            if key in self._found:
                break
            if name not in self._found:
                self._found[name] = self._of_block(block)
        return self._found[key]

    def _of_block(self, block: Block) -> tuple[Traces, ...]:
        values = Values.of_block(self, block)
        return tuple(values.traces(port.value) for port in block.outputs)


@dataclass(slots=True)
class Values:
    """The traces of the values of one block, finished or growing."""

    blocks: Blocks
    values: Sequence[Value]
    producer: Mapping[int, Node]
    inputs: int
    """How many inputs there are; they are the first values."""
    _found: dict[int, Traces] = field(default_factory=dict[int, Traces])

    @staticmethod
    def of_block(blocks: Blocks, block: Block, entering: Sequence[Traces] = ()) -> Values:
        """Those of a block that is finished; of what is around it, if that is what enters it."""
        producer = {value: node for node in block.nodes for value in node.outputs}
        known = dict(enumerate(entering))
        return Values(blocks, block.values, producer, len(block.inputs), known)

    def begin_at(self, values: Iterable[int]) -> None:
        """Take values for inputs, whatever makes them."""
        for value in values:
            self._found[value] = self._itself(value)

    def traces(self, value: int) -> Traces:
        """What every axis of a value sees."""
        waiting = [value] if value not in self._found else []
        while waiting:
            current = waiting[-1]
            node = self.producer.get(current)
            missing = [v for v in node.inputs if v not in self._found] if node else []
            if missing:
                waiting += missing
                continue
            self._found[waiting.pop()] = self._traced(current, node)
        return self._found[value]

    def _traced(self, value: int, node: Node | None) -> Traces:
        rank = self.values[value].type.rank
        if node is None:
            # What nothing makes is an input, or a weight, which sees none of them.
            nothing: Trace = {}
            return self._itself(value) if value < self.inputs else (nothing,) * rank
        if node.scan is not None:
            lost = Lost(node.span, "`scan` hands states from step to step")
            return (lost,) * rank
        if node.block is not None:
            output = self.blocks.outputs(node.block)[node.outputs.index(value)]
            return tuple(self._of_call(node, trace) for trace in output)
        return tuple(self._of_operator(node, axis) for axis in range(rank))

    def _itself(self, value: int) -> Traces:
        return tuple({(value, axis): SAME} for axis in range(self.values[value].type.rank))

    def _of_call(self, node: Node, trace: Trace) -> Trace:
        if isinstance(trace, Lost):
            return trace
        return self._joined(
            node,
            ((node.inputs[place], axis, reach) for (place, axis), reach in trace.items()),
        )

    def _of_operator(self, node: Node, axis: int) -> Trace:
        op = node.op
        assert op is not None
        if not node.inputs:
            return {}
        sights = op.sees(axis, *(self.values[value].type for value in node.inputs))
        if sights is None:
            return Lost(node.span, f"`{node.called}` does not keep this axis in its places")
        return self._joined(node, ((node.inputs[s.input], s.axis, s.reach) for s in sights))

    def _joined(self, node: Node, seen: Iterable[tuple[int, int, Reach]]) -> Trace:
        """All that is seen through the inputs of a node."""
        found: dict[Origin, Reach] = {}
        for value, axis, reach in seen:
            trace = self._found[value][axis]
            if isinstance(trace, Lost):
                return trace
            for origin, inner in trace.items():
                joined = reach.over(inner)
                if joined is not None and origin in found:
                    joined = found[origin].union(joined)
                if joined is None:
                    return Lost(node.span, "places of different strides meet here")
                found[origin] = joined
        return found
