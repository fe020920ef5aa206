"""Derives ranges and divisors of single symbols from facts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import lcm

from archdsl.sizes.atoms import (
    FloorDiv,
    Maximum,
    Minimum,
    Monomial,
    constant_value,
    remainder_form,
    sole_atom,
)
from archdsl.sizes.bounds import Range
from archdsl.sizes.conditions import All, Compare, Condition
from archdsl.sizes.dims import Dim


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Ranges and divisors of symbols, and sizes that are zero."""

    ranges: Mapping[str, Range]
    divisors: Mapping[str, int]
    zeros: tuple[Dim, ...]

    @staticmethod
    def of(minimums: Mapping[str, int], facts: Iterable[Condition]) -> Knowledge:
        """Read what single comparisons say; the rest is for the solver."""
        ranges: dict[str, Range] = {name: (least, None) for name, least in minimums.items()}
        return Knowledge(ranges, {}, ()).extended(facts)

    def extended(self, facts: Iterable[Condition]) -> Knowledge:
        """What is known with further facts."""
        comparisons = [comparison for fact in facts for comparison in _comparisons(fact)]
        ranges, divisors = dict(self.ranges), dict(self.divisors)
        for comparison in comparisons:
            _narrow(ranges, comparison)
            _divide(divisors, comparison)
        for name, divisor in divisors.items():
            low, high = ranges.get(name, (1, None))
            ranges[name] = (
                None if low is None else -(-low // divisor) * divisor,
                None if high is None else high // divisor * divisor,
            )
        zeros = tuple(c.difference for c in comparisons if c.relation == "==")
        return Knowledge(ranges, divisors, (*self.zeros, *zeros))

    def is_zero(self, dim: Dim) -> bool:
        """Whether a size is a multiple of a known zero, or zero at all multiples of divisors."""
        if any(_is_multiple(dim, zero) for zero in self.zeros):
            return True
        known = self.divisors.keys() & dim.symbols
        multiples = {name: self.divisors[name] * Dim.symbol(name) for name in known}
        return bool(multiples) and dim.substitute(multiples).value == 0


def _comparisons(fact: Condition) -> Sequence[Compare]:
    if isinstance(fact, Compare):
        return (fact,)
    parts = fact.parts if isinstance(fact, All) else ()
    return [part for part in parts if isinstance(part, Compare)]


def _is_positive_constant(divisor: Dim) -> bool:
    return divisor.value is not None and divisor.value >= 1


def unfloored(
    condition: Condition, is_positive: Callable[[Dim], bool] = _is_positive_constant
) -> Condition:
    """A bound of a quotient as one of what is divided: `p // 4 >= 3` is `p >= 12`."""
    while isinstance(condition, Compare) and condition.relation in _BOUNDS:
        difference = condition.difference
        terms = [(m, scale) for m, scale in difference.polynomial.items() if m]
        atom = sole_atom({terms[0][0]: 1}) if len(terms) == 1 else None
        divisor = atom.denominator if isinstance(atom, FloorDiv) else None
        if not isinstance(atom, FloorDiv) or divisor is None or not is_positive(divisor):
            return condition
        least, most = _limits(condition, terms[0][1], difference.coefficient())
        if least is not None:
            condition = Compare(atom.numerator, ">=", divisor * least)
        elif most is not None:
            condition = Compare(atom.numerator, "<=", divisor * most + divisor - 1)
    return condition


def stronger(condition: Compare) -> Iterable[Compare]:
    """Comparisons that each say more: `a - min(a, b) >= 0` holds if `a - a >= 0` does, and
    `a - b // 2 >= 0`, of integers, if `2 * a - b > -2` does."""
    if condition.relation not in _BOUNDS:
        return
    difference = condition.difference
    if condition.relation in ("<=", "<"):
        difference = -difference
    relation = ">=" if "=" in condition.relation else ">"
    for monomial, scale in difference.polynomial.items():
        atom = sole_atom({monomial: 1})
        if isinstance(atom, Minimum if scale < 0 else Maximum):
            rest = difference - scale * Dim({monomial: 1})
            for argument in (atom.left, atom.right):
                yield Compare(rest + scale * argument, relation, Dim.of(0))
    scale, bound = _as_fractions(difference)
    if scale > 1:
        yield Compare(bound, ">", Dim.of(-scale if relation == ">=" else 0))


def _as_fractions(dim: Dim) -> tuple[int, Dim]:
    """A factor, and what is at most so many times a size: its quotients without rounding."""
    quotients: list[tuple[Monomial, int, FloorDiv, int]] = []
    for monomial, scale in dim.polynomial.items():
        atom = sole_atom({monomial: 1})
        divisor = constant_value(atom.divisor) if isinstance(atom, FloorDiv) else None
        if isinstance(atom, FloorDiv) and divisor is not None and divisor >= 1:
            quotients.append((monomial, scale, atom, divisor))
    factor = lcm(*(divisor for *_, divisor in quotients))
    bound = factor * dim
    for monomial, scale, atom, divisor in quotients:
        least = atom.numerator - (divisor - 1 if scale > 0 else 0)
        bound += factor // divisor * scale * least - factor * scale * Dim({monomial: 1})
    return factor, bound


_BOUNDS = frozenset({">=", ">", "<=", "<"})


def _narrow(ranges: dict[str, Range], comparison: Compare) -> None:
    """Take a bound from a comparison of one symbol with a constant."""
    difference = comparison.difference
    names = difference.symbols
    if len(names) != 1:
        return
    (name,) = names
    scale, offset = difference.coefficient(name), difference.coefficient()
    if scale == 0 or (difference - scale * Dim.symbol(name)).value is None:
        return
    least, most = _limits(comparison, scale, offset)
    low, high = ranges.get(name, (1, None))
    ranges[name] = (
        least if low is None else low if least is None else max(low, least),
        most if high is None else high if most is None else min(high, most),
    )


def _limits(comparison: Compare, scale: int, offset: int) -> Range:
    """The solutions x of `scale*x + offset` standing in the relation to zero."""
    relation = comparison.relation
    if scale < 0:
        flipped = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
        scale, offset, relation = -scale, -offset, flipped.get(relation, relation)
    match relation:
        case ">=":
            return -(offset // scale), None
        case ">":
            return -offset // scale + 1, None
        case "<=":
            return None, -offset // scale
        case "<":
            return None, -(offset // scale) - 1
        case "==":
            return -(offset // scale), -offset // scale
        case _:
            return None, None


def _divide(divisors: dict[str, int], comparison: Compare) -> None:
    """Take a divisor from `H % 32 == 0`."""
    form = remainder_form(comparison.difference.polynomial)
    if comparison.relation != "==" or form is None or form[2] != 0:
        return
    name, divisor = sole_atom(form[1].dividend), constant_value(form[1].divisor)
    if isinstance(name, str) and divisor is not None:
        divisors[name] = lcm(divisors.get(name, 1), divisor)


def _is_multiple(dim: Dim, zero: Dim) -> bool:
    if len(dim.polynomial) != len(zero.polynomial) or not zero.polynomial:
        return False
    monomial, unit = next(iter(zero.polynomial.items()))
    scale, rest = divmod(dim.polynomial.get(monomial, 0), unit)
    return rest == 0 and dim.without_origin() == scale * zero
