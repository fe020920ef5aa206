"""Loop rerolling: writes expanded items as loops and branches again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from archdsl.backends.python.formula import Formula, NoFormulaError
from archdsl.backends.torch.generalise.cases import Case, Mismatch, fit
from archdsl.ir.model import Frame
from archdsl.sizes.dims import Dim

Payload = TypeVar("Payload")


@dataclass(slots=True)
class Leaf(Generic[Payload]):
    """One item."""

    payload: Payload


@dataclass(slots=True)
class Branch(Generic[Payload]):
    """An `if` and what the branch that was taken holds."""

    frame: Frame
    items: list[Region[Payload]] = field(default_factory=list["Region[Payload]"])


@dataclass(slots=True)
class Loop(Generic[Payload]):
    """A loop and what each of its passes holds, by the number of the pass."""

    frame: Frame
    passes: dict[int, list[Region[Payload]]] = field(
        default_factory=dict[int, list["Region[Payload]"]]
    )

    @property
    def variable(self) -> str:
        """The loop's variable in formulas."""
        return loop_variable(self.frame)

    @property
    def start(self) -> Dim:
        return self.frame.start or Dim.of(0)

    @property
    def stop(self) -> Dim:
        return self.frame.stop or Dim.of(max(self.passes) + 1)

    @property
    def numbers(self) -> range:
        first, last = self.start.value, self.stop.value
        if first is None or last is None:
            raise Mismatch("a loop of unknown length")
        return range(first, last)


def loop_variable(frame: Frame) -> str:
    """A loop's variable in formulas; a loop without one has a name of its own."""
    return frame.variable or f"pass_{frame.site}"


Region = Leaf[Payload] | Branch[Payload] | Loop[Payload]


def regions(items: Sequence[tuple[tuple[Frame, ...], Payload]]) -> list[Region[Payload]]:
    """Group consecutive items of one loop pass or branch."""
    found: list[Region[Payload]] = []
    open_at: list[tuple[Frame, Region[Payload], list[Region[Payload]]]] = []
    for frames, payload in items:
        shared = 0
        for frame, (before, _, _) in zip(frames, open_at, strict=False):
            if frame != before:
                break
            shared += 1
        del open_at[shared + 1 :]
        for depth in range(shared, len(frames)):
            frame = frames[depth]
            outer = open_at[depth - 1][2] if depth else found
            again = open_at[depth][1] if depth < len(open_at) else None
            del open_at[depth:]
            if isinstance(again, Loop) and _same_loop(again.frame, frame):
                again.passes.setdefault(frame.index, [])
                open_at.append((frame, again, again.passes[frame.index]))
            elif frame.kind == "if":
                branch = Branch[Payload](frame)
                outer.append(branch)
                open_at.append((frame, branch, branch.items))
            else:
                loop = Loop[Payload](frame, {frame.index: []})
                outer.append(loop)
                open_at.append((frame, loop, loop.passes[frame.index]))
        del open_at[len(frames) :]
        (open_at[-1][2] if open_at else found).append(Leaf(payload))
    return found


def _same_loop(one: Frame, other: Frame) -> bool:
    return (one.kind, one.site) == (other.kind, other.site) and other.index > one.index


class Sink(Protocol[Payload]):
    """What is built while regions are merged."""

    def leaf(self, payloads: Sequence[Payload], cases: Sequence[Case]) -> None:
        """One item, that all cases have."""
        ...

    def branch(self, condition: Formula, then: Rows[Payload], otherwise: Rows[Payload]) -> None:
        """A branch that some cases take and others not."""
        ...

    def loop(self, loop: Merged[Payload]) -> None:
        """A loop to be written as one; Mismatch when it can't be."""
        ...

    def mark(self) -> Any:
        """How far it is, for `undo`."""
        ...

    def undo(self, mark: Any) -> None:
        """Forget what was built since."""
        ...

    def prefers_loop(self, stop: Any, passes: int, items: int) -> bool:
        """Whether a loop is to be written as one although it could be written out."""
        ...


@dataclass(slots=True)
class Rows(Generic[Payload]):
    """The same part of several cases."""

    cases: list[Case]
    rows: list[list[Region[Payload]]]


@dataclass(slots=True)
class Merged(Generic[Payload]):
    """A loop of several cases: the passes of all of them, one after the other."""

    variable: str
    hint: str
    start: Any
    stop: Any
    body: Rows[Payload]
    outer: list[Case]


def merge(rows: Rows[Payload], sink: Sink[Payload]) -> None:
    """Write all cases as one sequence; Mismatch where that cannot be."""
    places = [0] * len(rows.rows)
    while True:
        heads = [
            row[place] if place < len(row) else None
            for row, place in zip(rows.rows, places, strict=True)
        ]
        present = [head for head in heads if head is not None]
        if not present:
            return
        chosen = _next(heads, present)
        taken = [_is_like(head, chosen) for head in heads]
        for at, is_taken in enumerate(taken):
            places[at] += is_taken
        parts = [head if is_taken else None for head, is_taken in zip(heads, taken, strict=True)]
        if isinstance(chosen, Leaf):
            sink.leaf([part.payload for part in parts if isinstance(part, Leaf)], rows.cases)
        elif isinstance(chosen, Branch):
            _merge_branch(chosen, parts, rows.cases, sink)
        else:
            _merge_loop(chosen, parts, rows.cases, sink)


def _next(
    heads: Sequence[Region[Payload] | None], present: Sequence[Region[Payload]]
) -> Region[Payload]:
    """What comes next: what all have, or else the earliest loop or branch that some have."""
    first = present[0]
    if len(present) == len(heads) and all(_is_like(head, first) for head in present):
        return first
    optional = [head for head in present if not isinstance(head, Leaf)]
    if not optional:
        raise Mismatch("one has an item more")
    return min(optional, key=lambda head: head.frame.site)


def _is_like(head: Region[Payload] | None, other: Region[Payload]) -> bool:
    if head is None or type(head) is not type(other):
        return False
    if isinstance(head, Leaf) or isinstance(other, Leaf):
        return True
    return head.frame.site == other.frame.site


def _merge_branch(
    chosen: Branch[Payload],
    parts: Sequence[Region[Payload] | None],
    cases: list[Case],
    sink: Sink[Payload],
) -> None:
    rows = [part.items if isinstance(part, Branch) else [] for part in parts]
    taken = {part.frame.taken for part in parts if isinstance(part, Branch)}
    if None not in parts and len(taken) == 1:
        merge(Rows(cases, rows), sink)
        return
    condition = Formula(chosen.frame.condition or "")
    truths = [_truth(condition, case) for case in cases]
    for part, truth in zip(parts, truths, strict=True):
        if isinstance(part, Branch) and part.frame.taken != truth:
            raise Mismatch(condition.text)
    if len(set(truths)) == 1:
        merge(Rows(cases, rows), sink)
        return
    sink.branch(condition, *(_chosen(Rows(cases, rows), truths, way) for way in (True, False)))


def _truth(condition: Formula, case: Case) -> bool:
    try:
        if not case.unrolled.keys().isdisjoint(condition.names):
            raise Mismatch(condition.text)
        return bool(condition.evaluate(case.values))
    except NoFormulaError:
        raise Mismatch(condition.text) from None


def _chosen(rows: Rows[Payload], truths: Sequence[bool], way: bool) -> Rows[Payload]:
    picked = [at for at, truth in enumerate(truths) if truth is way]
    return Rows([rows.cases[at] for at in picked], [rows.rows[at] for at in picked])


def _merge_loop(
    chosen: Loop[Payload],
    parts: Sequence[Region[Payload] | None],
    cases: list[Case],
    sink: Sink[Payload],
) -> None:
    loops = [part if isinstance(part, Loop) else None for part in parts]
    numbers = [loop.numbers if loop else range(0) for loop in loops]
    is_uniform = all(number == numbers[0] for number in numbers)
    if is_uniform and len(numbers[0]) == 1:
        _write_out(chosen, loops, cases, numbers[0], sink)
        return
    size = max(sum(map(len, loop.passes.values())) for loop in loops if loop)
    stop = fit([loop.stop if loop else Dim.of(0) for loop in loops], cases)
    longest = max(map(len, numbers))
    is_wanted = not is_uniform or sink.prefers_loop(stop, longest, size)
    if is_wanted and _roll(chosen, loops, cases, numbers, stop, sink):
        return
    if not is_uniform:
        raise Mismatch("loops of different lengths")
    _write_out(chosen, loops, cases, numbers[0], sink)


def _roll(
    chosen: Loop[Payload],
    loops: Sequence[Loop[Payload] | None],
    cases: list[Case],
    numbers: Sequence[range],
    stop: Any,
    sink: Sink[Payload],
) -> bool:
    """Write a loop, all of it or after a first pass that differs."""
    starts = [loop.start if loop else Dim.of(0) for loop in loops]
    try:
        start = fit(starts, cases)
        sink.loop(_merged(chosen, loops, cases, numbers, start, stop))
        return True
    except Mismatch:
        pass
    if any(len(number) < 1 for number in numbers) or max(map(len, numbers)) < 3:
        return False
    try:
        start = fit([first + 1 for first in starts], cases)
        rest = [number[1:] for number in numbers]
        merged = _merged(chosen, loops, cases, rest, start, stop)
    except Mismatch:
        return False
    if any(number[0] != numbers[0][0] for number in numbers):
        return False
    before = sink.mark()
    try:
        _write_out(chosen, loops, cases, numbers[0][:1], sink)
        sink.loop(merged)
    except Mismatch:
        sink.undo(before)
        return False
    return True


def _merged(
    chosen: Loop[Payload],
    loops: Sequence[Loop[Payload] | None],
    cases: list[Case],
    numbers: Sequence[range],
    start: Any,
    stop: Any,
) -> Merged[Payload]:
    body = Rows[Payload]([], [])
    for loop, case, passes in zip(loops, cases, numbers, strict=True):
        for number in passes:
            body.cases.append(case.pass_of(chosen.variable, number))
            body.rows.append(loop.passes.get(number, []) if loop else [])
    hint = chosen.frame.variable or "i"
    return Merged(chosen.variable, hint, start, stop, body, cases)


def _write_out(
    chosen: Loop[Payload],
    loops: Sequence[Loop[Payload] | None],
    cases: Sequence[Case],
    numbers: range,
    sink: Sink[Payload],
) -> None:
    for number in numbers:
        rows = [loop.passes.get(number, []) if loop else [] for loop in loops]
        inner = [case.written_out(chosen.variable, number) for case in cases]
        merge(Rows(inner, rows), sink)
