"""Fuses scans that compute an LSTM, a GRU or a plain RNN into those operators."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from archdsl import problems
from archdsl.ir.lowering import Unsupported
from archdsl.ir.model import Block, Member, Node, Scan, Value, every_node
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import REGISTRY, Op
from archdsl.ir.types import ShapeError, TensorType
from archdsl.passes.graph import captured, needed, read, replaced, with_nodes
from archdsl.passes.recurrence.environment import StepValues
from archdsl.passes.recurrence.hoist import lifted
from archdsl.passes.recurrence.match import Recognised, recognise
from archdsl.passes.recurrence.pack_weights import Rearranged, rearranged
from archdsl.passes.recurrence.values import Columns, Known, Symbolic
from archdsl.sizes.proof import Facts
from archdsl.weights.tensor_map import Note, Part, TensorMap, Transformed


def fuse_recurrence(block: Block) -> Transformed:
    """LSTM, GRU and RNN in place of scans whose steps are their cells.

    What else a step does stays a scan, over what the operator gives. A cell stays where it is
    when anything else uses its weights or the states between its steps.
    """
    return _fused(block, _torch_has)


def fuse_recurrence_for_onnx(block: Block) -> Transformed:
    """As `fuse_recurrence`, also to operators that ONNX has and PyTorch has not."""
    return _fused(block, _onnx_has)


_Test = Callable[..., bool]
"""Whether an operator, for inputs of these types, may stand in the result."""


def _onnx_has(op: Op, *inputs: TensorType) -> bool:
    return True


def _torch_has(op: Op, *inputs: TensorType) -> bool:
    try:
        op.torch_module(*inputs)
    except Unsupported:
        return False
    return True


def _fused(block: Block, admits: _Test) -> Transformed:
    if not any(node.scan is not None for node in every_node(block.nodes)):
        return Transformed(block, TensorMap.between(block, block))
    fusing = _Fusing(block, admits)
    fusing.run()
    return fusing.result()


@dataclass(frozen=True, slots=True)
class _Plan:
    """A cell in a scan, what is made of its weights, and what remains of the scan."""

    cell: Recognised
    weights: Rearranged
    rest: Scan | None


class _Fusing:
    """The block as it is while one cell after the other is taken out."""

    def __init__(self, block: Block, admits: _Test) -> None:
        self.block = block
        self.admits = admits
        self.facts = Facts(assumptions=[each.condition for each in block.requirements])
        self.values = list(block.values)
        self.nodes = needed(block.nodes, {port.value for port in block.outputs})
        self.members = dict(block.member)
        self.parts: list[Part] = []
        self.notes: list[Note] = []
        self.known = StepValues(block, self.values, self.members, self.nodes)

    def run(self) -> None:
        """Try every scan, also those that remain and those within steps, until nothing changes."""
        refused: dict[int, Node] = {}
        while True:
            scans = (node for node in every_node(self.nodes) if node.scan is not None)
            node = next((each for each in scans if id(each) not in refused), None)
            if node is None:
                return
            if not self._try(node):
                refused[id(node)] = node

    def _try(self, node: Node) -> bool:
        """Take one cell out of a scan, as it is or with what may be done before it lifted."""
        assert node.scan is not None
        if self._try_as([node], node):
            return True
        nodes = lifted(self.known, self.facts, node, node.scan)
        return bool(nodes) and self._try_as(nodes, node)

    def _try_as(self, nodes: Sequence[Node], replaced: Node) -> bool:
        """Take one cell out of the scan that is the last of these nodes, in place of another."""
        *before, node = nodes
        assert node.scan is not None
        for cell in self._recognised(node.scan):
            rest = _without(node.scan, cell.states)
            if rest is None:
                continue
            weights = rearranged(cell, self._widths(node.scan), self._paths(node.scan, rest))
            if weights is None:
                continue
            plan = _Plan(cell, weights, rest if rest.states or rest.results else None)
            made = self._made(node, node.scan, plan)
            if made is not None and self._accept(replaced, [*before, *made], plan):
                return True
        return False

    # ------------------------------------------------------------------------------ recognising

    def _recognised(self, scan: Scan) -> Iterable[Recognised]:
        known = dict(self.known.outside)
        widths = [self.known.enter_state(known, *each) for each in enumerate(scan.states)]
        for place, value in enumerate(scan.elements):
            self.known.enter_element(known, place, value)
        for step in scan.nodes:
            self.known.apply(step, known)
        results = [known.get(value) for value in scan.results[: len(scan.states)]]
        columns = [each if isinstance(each, Columns) else None for each in results]
        return recognise(self.known.algebra, widths, columns)

    def _widths(self, scan: Scan) -> list[int]:
        types = [self.values[value].type for value in scan.elements]
        return [(type.dims[1].value or 0) if type.rank == 2 else 0 for type in types]

    def _paths(self, scan: Scan, rest: Scan) -> set[str]:
        """Where layers and weights stand when only the rest of a scan is left."""
        steps = {id(node) for node in every_node(scan.nodes)}
        left = [node for node in every_node(self.nodes) if id(node) not in steps]
        members = {node.member for node in (*left, *every_node(rest.nodes))}
        borrowed = {each.path for each in self.block.borrowed}
        return borrowed.union(path for path in members if path is not None)

    # -------------------------------------------------------------------------------- rewriting

    def _made(self, node: Node, scan: Scan, plan: _Plan) -> list[Node] | None:
        """The nodes of the operator and, after them, what remains of the scan."""
        building = _Building(self.values, self.facts, node, scan, plan)
        try:
            nodes = building.nodes(self.known.outside)
        except ShapeError:
            return None
        # What could only be demanded of the caller was no demand before.
        return None if building.check.deferred else nodes

    def _accept(self, node: Node, made: list[Node], plan: _Plan) -> bool:
        """Put the new nodes in place of the scan, unless something else needs its weights."""
        outputs = {port.value for port in self.block.outputs}
        nodes = needed(replaced(self.nodes, node, made), outputs)
        layer = next(each for each in made if each.member == plan.weights.path)
        assert layer.op is not None
        types = [self.values[value].type for value in layer.inputs]
        used = {each.member for each in every_node(nodes) if each is not layer}
        taken = {value for each in every_node(nodes) for value in read(each)}
        taken.update(outputs)
        owners = {path.rpartition(".")[0] for path in plan.weights.sources}
        borrowed = {each.path for each in self.block.borrowed if each.value in taken}
        shared = owners & used or plan.weights.sources & borrowed
        if shared or not self.admits(layer.op, *types):
            return False
        self.nodes = nodes
        self.parts += plan.weights.parts
        weights = layer.op.weights(*types)
        self.members[plan.weights.path] = Member(
            path=plan.weights.path, weights=weights, span=node.span
        )
        self.notes.append(Note(node.span, problems.fused_scan(str(layer.op.layer))))
        return True

    def result(self) -> Transformed:
        """The block with what it still needs."""
        block = with_nodes(self.block, self.nodes, self.values, self.members)
        return Transformed(
            block, TensorMap.between(self.block, block, self.parts), tuple(self.notes)
        )


class _Building:
    """The nodes that stand for one cell: its input put together, the operator, its outputs."""

    def __init__(
        self, values: list[Value], facts: Facts, node: Node, scan: Scan, plan: _Plan
    ) -> None:
        self._values = values
        self._node, self._scan, self._plan = node, scan, plan
        self.check = Obligations(facts)
        self._made: list[Node] = []
        axis = scan.axes[plan.weights.elements[0]]
        self._time = axis if axis < 2 else 0

    def nodes(self, known: Mapping[int, Symbolic | None]) -> list[Node]:
        scan, plan = self._scan, self._plan
        op = plan.cell.op.model_copy(
            update={
                "bias": plan.weights.has_bias,
                "batch_first": self._time == 1,
                "backwards": scan.reverse,
            }
        )
        walked = self._sequence()
        initial = self._initial(known)
        steps, *final = self._add(op, (walked, *initial), member=plan.weights.path)
        steps = self._yielded(steps)
        count = len(scan.stacked)
        for state, value in zip(plan.cell.states, final, strict=True):
            output = self._node.outputs[count + state]
            self._apply("squeeze", (value,), outputs=(output,), axis=(0,))
        self._remaining(steps)
        return self._made

    def _sequence(self) -> int:
        """What the operator walks along, `[time, batch, features]` or with batch first."""
        scan = self._scan
        parts = [
            self._turned(self._node.inputs[number], scan.axes[number], self._time)
            for number in self._plan.weights.elements
        ]
        return parts[0] if len(parts) == 1 else self._apply("concat", parts, axis=2)[0]

    def _turned(self, value: int, axis: int, wanted: int, outputs: tuple[int, ...] = ()) -> int:
        """The value with one axis at another place, the others in their order."""
        if axis == wanted:
            return self._apply("identity", (value,), outputs=outputs)[0] if outputs else value
        order = [place for place in range(self._values[value].type.rank) if place != axis]
        order.insert(wanted, axis)
        return self._apply("permute", (value,), outputs=outputs, axes=tuple(order))[0]

    def _initial(self, known: Mapping[int, Symbolic | None]) -> tuple[int, ...]:
        """The states it begins with; none if all are zero."""
        begin = self._node.inputs[len(self._scan.axes) :]
        given = [begin[state] for state in self._plan.cell.states]
        if all(known.get(value) == Known(0) for value in given):
            return ()
        return tuple(self._apply("unsqueeze", (value,), axis=0)[0] for value in given)

    def _yielded(self, steps: int) -> int:
        """Give all outputs that are what the cell gave at each step; the number of these."""
        first = True
        for output, place in self._own_yields():
            if first and place == self._time:
                # The last node gives the output itself.
                last = self._made[-1]
                outputs = (output, *last.outputs[1:])
                self._made[-1] = last.replaced({"outputs": outputs})
                steps, first = output, False
            else:
                self._turned(steps, self._time, place, (output,))
        return steps

    def _own_yields(self) -> list[tuple[int, int]]:
        """The outputs that are what the cell gave, where time is its own axis first."""
        scan = self._scan
        new = scan.results[self._plan.cell.states[0]]
        yields = zip(
            self._node.outputs, scan.stacked, scan.results[len(scan.states) :], strict=False
        )
        own = [(output, place) for output, place, value in yields if value == new]
        return sorted(own, key=lambda each: each[1] != self._time)

    def _remaining(self, steps: int) -> None:
        """What remains of the scan, over what the cell gives."""
        scan, rest = self._scan, self._plan.rest
        if rest is None:
            return
        count, states = len(scan.stacked), len(scan.states)
        own = {output for output, _ in self._own_yields()}
        remaining = [output for output in self._node.outputs[:count] if output not in own]
        kept = [place for place in range(states) if place not in self._plan.cell.states]
        walked = (*self._node.inputs[: len(scan.axes)], steps)
        begin = tuple(self._node.inputs[len(scan.axes) + place] for place in kept)
        rest = rest.replaced({"axes": (*scan.axes, self._time)})
        changes = {
            "scan": rest,
            "inputs": (*walked, *begin, *captured(rest)),
            "outputs": (*remaining, *(self._node.outputs[count + place] for place in kept)),
        }
        self._made.append(self._node.replaced(changes))

    def _apply(
        self, name: str, inputs: Sequence[int], outputs: tuple[int, ...] = (), **attributes: Any
    ) -> tuple[int, ...]:
        return self._add(REGISTRY[name].model_validate(attributes), tuple(inputs), outputs)

    def _add(
        self,
        op: Op,
        inputs: tuple[int, ...],
        outputs: tuple[int, ...] = (),
        member: str | None = None,
    ) -> tuple[int, ...]:
        """Append a node; its outputs are new values unless they are given."""
        types = op.output_types(self.check, *(self._values[value].type for value in inputs))
        given = outputs or tuple(self._value(type) for type in types)
        self._made.append(
            Node(
                op=op,
                member=member,
                inputs=inputs,
                outputs=given,
                scope=self._node.scope,
                span=self._node.span,
            )
        )
        return given

    def _value(self, type: TensorType) -> int:
        self._values.append(Value("", type, self._node.span))
        return len(self._values) - 1


def _without(scan: Scan, states: tuple[int, ...]) -> Scan | None:
    """The scan without a cell, whose output it walks along instead; None if it needs more of it."""
    new = scan.results[states[0]]
    count = len(scan.states)
    kept = [place for place in range(count) if place not in states]
    yields = [
        (value, stacked)
        for value, stacked in zip(scan.results[count:], scan.stacked, strict=True)
        if value != new
    ]
    results = (*(scan.results[place] for place in kept), *(value for value, _ in yields))
    nodes = needed(scan.nodes, {*results} - {new}, {new})
    made = {value for node in nodes for value in node.outputs}
    used = {value for node in nodes for value in read(node)} | {*results}
    gone = {scan.states[state] for state in states}
    if new in made or used & gone:
        return None
    changes = {
        "elements": (*scan.elements, new),
        "states": tuple(scan.states[place] for place in kept),
        "nodes": tuple(nodes),
        "results": results,
        "stacked": tuple(stacked for _, stacked in yields),
    }
    return scan.replaced(changes)
