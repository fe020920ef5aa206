"""Merges what the `forward` of several specialisations applies into one list.

A variable of the merged class stands for one value in every case. Where cases read values that no
variable stands for, the loops and branches before must have left them: a branch leaves one value
or another, a loop carries a value from pass to pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from archdsl.backends.python.formula import Formula
from archdsl.backends.torch.generalise.cases import Case, Mismatch, fit_label, fit_lowered
from archdsl.backends.torch.generalise.reroll import Merged, Rows, merge, regions
from archdsl.backends.torch.template import (
    Application,
    Apply,
    ApplyBranch,
    ApplyLoop,
    ApplyScan,
    Carried,
    Choice,
    Label,
    MemberCall,
    Stacked,
    Variable,
)
from archdsl.backends.torch.trace.trace import Step, Steps, Trace
from archdsl.sizes.dims import Dim

MOST_WRITTEN_OUT = 8

Reads = Mapping[Case, int]
"""The number of a value in every case."""


@dataclass(eq=False, slots=True)
class Known:
    """A variable, and which value it is in every case."""

    variable: Variable
    values: dict[Case, int]
    serial: int


@dataclass(eq=False, slots=True)
class Awaited:
    """A value that every pass of a loop finds, left by the pass before."""

    known: Known


@dataclass(eq=False, slots=True)
class EndedBranch:
    """A branch that lies behind, which may leave one of two values under one name."""

    then: Applications
    otherwise: Applications
    choices: list[Choice]
    serial: int


@dataclass(eq=False, slots=True)
class EndedLoop:
    """A loop that lies behind; its last pass leaves values."""

    body: Applications
    last: dict[Case, Case]
    serial: int


@dataclass(slots=True)
class Counter:
    """Numbers variables in the order in which they come to be."""

    number: int = 0

    def next(self) -> int:
        self.number += 1
        return self.number


@dataclass(eq=False, slots=True)
class Applications:
    """Collects applications of one sequence while regions are merged."""

    traces: Sequence[Trace]
    cases: list[Case]
    outer: Applications | None = None
    variables: tuple[str, ...] = ()
    is_loop: bool = False
    counter: Counter = field(default_factory=Counter)
    expanded: bool = False
    items: list[Application] = field(default_factory=list[Application])
    known: list[Known] = field(default_factory=list[Known])
    index: dict[tuple[Case, int], list[Known]] = field(
        default_factory=dict[tuple[Case, int], list[Known]]
    )
    ended: list[EndedBranch | EndedLoop] = field(default_factory=list["EndedBranch | EndedLoop"])
    awaited: list[Awaited] = field(default_factory=list[Awaited])

    # ---------------------------------------------------------------------------------- variables

    def define(self, values: dict[Case, int], path: str | None = None) -> Variable:
        """A new variable for these values."""
        variable = Variable(self._hint(values), self._shape(values), path)
        self._remember(variable, values)
        return variable

    def _remember(self, variable: Variable, values: dict[Case, int]) -> Known:
        known = Known(variable, values, self.counter.next())
        self.known.append(known)
        for pair in values.items():
            self.index.setdefault(pair, []).append(known)
        return known

    def _hint(self, values: Reads) -> str:
        for case, value in values.items():
            name = self.traces[case.specialisation].block.values[value].name
            if name:
                return name
        return ""

    def _shape(self, values: Reads) -> tuple[Dim, ...] | None:
        """The sizes as they were written, or as they are, where all cases agree."""
        dims = [
            self.traces[case.specialisation].types[value].dims for case, value in values.items()
        ]
        if any(len(row) != len(dims[0]) for row in dims):
            return None
        names = {n for trace in self.traces for n in (*trace.names, *trace.sizes, *trace.fresh)}
        shape = [_agreed([row[axis] for row in dims], names) for axis in range(len(dims[0]))]
        known = tuple(dim for dim in shape if dim is not None)
        return known if len(known) == len(shape) else None

    def read(self, values: Reads) -> Variable:
        """The variable that has these values; Mismatch if none can have them."""
        limit = self.counter.number + 1
        known = self._find(values, limit) or self._from_ended(values, limit)
        if known is None:
            known = self._await(values)
        return known.variable

    def _find(self, values: Reads, limit: int) -> Known | None:
        """A variable of this sequence or of one around it, made before the limit."""
        scope: Applications | None = self
        reads: Reads | None = values
        while scope is not None and reads is not None:
            found = scope._find_here(reads, limit)
            if found is not None:
                return found
            reads, scope = scope._outwards(reads), scope.outer
        return None

    def _find_here(self, values: Reads, limit: int) -> Known | None:
        first = next(iter(values.items()))
        for known in self.index.get(first, ()):
            if known.serial < limit and all(
                known.values.get(case) == value for case, value in values.items()
            ):
                return known
        return None

    def _outwards(self, values: Reads) -> Reads | None:
        """The same values as cases of the sequence around; None where passes differ."""
        if not self.is_loop:
            return values
        outer: dict[Case, int] = {}
        for case, value in values.items():
            if case.parent is None or outer.setdefault(case.parent, value) != value:
                return None
        return outer

    def _from_ended(self, values: Reads, limit: int) -> Known | None:
        """What a loop or branch before left, here or in a sequence around."""
        scope: Applications | None = self
        reads: Reads | None = values
        while scope is not None and reads is not None:
            for ended in scope.ended:
                if ended.serial >= limit:
                    break
                found = scope._left_by(ended, reads)
                if found is not None:
                    return found
            reads, scope = scope._outwards(reads), scope.outer
        return None

    def _left_by(self, ended: EndedBranch | EndedLoop, values: Reads) -> Known | None:
        if isinstance(ended, EndedLoop):
            return self._left_by_loop(ended, values)
        then = {case: value for case, value in values.items() if case in ended.then.case_set()}
        otherwise = {case: value for case, value in values.items() if case not in then}
        if not then or not otherwise:
            return None
        one = ended.then._ending(then, ended.serial)
        other = ended.otherwise._ending(otherwise, ended.serial)
        if one is None or other is None:
            return None
        merged = {
            **{case: one.values[case] for case in ended.then.cases if case in one.values},
            **{case: other.values[case] for case in ended.otherwise.cases if case in other.values},
        }
        if any(merged.get(case) != value for case, value in values.items()):
            merged = dict(values)
        variable = Variable(one.variable.hint or other.variable.hint, self._shape(merged))
        ended.choices.append(Choice(one.variable, other.variable, variable))
        known = self._remember(variable, merged)
        known.serial = ended.serial
        return known

    def _ending(self, values: Reads, limit: int) -> Known | None:
        """What stands for these values at the end of an arm, in terms of the arm's own cases."""
        known = self._find(values, limit) or self._from_ended(values, limit)
        if known is None or known.values.keys() >= values.keys():
            return known
        return Known(known.variable, dict(values), known.serial)

    def _left_by_loop(self, ended: EndedLoop, values: Reads) -> Known | None:
        if any(case not in ended.last for case in values):
            return None
        inner = {ended.last[case]: value for case, value in values.items()}
        found = ended.body._find_here(inner, ended.serial)
        if found is None or any(awaited.known is found for awaited in ended.body.awaited):
            return None
        every = {c: found.values[last] for c, last in ended.last.items() if last in found.values}
        known = self._remember(found.variable, every)
        known.serial = ended.serial
        return known

    def case_set(self) -> set[Case]:
        return set(self.cases)

    def _await(self, values: Reads) -> Known:
        """In a loop, what is nowhere to be found must come from the pass before."""
        if not self.is_loop or set(values) != self.case_set():
            raise Mismatch("a value that nothing before it leaves")
        known = self._remember(Variable(self._hint(values), self._shape(values)), dict(values))
        self.awaited.append(Awaited(known))
        return known

    # --------------------------------------------------------------------------------- merging

    def mark(self) -> tuple[int, int, int]:
        return len(self.items), len(self.known), len(self.ended)

    def undo(self, mark: tuple[int, int, int]) -> None:
        items, known, ended = mark
        del self.items[items:]
        for gone in self.known[known:]:
            for pair in gone.values.items():
                self.index[pair].remove(gone)
        del self.known[known:]
        del self.ended[ended:]

    def prefers_loop(self, stop: Any, passes: int, items: int) -> bool:
        if self.expanded:
            return False
        return getattr(stop, "value", None) is None or items > MOST_WRITTEN_OUT

    def leaf(self, payloads: Sequence[Step], cases: Sequence[Case]) -> None:
        scans = [step.callee for step in payloads if isinstance(step.callee, Steps)]
        if scans:
            self._scan(payloads, scans, cases)
            return
        keys = [case.key for case in cases]
        first = payloads[0]
        callee = self._callee(payloads, cases)
        if any(len(step.inputs) != len(first.inputs) for step in payloads):
            raise Mismatch("numbers of inputs")
        if any(len(step.outputs) != len(first.outputs) for step in payloads):
            raise Mismatch("numbers of outputs")
        inputs = [
            self.read({key: step.inputs[at] for key, step in zip(keys, payloads, strict=True)})
            for at in range(len(first.inputs))
        ]
        outputs = [
            self.define({key: step.outputs[at] for key, step in zip(keys, payloads, strict=True)})
            for at in range(len(first.outputs))
        ]
        self.items.append(Apply(callee, tuple(inputs), tuple(outputs)))

    def _scan(
        self, payloads: Sequence[Step], scans: Sequence[Steps], cases: Sequence[Case]
    ) -> None:
        form = scans[0].form
        if len(scans) != len(payloads) or any(steps.form != form for steps in scans):
            raise Mismatch("scans of different forms")
        # What the steps read is found here already: a loop may have to carry it.
        given = [self.read(reads) for reads in _columns([s.inputs for s in payloads], cases)]
        rows = Rows(
            list(cases), [regions([(one.frames, one) for one in steps.steps]) for steps in scans]
        )
        body = self._inner(rows, is_loop=False, variables=self.variables)
        elements = [body.define(one) for one in _columns([s.scan.elements for s in scans], cases)]
        found = [body.define(one) for one in _columns([s.scan.states for s in scans], cases)]
        merge(rows, body)
        results = [body.read(one) for one in _columns([s.results for s in scans], cases)]
        outputs = [self.define(one) for one in _columns([s.outputs for s in payloads], cases)]
        scan, yields = scans[0].scan, len(scans[0].scan.stacked)
        initials, left = given[len(elements) :], results[: len(found)]
        yielded = zip(results[len(found) :], outputs, scan.stacked, strict=False)
        item = ApplyScan(
            sequences=given[: len(elements)],
            axes=scan.axes,
            reverse=scan.reverse,
            elements=elements,
            carried=list(map(Carried, initials, found, left, outputs[yields:])),
            items=body.items,
            stacked=[Stacked(*one) for one in yielded],
        )
        self.items.append(item)

    def _callee(self, steps: Sequence[Step], cases: Sequence[Case]) -> Any:
        paths = [step.callee.split(".") for step in steps if isinstance(step.callee, str)]
        if not paths:
            attributes = [step.attributes for step in steps]
            return fit_lowered([step.callee for step in steps], cases, self.variables, attributes)
        if len(paths) != len(steps) or any(len(path) != len(paths[0]) for path in paths):
            raise Mismatch("a member and an expression")
        if any(step.invocation != steps[0].invocation for step in steps):
            raise Mismatch("ways to call a member")
        labels: list[Label] = [
            fit_label([path[at] for path in paths], cases, self.variables)
            for at in range(len(paths[0]))
        ]
        return MemberCall(tuple(labels), steps[0].invocation)

    def branch(self, condition: Formula, then: Rows[Step], otherwise: Rows[Step]) -> None:
        arms = [
            self._inner(rows, is_loop=False, variables=self.variables) for rows in (then, otherwise)
        ]
        for arm, rows in zip(arms, (then, otherwise), strict=True):
            merge(rows, arm)
        choices: list[Choice] = []
        self.ended.append(EndedBranch(arms[0], arms[1], choices, self.counter.next()))
        self.items.append(ApplyBranch(condition, arms[0].items, arms[1].items, choices))

    def _inner(
        self, rows: Rows[Step], *, is_loop: bool, variables: tuple[str, ...]
    ) -> Applications:
        cases = [case.key for case in rows.cases]
        return Applications(
            self.traces, cases, self, variables, is_loop, self.counter, self.expanded
        )

    def loop(self, loop: Merged[Step]) -> None:
        body = self._inner(loop.body, is_loop=True, variables=(loop.variable, *self.variables))
        merge(loop.body, body)
        if not body.items:
            return
        passes = _passes(loop)
        carried = [self._carry(awaited.known, body, passes) for awaited in body.awaited]
        last = {case: inner[-1] for case, inner in passes.items() if inner}
        if len(last) == len(passes):
            self.ended.append(EndedLoop(body, last, self.counter.next()))
        item = ApplyLoop(loop.variable, loop.hint, loop.start, loop.stop, body.items, carried)
        self.items.append(item)

    def _carry(
        self, found: Known, body: Applications, passes: Mapping[Case, list[Case]]
    ) -> Carried:
        before = self.read({c: found.values[inner[0]] for c, inner in passes.items() if inner})
        constraint = {
            earlier: found.values[later]
            for inner in passes.values()
            for earlier, later in pairwise(inner)
        }
        limit = body.counter.number + 1
        left = body._find_here(constraint, limit) or body._from_ended(constraint, limit)
        if left is None:
            raise Mismatch("what a loop leaves to its next pass")
        after: dict[Case, int] = {}
        for case, inner in passes.items():
            value = left.values.get(inner[-1]) if inner else self._value_before(before, case)
            if value is None:
                raise Mismatch("what a loop leaves")
            after[case] = value
        variable = self.define(after)
        return Carried(before, found.variable, left.variable, variable)

    def _value_before(self, variable: Variable, case: Case) -> int | None:
        scope: Applications | None = self
        while scope is not None:
            for known in scope.known:
                if known.variable is variable and case in known.values:
                    return known.values[case]
            case = (case.parent or case) if scope.is_loop else case
            scope = scope.outer
        return None


def _columns(rows: Sequence[Sequence[int]], cases: Sequence[Case]) -> list[dict[Case, int]]:
    """The values at each place in all cases."""
    if any(len(row) != len(rows[0]) for row in rows):
        raise Mismatch("numbers of values of a scan")
    keys = [case.key for case in cases]
    return [dict(zip(keys, column, strict=True)) for column in zip(*rows, strict=True)]


def _agreed(dims: Sequence[Dim], names: Set[str]) -> Dim | None:
    plain = dims[0].without_origin()
    if plain.symbol_name in names and all(dim == plain for dim in dims):
        return plain
    origin = dims[0].origin
    is_usable = not origin.is_opaque and origin.symbols <= names
    if is_usable and all(dim.origin == origin for dim in dims):
        return origin
    return plain if all(dim == plain for dim in dims) else None


def _passes(loop: Merged[Step]) -> dict[Case, list[Case]]:
    passes: dict[Case, list[Case]] = {case.key: [] for case in loop.outer}
    for inner in loop.body.cases:
        if inner.parent is not None:
            passes[inner.parent].append(inner.key)
    return passes
