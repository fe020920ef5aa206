"""Proves conditions on sizes from facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from archdsl.sizes.atoms import Monomial
from archdsl.sizes.bounds import Range, interval
from archdsl.sizes.conditions import (
    All,
    Compare,
    Condition,
    Either,
    Negation,
    Relation,
    all_of,
    either_of,
)
from archdsl.sizes.dims import Dim
from archdsl.sizes.knowledge import Knowledge, stronger, unfloored
from archdsl.sizes.samples import assignments
from archdsl.sizes.solver import Effort, find_sizes

__all__ = [
    "All",
    "Compare",
    "Condition",
    "Either",
    "Facts",
    "Negation",
    "Relation",
    "Verdict",
    "all_of",
    "either_of",
    "smallest_admissible",
]

LARGE_SIZE: Final = 1 << 20
MOST_FACTS: Final = 200
"""The solver is told no more than so many; it proves less from fewer, but nothing false."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a condition always holds, or sizes at which it does not; neither is undecided."""

    proved: bool = False
    counterexample: dict[str, int] | None = None

    @property
    def refuted(self) -> bool:
        return self.counterexample is not None

    @property
    def undecided(self) -> bool:
        return not self.proved and self.counterexample is None


_Side = tuple[Relation, frozenset[tuple[Monomial, int]]]
"""Which way a bound goes, and what it bounds but for a constant."""

_UPWARDS: Final = frozenset({">=", ">"})
_DOWNWARDS: Final = frozenset({"<=", "<"})


def _side(condition: Condition) -> _Side | None:
    """What a lower or upper bound bounds; None for any other condition."""
    if not isinstance(condition, Compare) or condition.relation not in _UPWARDS | _DOWNWARDS:
        return None
    terms = condition.difference.polynomial.items()
    return condition.relation, frozenset(term for term in terms if term[0])


def _distance(bound: Compare) -> int:
    """How much a bound leaves: of two on one side, the one that leaves less is the stronger."""
    constant = bound.difference.coefficient()
    return constant if bound.relation in _UPWARDS else -constant


_PROVED: Final = Verdict(proved=True)
_UNDECIDED: Final = Verdict()


class Facts:
    """What is known of sizes: every symbol is an integer from its minimum, conditions hold."""

    __slots__ = (
        *("_bounds", "_knowledge", "_symbols", "_verdicts"),
        *("assumptions", "effort", "minimums"),
    )

    assumptions: Final[tuple[Condition, ...]]
    minimums: Final[Mapping[str, int]]

    effort: Final[Effort]

    def __init__(
        self,
        minimums: Mapping[str, int] | None = None,
        assumptions: Iterable[Condition] = (),
        effort: Effort | None = None,
    ) -> None:
        self.minimums = dict(minimums or {})
        self.assumptions = tuple(assumptions)
        self.effort = effort or Effort()
        self._knowledge: Knowledge | None = None
        self._verdicts: dict[Condition, Verdict] = {}
        self._bounds: dict[_Side, Compare] | None = None
        self._symbols: list[frozenset[str]] | None = None

    def with_symbol(self, name: str, minimum: int = 1) -> Facts:
        """The facts, and that there is a symbol, at least its minimum (1 if nothing is said)."""
        if self.minimums.get(name) == minimum:
            return self
        return Facts({**self.minimums, name: minimum}, self.assumptions, self.effort)

    def assume(self, condition: Condition) -> Facts:
        """The facts, and that a condition holds."""
        if condition.is_opaque:
            raise ValueError(f"`{condition}` cannot be computed, so it cannot be a fact")
        condition = unfloored(condition)
        if condition.truth is True or condition in self.assumptions:
            return self
        bounds, kept = dict(self.bounds), self.assumptions
        side = _side(condition)
        if side is not None and isinstance(condition, Compare):
            # A bound takes the place of a weaker one, so that a thousand layers leave one fact.
            before = bounds.get(side)
            if before is not None and _distance(before) <= _distance(condition):
                return self
            kept = tuple(fact for fact in kept if fact is not before)
            bounds[side] = condition
        facts = Facts(self.minimums, (*kept, condition), self.effort)
        facts._knowledge = self.knowledge.extended((condition,))
        facts._bounds = bounds
        return facts

    @property
    def bounds(self) -> Mapping[_Side, Compare]:
        """The facts that are bounds, by what they bound."""
        if self._bounds is None:
            pairs = [(_side(fact), fact) for fact in self.assumptions]
            self._bounds = {s: f for s, f in pairs if s is not None and isinstance(f, Compare)}
        return self._bounds

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Facts):
            return NotImplemented
        return self.minimums == other.minimums and self.assumptions == other.assumptions

    def __hash__(self) -> int:
        return hash((frozenset(self.minimums.items()), self.assumptions))

    def __repr__(self) -> str:
        return f"Facts({dict(self.minimums)}, [{', '.join(map(str, self.assumptions))}])"

    @property
    def knowledge(self) -> Knowledge:
        """The ranges and multiples that the facts tell of each symbol."""
        if self._knowledge is None:
            self._knowledge = Knowledge.of(self.minimums, self.assumptions)
        return self._knowledge

    def range_of(self, dim: Dim) -> Range:
        """The least and the greatest value that are seen for a size, None for none."""
        return interval(dim.polynomial, self.knowledge.ranges, (1, None))

    def admits(self, sizes: Mapping[str, int]) -> bool:
        """Whether these sizes satisfy the facts about them; facts on other symbols stay out."""
        if any(size < self.minimums.get(name, 1) for name, size in sizes.items()):
            return False
        known = [fact for fact in self.assumptions if fact.symbols <= sizes.keys()]
        return all(_holds(fact, sizes) is True for fact in known)

    def prove(self, condition: Condition) -> Verdict:
        """Whether a condition follows from the facts."""
        if condition.truth is True:
            return _PROVED
        verdict = self._verdicts.get(condition)
        if verdict is None:
            verdict = self._verdicts[condition] = self._decide(condition)
        return verdict

    def _decide(self, condition: Condition) -> Verdict:
        if not condition.symbols and condition.truth is False:
            return Verdict(counterexample={})
        if self._is_plain(condition):
            return _PROVED
        if condition.is_opaque:
            return _UNDECIDED
        facts = self._relevant(condition.symbols)
        names = sorted(condition.symbols.union(*(fact.symbols for fact in facts)))
        for sizes in assignments(names, self.knowledge.extended((condition.negated(),))):
            if self._violates(condition, facts, sizes):
                return Verdict(counterexample=sizes)
        return self._ask_solver(condition, facts, names)

    def _is_plain(self, condition: Condition) -> bool:
        """Whether a condition follows from normal forms and ranges alone."""
        if condition.truth is True or condition in self.assumptions:
            return True
        match condition:
            case Compare():
                return self._follows(condition)
            case All():
                return all(self._is_plain(part) for part in condition.parts)
            case Either():
                return any(self._is_plain(part) for part in condition.parts)
            case Negation():
                return not isinstance(condition.condition, Negation) and self._is_plain(
                    condition.condition.negated()
                )
            case _:
                return False

    def _follows(self, comparison: Compare) -> bool:
        plain = unfloored(comparison, self._is_positive)
        comparison = plain if isinstance(plain, Compare) else comparison
        difference = comparison.difference
        if _excludes(self.range_of(difference), comparison.negated().relation):
            return True
        for other in stronger(comparison):
            if _excludes(self.range_of(other.difference), other.negated().relation):
                return True
        return comparison.relation == "==" and self.knowledge.is_zero(difference)

    def _is_positive(self, dim: Dim) -> bool:
        least = self.range_of(dim)[0]
        return least is not None and least >= 1

    def _relevant(self, symbols: frozenset[str]) -> tuple[Condition, ...]:
        """The facts that share symbols with a condition, directly or through other facts."""
        if self._symbols is None:
            self._symbols = [fact.symbols for fact in self.assumptions]
        reached, chosen = set(symbols), list[Condition]()
        waiting = list(zip(self.assumptions, self._symbols, strict=True))
        while True:
            found = [pair for pair in waiting if not pair[1] or not pair[1].isdisjoint(reached)]
            if not found:
                return tuple(chosen)
            waiting = [pair for pair in waiting if pair[1] and pair[1].isdisjoint(reached)]
            chosen += [fact for fact, _ in found]
            reached.update(*(names for _, names in found))

    def _violates(
        self, condition: Condition, facts: Sequence[Condition], sizes: Mapping[str, int]
    ) -> bool:
        if any(size < self.minimums.get(name, 1) for name, size in sizes.items()):
            return False
        return _holds(condition, sizes) is False and all(_holds(f, sizes) is True for f in facts)

    def _ask_solver(
        self, condition: Condition, facts: Sequence[Condition], names: Sequence[str]
    ) -> Verdict:
        questions = (*facts[-MOST_FACTS:], Negation(condition))
        answer = find_sizes(questions, self._minimum_ranges(names), self.effort)
        if answer == "none":
            return _PROVED
        if answer == "unknown":
            return _UNDECIDED
        sizes = {name: self.minimums.get(name, 1) for name in names} | answer
        violated = self._violates(condition, facts, sizes)
        return Verdict(counterexample=sizes) if violated else _UNDECIDED

    def _minimum_ranges(self, names: Sequence[str]) -> dict[str, Range]:
        return {name: (self.minimums.get(name, 1), None) for name in names}


def _holds(condition: Condition, sizes: Mapping[str, int]) -> bool | None:
    """Whether a condition holds at these sizes; None where it divides by zero."""
    try:
        return condition.evaluate(sizes)
    except ZeroDivisionError:
        return None


def _excludes(found: Range, relation: Relation) -> bool:
    """Whether no value in a range stands in a relation to zero."""
    low, high = found
    match relation:
        case "<":
            return low is not None and low >= 0
        case "<=":
            return low is not None and low > 0
        case ">":
            return high is not None and high <= 0
        case ">=":
            return high is not None and high < 0
        case "==":
            return _excludes(found, "<=") or _excludes(found, ">=")
        case "!=":
            return low == high == 0


def smallest_admissible(conditions: Sequence[Condition], facts: Facts) -> dict[str, int] | None:
    """The least size of each symbol from which on all conditions are proved.

    Only symbols whose bound must rise are named; None when no such bounds are found.
    """
    names = sorted(frozenset[str]().union(*(condition.symbols for condition in conditions)))
    goal = all_of(conditions)
    if goal.is_opaque:
        return None
    bounds: dict[str, int] = {}
    for name in names:
        least = facts.range_of(Dim.symbol(name))[0]
        if least is None:
            return None
        bound = _smallest_size(goal, dict.fromkeys(names, LARGE_SIZE), name, least)
        if bound is None:
            return None
        if bound > least:
            bounds[name] = bound
    stronger = facts
    for name, bound in bounds.items():
        stronger = stronger.assume(Compare(Dim.symbol(name), ">=", Dim.of(bound)))
    return bounds if stronger.prove(goal).proved else None


def _smallest_size(goal: Condition, sizes: Mapping[str, int], name: str, least: int) -> int | None:
    """The least size of one symbol that will do, the others being large."""
    low, high = least, max(least, LARGE_SIZE)
    if _holds(goal, {**sizes, name: high}) is not True:
        return None
    while low < high:
        middle = (low + high) // 2
        if _holds(goal, {**sizes, name: middle}) is True:
            high = middle
        else:
            low = middle + 1
    return high
