"""Integer polynomial arithmetic on mappings from monomials to coefficients."""

from __future__ import annotations

from math import gcd
from typing import Final

from archdsl.sizes.atoms import (
    Atom,
    DimTooComplex,
    FloorDiv,
    Monomial,
    Polynomial,
    atom_key,
    constant_value,
)

MOST_PRODUCTS: Final = 100_000
MOST_TERMS_DIVIDED: Final = 200


def add_scaled(total: dict[Monomial, int], polynomial: Polynomial, scale: int) -> None:
    """Add a multiple of a polynomial to a sum, in place."""
    for monomial, coefficient in polynomial.items():
        value = total.get(monomial, 0) + scale * coefficient
        if value:
            total[monomial] = value
        else:
            total.pop(monomial, None)


def plus(left: Polynomial, right: Polynomial, scale: int = 1) -> dict[Monomial, int]:
    """The sum of one polynomial and a multiple of another."""
    total = dict(left)
    add_scaled(total, right, scale)
    return total


def times(left: Polynomial, right: Polynomial) -> dict[Monomial, int]:
    """The product of two polynomials."""
    if len(left) * len(right) > MOST_PRODUCTS:
        raise DimTooComplex(f"a product of {len(left)} by {len(right)} terms")
    total: dict[Monomial, int] = {}
    for first, scale in left.items():
        shifted = {monomial_times(first, second): c for second, c in right.items()}
        add_scaled(total, shifted, scale)
    return total


def monomial_times(left: Monomial, right: Monomial) -> Monomial:
    """The product of two monomials, its atoms in order."""
    if not left:
        return right
    if not right:
        return left
    powers: dict[Atom, int] = dict(left)
    for atom, power in right:
        powers[atom] = powers.get(atom, 0) + power
    return tuple(sorted(powers.items(), key=lambda pair: atom_key(pair[0])))


def monomial_over(left: Monomial, right: Monomial) -> Monomial | None:
    """The quotient of two monomials, when it is one."""
    powers = dict(left)
    for atom, power in right:
        rest = powers.get(atom, 0) - power
        if rest < 0:
            return None
        powers[atom] = rest
    return tuple((atom, power) for atom, power in powers.items() if power)


def split_by_constant(
    polynomial: Polynomial, divisor: int
) -> tuple[dict[Monomial, int], dict[Monomial, int]]:
    """Divide every coefficient, with remainders from 0 up to the positive divisor."""
    return split_by_term(polynomial, (), divisor)


def split_by_term(
    polynomial: Polynomial, monomial: Monomial, coefficient: int
) -> tuple[dict[Monomial, int], dict[Monomial, int]]:
    """The whole multiples of one term in a polynomial, and what is left."""
    quotient: dict[Monomial, int] = {}
    rest: dict[Monomial, int] = {}
    for term, scale in polynomial.items():
        over = monomial_over(term, monomial)
        whole, left = (0, scale) if over is None else divmod(scale, coefficient)
        if whole and over is not None:
            quotient[over] = whole
        if left:
            rest[term] = left
    return quotient, rest


def common_factor(first: Polynomial, second: Polynomial) -> tuple[int, Monomial]:
    """The greatest term that divides every term of two polynomials."""
    scale = gcd(*first.values(), *second.values())
    monomials = [*first, *second]
    if () in first or () in second:
        return scale, ()
    shared = dict(monomials[0])
    for monomial in monomials[1:]:
        powers = dict(monomial)
        shared = {a: min(p, powers[a]) for a, p in shared.items() if a in powers}
    return scale, tuple(shared.items())


def leading(polynomial: Polynomial) -> Monomial:
    """The greatest monomial in the order of the atoms' names, which products respect."""
    return min(polynomial, key=_lexical_place)


def _lexical_place(monomial: Monomial) -> list[tuple[int, str, int]]:
    return [*((*atom_key(atom), -power) for atom, power in monomial), (2, "", 0)]


def exact_quotient(numerator: Polynomial, divisor: Polynomial) -> dict[Monomial, int] | None:
    """The quotient of two polynomials when the division leaves nothing."""
    if len(numerator) > MOST_TERMS_DIVIDED or len(divisor) > len(numerator) * MOST_TERMS_DIVIDED:
        return None
    head = leading(divisor)
    rest = dict(numerator)
    quotient: dict[Monomial, int] = {}
    while rest:
        first = leading(rest)
        over = monomial_over(first, head)
        if over is None or rest[first] % divisor[head] or len(quotient) > MOST_TERMS_DIVIDED:
            return None
        whole = rest[first] // divisor[head]
        quotient[over] = whole
        add_scaled(rest, {monomial_times(over, m): c for m, c in divisor.items()}, -whole)
    return quotient


def nested_division(polynomial: Polynomial) -> tuple[FloorDiv, dict[Monomial, int]] | None:
    """The one division by a constant that is a term of a polynomial, and the other terms."""
    found = [
        (atom, monomial)
        for monomial, coefficient in polynomial.items()
        if coefficient == 1 and len(monomial) == 1
        for atom, power in monomial
        if power == 1 and isinstance(atom, FloorDiv) and constant_value(atom.divisor) is not None
    ]
    if len(found) != 1:
        return None
    division, place = found[0]
    return division, {m: c for m, c in polynomial.items() if m != place}
