"""Liveness: which slice of every value one decode step needs, from the outputs backwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

from archdsl.ir.model import Node, Scan, every_node
from archdsl.ir.op import Op
from archdsl.ir.tiling import Later, Part, Prefix, Seen
from archdsl.ir.types import TensorType
from archdsl.passes.attributes import with_terms
from archdsl.passes.decode.time_axis import StepRefusal, Timeline
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Compare
from archdsl.source import Span

_ONE, _NONE = Dim.of(1), Dim.of(0)
_TRIED_SIZE = 64


@dataclass(frozen=True, slots=True)
class Need:
    """A part of a value: its newest place, all places so far, or what there is after this step.

    What is neither is the same at every step, unless `latest` allows that it is not.
    """

    new: int | None = None
    all: int | None = None
    latest: bool = False
    last: int = 1
    """How many of the newest places are needed along `new`."""


@dataclass(frozen=True, slots=True)
class Application:
    """An operator that a step applies, to which parts of which values."""

    op: Op
    inputs: tuple[tuple[int, Need], ...]
    need: Need


@dataclass(slots=True)
class Plan:
    """How a step is made."""

    past: Dim
    """How many steps came before."""
    applications: dict[int, list[Application]] = field(default_factory=dict[int, list[Application]])
    """What a step applies in the place of a node, by the first of the node's outputs."""
    walked: set[int] = field(default_factory=set[int])
    """Recurrences along time, by the first of their outputs."""
    remembered: dict[tuple[int, int], None] = field(default_factory=dict[tuple[int, int], None])
    """Values that are kept of all steps, with the axis of time."""
    recent: dict[tuple[int, int, int], None] = field(
        default_factory=dict[tuple[int, int, int], None]
    )
    """Values of which some of the newest places are kept, with the axis and their number."""
    handed: dict[int, None] = field(default_factory=dict[int, None])
    """Values that are the same at every step, and are computed before the first one."""
    needs: dict[int, dict[Need, None]] = field(default_factory=dict[int, dict[Need, None]])


def plan(line: Timeline, past: Dim) -> Plan:
    """What a step needs; raises StepRefusal where it would need a later one."""
    planner = _Planner(line, Plan(past))
    planner.run()
    return planner.plan


class _Planner:
    def __init__(self, line: Timeline, plan: Plan) -> None:
        self.line = line
        self.plan = plan
        self.total = plan.past + 1

    def run(self) -> None:
        block = self.line.block
        for port in block.outputs:
            if port.value in self.line.timed:
                self._need(port.value, self._of_output(port.name, port.value))
        for node in reversed(block.nodes):
            for value in node.outputs:
                self._remember(value)
            needs = {need: None for value in node.outputs for need in self._open(value)}
            if not needs:
                continue
            if self._is_walk(node):
                self._walk(node)
            else:
                self.plan.applications[node.outputs[0]] = [self._apply(node, n) for n in needs]
        for port in block.inputs:
            self._remember(port.value)
            if len(self._open(port.value)) > 1:
                raise StepRefusal(None, f"a step needs `{port.name}` in more than one form")

    # ------------------------------------------------------------------------------- what is needed

    def _of_output(self, name: str, value: int) -> Need:
        merged, axes = self.line.merged(value), self.line.axes(value)
        if merged is not None:
            reason = (
                f"the output `{name}` has an axis of the size {merged}: a step has no part of it"
            )
            raise StepRefusal(self._span(value), reason)
        if not axes:
            return Need(latest=True)
        if len(axes) == 1:
            return Need(new=axes[0])
        for row, column in (axes, axes[::-1]):
            known = self.line.later.get((value, row, column))
            if len(axes) == 2 and isinstance(known, Later):
                return Need(new=row, all=column)
        reason = f"the output `{name}` has more than one axis of steps, and a step adds to each"
        raise StepRefusal(self._span(value), reason)

    def _need(self, value: int, need: Need) -> None:
        line = self.line
        if value not in line.timed:
            maker = line.maker.get(value)
            is_scanned = maker is not None and maker.scan is not None
            if value in line.given or value in line.foreign or is_scanned:
                self.plan.handed[value] = None
            else:
                self.plan.needs.setdefault(value, {})[Need()] = None
            return
        if need == Need():
            reason = "this depends on all steps, also on later ones, so no step can use it"
            raise StepRefusal(self._span(value), reason)
        if line.merged(value) is not None:
            raise self._merged(value)
        if set(line.axes(value)) != {need.new, need.all} - {None}:
            reason = f"this has {len(line.axes(value))} axes of steps, and a step adds to each"
            raise StepRefusal(self._span(value), reason)
        self.plan.needs.setdefault(value, {})[need] = None

    def _open(self, value: int) -> list[Need]:
        """What is needed of a value and is not remembered."""
        needs = [need for need in self.plan.needs.get(value, {}) if need.last == 1]
        return [n for n in needs if n.new is not None or (value, n.all) not in self.plan.remembered]

    def _span(self, value: int) -> Span:
        return self.line.block.values[value].span

    # ------------------------------------------------------------------------------- what is kept

    def _remember(self, value: int) -> None:
        """Keep what all places so far are needed of, unless it is made of something smaller."""
        for need in list(self.plan.needs.get(value, {})):
            if need.last > 1 and need.new is not None:
                self._keep_last(value, need.new, need.last)
            if need.all is None or need.new is not None or value not in self.line.given:
                continue
            if not self._is_grown(value, need.all):
                self.plan.remembered[value, need.all] = None
                self._need(value, Need(new=need.all))

    def _keep_last(self, value: int, axis: int, last: int) -> None:
        """Keep the newest places but one, which prefill must have."""
        length = self.line.type(value).dims[axis]
        if not self.line.facts.prove(Compare(length, ">=", Dim.of(last - 1))).proved:
            reason = f"a step needs {last} places of this, and at first there may be less"
            raise StepRefusal(self._span(value), reason, f"pad it with {last - 1} places in front")
        self.plan.recent[value, axis, last] = None
        self._need(value, Need(new=axis))

    def _is_grown(self, value: int, axis: int) -> bool:
        """Whether what it is made of, without weights and products, is smaller somewhere."""
        size = self._size(value)
        return any(self._size(source) < size for source in self._sources(value, axis))

    def _sources(self, value: int, axis: int) -> Iterator[int]:
        """The one value each is made of, back to where that is no plain rearrangement."""
        while (node := self.line.maker.get(value)) is not None:
            source = self._source(node, axis)
            if source is None or self._size(source[0]) > self._size(value):
                return
            value, axis = source
            yield value

    def _source(self, node: Node, axis: int) -> tuple[int, int] | None:
        types = self._types(node)
        if node.op is None or node.member is not None or len(node.outputs) > 1:
            return None
        timed = [k for k, value in enumerate(node.inputs) if value in self.line.timed]
        if len(timed) != 1 or node.op.macs(*types) != 0:
            return None
        piece = node.op.piece(axis, _NONE, self.total, *types)
        place = None if piece is None else piece.axes[timed[0]]
        value = node.inputs[timed[0]]
        return None if place is None or self.line.axes(value) != (place,) else (value, place)

    def _size(self, value: int) -> int:
        dims = self.line.type(value).dims
        size = prod(dims, start=_ONE)
        return size.evaluate(dict.fromkeys(size.symbols, _TRIED_SIZE))

    def _types(self, node: Node) -> tuple[TensorType, ...]:
        return tuple(map(self.line.type, node.inputs))

    # -------------------------------------------------------------------------------- recurrences

    def _is_walk(self, node: Node) -> bool:
        if node.scan is not None:
            return node.outputs[0] in self.line.timed
        axes = self.line.axes(node.inputs[0]) if node.inputs else ()
        if node.op is None or len(axes) != 1:
            return False
        return node.op.carried(axes[0], *self._types(node)) is not None

    def _walk(self, node: Node) -> None:
        axes = self._walked_axes(node)
        for value, axis in zip(node.outputs, axes, strict=True):
            for need in self._open(value):
                if need.new != axis:
                    raise StepRefusal(self._span(value), "the steps are not the places of this")
                if axis is None and not need.latest:
                    reason = "the last state is known after the last step only"
                    raise StepRefusal(self._span(value), reason)
        self.plan.walked.add(node.outputs[0])

    def _walked_axes(self, node: Node) -> tuple[int | None, ...]:
        """The axis of time of each output, None for states; needs what a step takes."""
        if node.scan is not None:
            return self._scanned_axes(node, node.scan)
        axis = self.line.axes(node.inputs[0])[0]
        self._demand_constant(node.inputs[1:], "an initial state")
        self._need(node.inputs[0], Need(new=axis))
        return axis, *(None for _ in node.outputs[1:])

    def _scanned_axes(self, node: Node, scan: Scan) -> tuple[int | None, ...]:
        if scan.length != self.line.time:
            reason = f"this scan goes along {scan.length}, not along {self.line.symbol}"
            raise StepRefusal(node.span, reason)
        if scan.reverse:
            reason = "this scan goes backwards: its first step is the last in time"
            raise StepRefusal(node.span, reason)
        count, states = len(scan.axes), len(scan.states)
        for value, axis in zip(node.inputs[:count], scan.axes, strict=True):
            self._need(value, Need(new=axis))
        self._demand_constant(node.inputs[count : count + states], "an initial state")
        self._demand_constant(node.inputs[count + states :], "what a step sees from around")
        for value in node.inputs[count + states :]:
            self._need(value, Need())
        for inner in every_node(scan.nodes):
            if inner.op is not None and self.line.mentions(inner.op):
                raise self._counted(inner)
        return *scan.stacked, *(None for _ in scan.states)

    def _demand_constant(self, values: tuple[int, ...], what: str) -> None:
        for value in values:
            if value in self.line.timed:
                reason = f"{what} depends on the steps here"
                raise StepRefusal(self._span(value), reason)

    # ----------------------------------------------------------------------------- applications

    def _apply(self, node: Node, need: Need) -> Application:
        if node.op is None:
            raise StepRefusal(node.span, "this is not taken step by step")
        application = self._newest(node, node.op, need) or self._cut(node, node.op, need)
        for value, part in application.inputs:
            self._need(value, part)
        return application

    def _newest(self, node: Node, op: Op, need: Need) -> Application | None:
        if need.all is not None or need == Need():
            return None
        found = op.newest(need.new, *self._types(node))
        if found is None or not all(self._is_along(node, need, *each) for each in found.inputs):
            return None
        inputs = [(node.inputs[k], self._part(node.inputs[k], part)) for k, part in found.inputs]
        return Application(self._settled(node, found.op, need), tuple(inputs), need)

    def _is_along(self, node: Node, need: Need, k: int, part: Part) -> bool:
        """Whether what is taken of an input goes along with time, as long as the output if all."""
        dims = self.line.type(node.inputs[k]).dims
        if part.all is not None and need.new is not None:
            return dims[part.all] == self.line.type(node.outputs[0]).dims[need.new]
        return node.inputs[k] in self.line.timed

    def _part(self, value: int, part: Part, *, latest: bool = False) -> Need:
        """The part of an input, if it has one: a fixed one is taken as it is."""
        if value not in self.line.timed:
            return Need()
        return Need(part.new, part.all, latest and not self.line.axes(value), part.last)

    def _cut(self, node: Node, op: Op, need: Need) -> Application:
        count = len(node.inputs)
        new: list[int | None] = [None] * count
        every: list[int | None] = [None] * count
        if need.new is not None:
            first = self._sized(node, need.new) - 1
            piece = op.piece(need.new, first, _ONE, *self._types(node))
            if piece is None:
                raise self._mixed(node)
            op, new = piece.op, list(piece.axes)
        if need.all is not None:
            size = self._sized(node, need.all)
            piece = op.piece(need.all, _NONE, size, *self._types(node))
            if piece is not None:
                op, every = piece.op, list(piece.axes)
        self._demand_aligned(node, need, new, every)
        rest = [self._rest(value, (new[k], every[k])) for k, value in enumerate(node.inputs)]
        if any(axis is not None for axis in rest):
            prefix = self._prefix(node, op, need, rest)
            op, every = prefix.op, [e if r is None else r for e, r in zip(every, rest, strict=True)]
            self._demand_later(node, prefix, new, rest)
        inputs = tuple(
            (value, self._part(value, Part(new[k], every[k]), latest=need.latest))
            for k, value in enumerate(node.inputs)
        )
        return Application(self._settled(node, op, need), inputs, need)

    def _demand_aligned(
        self, node: Node, need: Need, new: list[int | None], every: list[int | None]
    ) -> None:
        """The places of the inputs must be those of the output, from the first one on."""
        result = self.line.type(node.outputs[0]).dims
        for value, *axes in zip(node.inputs, new, every, strict=True):
            dims = self.line.type(value).dims
            for axis, own in zip(axes, (need.new, need.all), strict=True):
                if axis is not None and own is not None and dims[axis] != result[own]:
                    raise self._mixed(node)

    def _sized(self, node: Node, axis: int) -> Dim:
        """How many places an axis of time of the outputs has after this step."""
        size = self.line.type(node.outputs[0]).dims[axis]
        return size.substitute({self.line.symbol: self.total})

    def _rest(self, value: int, taken: tuple[int | None, ...]) -> int | None:
        """The axis of time of an input that is none of the output's."""
        rest = [axis for axis in self.line.axes(value) if axis not in taken]
        if len(rest) > 1:
            raise StepRefusal(
                self._span(value), "this has more axes of steps than a step can add to"
            )
        return rest[0] if rest else None

    def _prefix(self, node: Node, op: Op, need: Need, rest: list[int | None]) -> Prefix:
        found = op.prefix(tuple(rest), *self._types(node)) if need.new is not None else None
        if found is None:
            raise self._mixed(node)
        return found

    def _demand_later(
        self, node: Node, prefix: Prefix, new: list[int | None], rest: list[int | None]
    ) -> None:
        if prefix.later is None:
            return
        places = zip(node.inputs, new, rest, strict=True)
        later = self.line.later
        found = [later.get((v, n, r)) for v, n, r in places if n is not None and r is not None]
        if prefix.later not in found:
            seen = next((each for each in found if isinstance(each, Seen)), None)
            raise self._unmasked(node, seen)

    def _settled(self, node: Node, op: Op, need: Need) -> Op:
        if not self.line.mentions(op):
            return op
        if not need.latest:
            raise self._counted(node)
        sizes = {self.line.symbol: self.total}
        return with_terms(op, lambda term: term.substitute(sizes))

    def _merged(self, value: int) -> StepRefusal:
        size, own = self.line.merged(value), self.line.symbol
        reason = f"an axis of the size {size} mixes the steps with something else"
        return StepRefusal(self._span(value), reason, f"keep {own} as an axis of its own")

    def _counted(self, node: Node) -> StepRefusal:
        reason = f"this speaks of {self.line.symbol}, the number of all steps"
        return StepRefusal(node.span, reason)

    def _unmasked(self, node: Node, seen: Seen | None) -> StepRefusal:
        help = "let a mask hide later steps, as `mask(j <= i)` does, before softmax"
        if seen is None:
            return self._mixed(node, help)
        reason = f"a step would need later places of {self.line.symbol}: {seen.example}"
        return StepRefusal(self.line.shown[seen], reason, help)

    def _mixed(self, node: Node, help: str | None = None) -> StepRefusal:
        merged = next((v for v in node.inputs if self.line.merged(v) is not None), None)
        if merged is not None:
            return self._merged(merged)
        reason = f"this mixes all places of {self.line.symbol}, a step would need later ones"
        return StepRefusal(node.span, reason, help)
