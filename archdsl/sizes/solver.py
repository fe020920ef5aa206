"""Asks the z3 solver, which is imported at the first question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from archdsl.sizes.atoms import Atom, FloorDiv, Maximum, Minimum, Opaque, Polynomial
from archdsl.sizes.bounds import Range, interval
from archdsl.sizes.conditions import RELATIONS, All, Compare, Condition, Either, Negation

EFFORT: Final = 1_500_000
"""z3's resource units for one question: about a second, but the same on every machine."""

ALL_EFFORT: Final = 3_000_000
"""What all questions of one compilation may use together."""

LAST_RESORT: Final = 10_000
"""Milliseconds, for a question whose resources z3 fails to count."""

Answer = Literal["none", "unknown"] | dict[str, int]


@dataclass(slots=True)
class Effort:
    """What is left of z3's resources; with nothing left every question is undecided."""

    left: int = ALL_EFFORT


def find_sizes(
    conditions: Sequence[Condition], ranges: Mapping[str, Range], effort: Effort
) -> Answer:
    """Sizes within the ranges that satisfy every condition; "none" when there are no such."""
    if effort.left <= 0:
        return "unknown"
    import z3  # pyright: ignore[reportMissingTypeStubs]

    question = _Question(z3, ranges, effort)
    # A comparison that must hold is computed, so its divisors are not zero; what stands within
    # `and`, `or` and `not` may never be reached, so it says nothing of its divisors.
    alone, joined = _sorted_out(conditions)
    for comparison in alone:
        question.require(comparison)
    question.divisors_are_nonzero = False
    for condition in joined:
        question.require(condition)
    return question.answer()


def _sorted_out(conditions: Sequence[Condition]) -> tuple[list[Compare], list[Condition]]:
    alone: list[Compare] = []
    joined: list[Condition] = []
    for condition in conditions:
        for part in condition.parts if isinstance(condition, All) else (condition,):
            if isinstance(part, Negation) and isinstance(part.condition, Compare):
                alone.append(part.condition.negated())
            elif isinstance(part, Compare):
                alone.append(part)
            else:
                joined.append(part)
    return alone, joined


class _Question:
    """One question in a context of its own, so that its answer depends on nothing before it."""

    def __init__(self, z3: Any, ranges: Mapping[str, Range], effort: Effort) -> None:
        self.z3 = z3
        self.ranges = ranges
        self.effort = effort
        self.context: Any = z3.Context()
        self.solver: Any = z3.Solver(ctx=self.context)
        self.solver.set("rlimit", min(EFFORT, effort.left))
        self.solver.set("random_seed", 0)
        self.solver.set("timeout", LAST_RESORT)
        self.divisors_are_nonzero = True
        self.symbols: dict[str, Any] = {}
        self.compounds: dict[Atom, Any] = {}

    def require(self, condition: Condition) -> None:
        self.solver.add(self.condition(condition))

    def answer(self) -> Answer:
        outcome = self.solver.check()
        self.effort.left -= int(self.solver.statistics().get_key_value("rlimit count"))
        if outcome == self.z3.unsat:
            return "none"
        if outcome != self.z3.sat:
            return "unknown"
        model = self.solver.model()
        return {
            name: model.eval(symbol, model_completion=True).as_long()
            for name, symbol in self.symbols.items()
        }

    def condition(self, condition: Condition) -> Any:
        match condition:
            case Compare():
                relation: Callable[[Any, Any], Any] = RELATIONS[condition.relation]
                return relation(self.size(condition.difference.polynomial), self.integer(0))
            case All():
                return self.z3.And(*[self.condition(part) for part in condition.parts])
            case Either():
                return self.z3.Or(*[self.condition(part) for part in condition.parts])
            case Negation():
                return self.z3.Not(self.condition(condition.condition))
            case _:
                raise TypeError(f"{type(condition).__name__} is no condition that z3 can be told")

    def size(self, polynomial: Polynomial) -> Any:
        terms = [self.integer(0)]
        for monomial, coefficient in polynomial.items():
            term = self.integer(coefficient)
            for atom, power in monomial:
                for _ in range(power):
                    term = term * self.atom(atom)
            terms.append(term)
        return self.z3.Sum(terms)

    def integer(self, number: int) -> Any:
        return self.z3.IntVal(number, self.context)

    def atom(self, atom: Atom) -> Any:
        if isinstance(atom, str):
            return self.symbol(atom)
        if atom not in self.compounds:
            self.compounds[atom] = self.compound(atom)
        return self.compounds[atom]

    def symbol(self, name: str) -> Any:
        if name not in self.symbols:
            symbol = self.symbols[name] = self.z3.Int(f"size {name}", self.context)
            least, greatest = self.ranges.get(name, (1, None))
            if least is not None:
                self.solver.add(symbol >= least)
            if greatest is not None:
                self.solver.add(symbol <= greatest)
        return self.symbols[name]

    def compound(self, atom: FloorDiv | Maximum | Minimum | Opaque) -> Any:
        match atom:
            case FloorDiv():
                return self.quotient(atom)
            case Maximum():
                first, second = self.size(atom.first), self.size(atom.second)
                return self.z3.If(first >= second, first, second)
            case Minimum():
                first, second = self.size(atom.first), self.size(atom.second)
                return self.z3.If(first <= second, first, second)
            case Opaque():
                raise ValueError(f"`{atom.source}` is only written; it has no size")

    def quotient(self, division: FloorDiv) -> Any:
        dividend, divisor = self.size(division.dividend), self.size(division.divisor)
        quotient = self.z3.Int(f"quotient {len(self.compounds)}", self.context)
        self.compounds[division] = quotient
        rest = dividend - quotient * divisor
        upwards = [rest >= 0, rest < divisor]
        least, _ = interval(division.divisor, self.ranges, (1, None))
        if least is not None and least >= 1:
            self.solver.add(*upwards)
            return quotient
        # A negative divisor leaves a negative remainder; a divisor of zero has no quotient.
        downwards = self.z3.And(rest <= 0, rest > divisor)
        undefined = self.z3.And(divisor == 0, not self.divisors_are_nonzero)
        self.solver.add(self.z3.Or(self.z3.And(*upwards), downwards, undefined))
        return quotient
