"""Builds the flat blocks of prefill and of one decode step from the liveness plan."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from archdsl.ir.model import Block, Borrowed, Node, Port, Requirement, Scan, Value, every_node
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import REGISTRY, Op
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.passes.attributes import terms
from archdsl.passes.decode.liveness import Application, Need, Plan
from archdsl.passes.decode.time_axis import StepRefusal, Timeline
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Facts
from archdsl.source import Span
from archdsl.weights.state_dict import still_named


@dataclass(frozen=True, slots=True)
class Built:
    """The two blocks; the outputs of a step that are inputs of the next; what never changes."""

    prefill: Block
    step: Block
    states: Mapping[str, str]
    fixed: Sequence[str]


def build(line: Timeline, planned: Callable[[Dim], Plan]) -> Built:
    """Both blocks of a plan for the steps that came before, whose number has a symbol here."""
    taken = set(line.block.symbols)
    names = ("P", "Past", *(f"Past{number}" for number in range(len(taken) + 1)))
    past = Dim.of(next(name for name in names if name not in taken))
    builder = _Builder(line, planned(past))
    builder.run()
    return Built(builder.prefill(), builder.step(), builder.states, tuple(builder.fixed))


@dataclass(slots=True)
class _Growing:
    """What a block gets of values, nodes and ports."""

    values: list[Value] = field(default_factory=list[Value])
    nodes: list[Node] = field(default_factory=list[Node])
    inputs: list[Port] = field(default_factory=list[Port])
    outputs: list[Port] = field(default_factory=list[Port])

    def add(self, name: str, type: TensorType, span: Span) -> int:
        self.values.append(Value(name, type, span))
        return len(self.values) - 1


class _Builder:
    def __init__(self, line: Timeline, plan: Plan) -> None:
        self.line, self.plan, self.block = line, plan, line.block
        self.total = plan.past + 1
        sizes = {line.symbol: self.total}
        self.requirements = tuple(
            _substituted(requirement, sizes) for requirement in line.block.requirements
        )
        self.facts = Facts(assumptions=[r.condition for r in self.requirements])
        self.grown, self.more = _Growing(), _Growing()
        self.made: dict[tuple[int, Need], int] = {}
        self.borrowed: dict[int, int] = {}
        self.states: dict[str, str] = {}
        self.fixed: list[str] = []
        self.kept: list[tuple[str, int]] = []
        """What prefill gives: names and its own values."""
        ports = (*line.block.inputs, *line.block.outputs)
        self.taken = {port.name for port in ports} | {w.name for w in line.block.weights}

    # ------------------------------------------------------------------------------ the two blocks

    def prefill(self) -> Block:
        """The whole block with what steps begin from as further outputs."""
        kept = (Port(name=name, value=value) for name, value in self.kept)
        update = {
            "outputs": (*self.block.outputs, *kept),
            "nodes": (*self.block.nodes, *self.more.nodes),
            "values": (*self.block.values, *self.more.values),
        }
        return self.block.model_copy(update=update)

    def _more(self, op: Op, inputs: tuple[int, ...], type: TensorType) -> int:
        """A value that only prefill makes, for the first step."""
        number = len(self.block.values) + self.more.add("", type, self.block.span)
        node = Node(op=op, inputs=inputs, outputs=(number,), span=self.block.span)
        self.more.nodes.append(node)
        return number

    def step(self) -> Block:
        """The block of one step."""
        grown = self.grown
        symbols = self._symbols()
        owners = {node.member for node in every_node(grown.nodes)}
        borrowed = [b for b in self.block.borrowed if b.value in self.borrowed]
        owners |= {b.path.rpartition(".")[0] for b in borrowed}
        paths = {b.path for b in borrowed}
        weights = tuple(w for w in self.block.weights if w.name in paths)
        members = tuple(m for m in self.block.members if m.path in owners)
        changes: dict[str, Any] = {
            "symbols": symbols,
            "inputs": tuple(grown.inputs),
            "outputs": tuple(grown.outputs),
            "values": tuple(grown.values),
            "nodes": tuple(grown.nodes),
            "weights": weights,
            "second_names": still_named(self.block.second_names, weights, members),
            "members": members,
            "borrowed": tuple(
                Borrowed(path=b.path, value=self.borrowed[b.value]) for b in borrowed
            ),
            "requirements": tuple(self._required(set(symbols))),
            "arguments": (),
        }
        return self.block.model_copy(update=changes)

    def _symbols(self) -> tuple[str, ...]:
        types = [self.grown.values[port.value].type for port in self.grown.inputs]
        names = {dim.symbol_name for type in types for dim in type.dims}
        every = (*self.block.symbols, *self.plan.past.symbols)
        return tuple(name for name in every if name in names)

    def _required(self, symbols: set[str]) -> list[Requirement]:
        return [r for r in self.requirements if r.condition.symbols <= symbols]

    # ----------------------------------------------------------------------------------- in order

    def run(self) -> None:
        """The inputs, then every node in order, then the outputs."""
        for borrowed in self.block.borrowed:
            if borrowed.value in self.plan.needs:
                value = self.block.values[borrowed.value]
                self.borrowed[borrowed.value] = self._add(value.name, value.type, value.span)
                self.made[borrowed.value, Need()] = self.borrowed[borrowed.value]
        self._take_inputs()
        self._number_places()
        for port in self.block.inputs:
            self._join(port.value)
        for node in self.block.nodes:
            for application in self.plan.applications.get(node.outputs[0], ()):
                self._apply(node, application)
            if node.outputs[0] in self.plan.walked:
                self._walk(node)
            for value in node.outputs:
                self._join(value)
        self._give_outputs()

    def _take_inputs(self) -> None:
        for port in self.block.inputs:
            for need in self.plan.needs.get(port.value, {}):
                if need.new is not None:
                    self._input(port.name, port.value, need)
        ports = {port.value: port.name for port in self.block.inputs}
        for value in sorted(self.plan.handed):
            name = ports.get(value) or self._name("fixed", self._path(value))
            self._input(name, value, Need())
            if value not in ports:
                self.kept.append((name, value))
                self.fixed.append(name)

    def _input(self, name: str, value: int, need: Need) -> None:
        old = self.block.values[value]
        number = self._add(old.name, self._type(value, need), old.span)
        self.made[value, need] = number
        self.grown.inputs.append(Port(name=name, value=number))

    def _number_places(self) -> None:
        """Where no cache tells how many steps came before, their numbers are taken and given."""
        if self.plan.remembered or not self._counts():
            return
        type = TensorType.of(DType.INT64, self.plan.past)
        name, given = self._name("past", "steps"), self._name("present", "steps")
        self.grown.inputs.append(Port(name=name, value=self._add("", type, self.block.span)))
        op = REGISTRY["arange"].model_validate({"end": self.total})
        places = self._append(op, (), (type.with_dim(0, self.total),), self.block.span)
        op = REGISTRY["arange"].model_validate({"end": self.line.time})
        every = self._more(op, (), type.with_dim(0, self.line.time))
        self._state(name, given, places[0], every)

    def _counts(self) -> bool:
        """Whether a step speaks of the steps before."""
        past = self.plan.past.symbol_name or ""
        applied = [a.op for each in self.plan.applications.values() for a in each]
        return any(past in term.symbols for op in applied for term in terms(op))

    def _give_outputs(self) -> None:
        given = [
            port.model_copy(update={"value": self._output(port.value)})
            for port in self.block.outputs
            if port.value in self.line.timed
        ]
        self.grown.outputs[:0] = given

    def _output(self, value: int) -> int:
        needs = self.plan.needs[value]
        fitting = [n for n in needs if n.new is not None or n.latest]
        return self.made[value, fitting[0]]

    # ----------------------------------------------------------------------------- what is applied

    def _apply(self, node: Node, application: Application) -> None:
        inputs = tuple(self.made[value, need] for value, need in application.inputs)
        types = tuple(self._type(value, application.need) for value in node.outputs)
        self._check(node, application.op, inputs, types)
        given = [self.grown.values[number].type for number in inputs]
        if len(types) == 1 and application.op.is_idle(self.facts, *given):
            self.made[node.outputs[0], application.need] = inputs[0]
            return
        numbers = self._append(application.op, inputs, types, node.span, node)
        for value, number in zip(node.outputs, numbers, strict=True):
            self.made[value, application.need] = number

    def _check(
        self, node: Node, op: Op, inputs: Sequence[int], types: Sequence[TensorType]
    ) -> None:
        """What the operator makes of the parts must have the sizes of the part."""
        check = Obligations(self.facts)
        given = [self.grown.values[number].type for number in inputs]
        try:
            for type, result in zip(types, op.output_types(check, *given), strict=True):
                for size, other in zip(type.dims, result.dims, strict=True):
                    check.demand_equal(size, other, f"one step of {type} would be {result}")
        except ShapeError as problem:
            raise StepRefusal(node.span, f"one step does not fit: {problem.message}") from None

    def _walk(self, node: Node) -> None:
        if node.scan is not None:
            self._scan(node, node.scan)
            return
        assert node.op is not None
        axis = self.line.axes(node.inputs[0])[0]
        pairs = node.op.carried(axis, *map(self.block.type, node.inputs)) or ()
        names = type(node.op).input_names()
        types = tuple(self._walked(value) for value in node.outputs)
        element = self.made[node.inputs[0], Need(new=axis)]
        begun = [
            self._past(f"{node.member}.{names[entry].rstrip('0')}", node.outputs[end], node.span)
            for entry, end in pairs
        ]
        inputs = (element, *(number for _, _, number in begun))
        numbers = self._append(node.op, inputs, types, node.span, node)
        for (_, end), (past, present, _) in zip(pairs, begun, strict=True):
            self._state(past, present, numbers[end], node.outputs[end])
        self._settle(node, numbers)

    def _settle(self, node: Node, numbers: Sequence[int]) -> None:
        """Let the outputs of a recurrence be known in the forms that they are needed in."""
        for value, number in zip(node.outputs, numbers, strict=True):
            for need in self.plan.needs.get(value, {}):
                if need.new is not None or need.latest:
                    self.made[value, need] = number

    def _walked(self, value: int) -> TensorType:
        axes = self.line.axes(value)
        return self._type(value, Need(new=axes[0]) if axes else Need(latest=True))

    def _scan(self, node: Node, scan: Scan) -> None:
        """One step of a scan: its nodes, inline, on the newest elements and the last states."""
        inner: dict[int, int] = {}
        many = len(scan.axes)
        for value, axis, element in zip(node.inputs, scan.axes, scan.elements, strict=False):
            newest = self.made[value, Need(new=axis)]
            inner[element] = self._reshaped("squeeze", newest, axis, element)
        begun: list[tuple[str, str]] = []
        finals = node.outputs[len(scan.stacked) :]
        for state, final in zip(scan.states, finals, strict=True):
            name = self.block.values[state].name or self.block.values[final].name or "state"
            past, present, number = self._past(_join(node.scope, name), final, node.span)
            begun.append((past, present))
            inner[state] = number
        for value in node.inputs[many + len(scan.states) :]:
            inner[value] = self.made[value, Need()]
        for step in scan.nodes:
            self._copy(step, inner)
        results = [inner[value] for value in scan.results]
        for (past, present), number, final in zip(begun, results, finals, strict=False):
            self._state(past, present, number, final)
        yields = [
            self._reshaped("unsqueeze", number, axis, value)
            for number, axis, value in zip(
                results[len(finals) :], scan.stacked, node.outputs, strict=False
            )
        ]
        self._settle(node, (*yields, *results[: len(finals)]))

    def _reshaped(self, function: str, number: int, axis: int, value: int) -> int:
        """An axis of one step removed from, or put into, what a step takes or yields."""
        op = REGISTRY[function].model_validate({"axis": axis})
        old = self.grown.values[number].type
        type = old.without_axis(axis) if function == "squeeze" else old.with_axis(axis, 1)
        return self._append(op, (number,), (type,), self.block.values[value].span)[0]

    def _copy(self, node: Node, inner: dict[int, int]) -> None:
        """A node of a scan's step with its values renumbered, and what stands in it."""
        pending = [node]
        while pending:
            each = pending.pop()
            made = [*each.outputs, *(each.scan.elements + each.scan.states if each.scan else ())]
            for value in made:
                old = self.block.values[value]
                inner[value] = self._add(old.name, old.type, old.span)
            pending += each.scan.nodes if each.scan else ()
        self.grown.nodes.append(_renumbered(node, inner))

    # ------------------------------------------------------------------------- states and caches

    def _join(self, value: int) -> None:
        """All places so far of a value that is kept: those of the steps before, and the new one."""
        for axis in [axis for kept, axis in self.plan.remembered if kept == value]:
            old = self.block.values[value]
            path = self._path(value)
            past, present = self._name("past", path), self._name("present", path)
            size = old.type.dims[axis].substitute({self.line.symbol: self.plan.past})
            before = self._add(old.name, old.type.with_dim(axis, size), old.span)
            self.grown.inputs.append(Port(name=past, value=before))
            op = REGISTRY["concat"].model_validate({"axis": axis})
            inputs = (before, self.made[value, Need(new=axis)])
            type = self._type(value, Need(all=axis))
            number = self._append(op, inputs, (type,), old.span)[0]
            self.made[value, Need(all=axis)] = number
            self._state(past, present, number, value)
        for axis, last in [(axis, last) for kept, axis, last in self.plan.recent if kept == value]:
            self._slide(value, axis, last)

    def _slide(self, value: int, axis: int, last: int) -> None:
        """The last places of a value: all but the first of them are there from the step before."""
        old = self.block.values[value]
        kept = old.type.with_dim(axis, last - 1)
        names = self._name("past", self._path(value)), self._name("present", self._path(value))
        before = self._add(old.name, kept, old.span)
        self.grown.inputs.append(Port(name=names[0], value=before))
        need = Need(new=axis, last=last)
        op = REGISTRY["concat"].model_validate({"axis": axis})
        inputs = (before, self.made[value, Need(new=axis)])
        number = self._append(op, inputs, (self._type(value, need),), old.span)[0]
        self.made[value, need] = number
        cut = REGISTRY["slice"]
        op = cut.model_validate({"axis": axis, "start": 1})
        number = self._append(op, (number,), (kept,), old.span)[0]
        op = cut.model_validate({"axis": axis, "start": 1 - last})
        self._state(*names, number, self._more(op, (value,), kept))

    def _past(self, path: str, value: int, span: Span) -> tuple[str, str, int]:
        """The names of a state before and after, and its value before."""
        past, present = self._name("past", path), self._name("present", path)
        number = self._add("", self.block.type(value), span)
        self.grown.inputs.append(Port(name=past, value=number))
        return past, present, number

    def _state(self, past: str, present: str, number: int, value: int) -> None:
        """A step gives that number of its own, prefill that value, as what the next one takes."""
        self.states[past] = present
        self.grown.outputs.append(Port(name=present, value=number))
        self.kept.append((present, value))

    # --------------------------------------------------------------------------------------- parts

    def _type(self, value: int, need: Need) -> TensorType:
        type = self.block.type(value)
        if need.new is not None:
            type = type.with_dim(need.new, need.last)
        if need.all is None:
            return type
        size = type.dims[need.all].substitute({self.line.symbol: self.total})
        return type.with_dim(need.all, size)

    def _add(self, name: str, type: TensorType, span: Span) -> int:
        return self.grown.add(name, type, span)

    def _append(
        self,
        op: Op,
        inputs: tuple[int, ...],
        types: Sequence[TensorType],
        span: Span,
        node: Node | None = None,
    ) -> tuple[int, ...]:
        """A node of the step; where it comes from a node of the model, under that one's path."""
        names = ["" for _ in types]
        if node is not None:
            names = [self.block.values[value].name for value in node.outputs]
        outputs = tuple(self._add(n, t, span) for n, t in zip(names, types, strict=True))
        made = Node(op=op, inputs=inputs, outputs=outputs, span=span)
        if node is not None:
            made = made.replaced({"member": node.member, "scope": node.scope})
        self.grown.nodes.append(made)
        return outputs

    # --------------------------------------------------------------------------------------- names

    def _path(self, value: int) -> str:
        """What a value is called: its input, or its variable under the path of where it stands."""
        for port in self.block.inputs:
            if port.value == value:
                return port.name
        value = self._named(value)
        node, name = self.line.maker[value], self.block.values[value].name
        if node.member is not None:
            return node.member if not name else _join(node.member.rpartition(".")[0], name)
        function = node.op.function if node.op is not None else "scan"
        return _join(node.scope, name or str(function))

    def _named(self, value: int) -> int:
        """The value itself, or what it is made of alone, back to where that has a name."""
        source = value
        while (node := self.line.maker.get(source)) is not None:
            if self.block.values[source].name:
                return source
            if node.member is not None or len(node.inputs) != 1:
                break
            source = node.inputs[0]
        return value

    def _name(self, kind: str, path: str) -> str:
        """A name that no port has: an identifier, so that it is one in every language."""
        base = re.sub(r"\W", "_", f"{kind}_{path}", flags=re.ASCII)
        names = (base if number == 1 else f"{base}_{number}" for number in count(1))
        name = next(name for name in names if name not in self.taken)
        self.taken.add(name)
        return name


def _substituted(requirement: Requirement, sizes: Mapping[str, Dim]) -> Requirement:
    """What is required of other sizes; a reason that only says the condition says the new one."""
    condition = requirement.condition.substitute(sizes)
    is_plain = requirement.reason == str(requirement.condition)
    reason = str(condition) if is_plain else requirement.reason
    return requirement.model_copy(update={"condition": condition, "reason": reason})


def _renumbered(node: Node, inner: Mapping[int, int]) -> Node:
    """A node with other numbers for its values, and so the nodes in it; they nest a few deep."""
    changes: dict[str, Any] = {
        "inputs": tuple(inner[value] for value in node.inputs),
        "outputs": tuple(inner[value] for value in node.outputs),
    }
    if node.scan is not None:
        scan = node.scan
        lists = ("elements", "states", "results")
        inside = {name: tuple(inner[v] for v in getattr(scan, name)) for name in lists}
        nodes = tuple(_renumbered(each, inner) for each in scan.nodes)
        changes["scan"] = scan.model_copy(update={**inside, "nodes": nodes})
    return node.model_copy(update=changes)


def _join(scope: str, name: str) -> str:
    return f"{scope}.{name}" if scope else name
