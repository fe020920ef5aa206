"""Floor division, remainder, maxima and the rest on canonical polynomials."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import gcd
from typing import Final

from archdsl.sizes.atoms import (
    Atom,
    DimTooComplex,
    FloorDiv,
    Maximum,
    Minimum,
    Monomial,
    Opaque,
    Polynomial,
    constant_value,
    readable,
    sole_atom,
    symbols_of,
    write_polynomial,
)
from archdsl.sizes.polynomials import (
    add_scaled,
    common_factor,
    exact_quotient,
    leading,
    nested_division,
    plus,
    split_by_term,
    times,
)

LARGEST_POWER: Final = 64
LONGEST_CONSTANT: Final = 16_384
"""Bits of a constant power."""


def from_constant(number: int) -> Polynomial:
    """The polynomial of an integer."""
    return {(): number} if number else {}


def from_atom(atom: Atom) -> Polynomial:
    """The polynomial of one atom."""
    return {((atom, 1),): 1}


def subtract(left: Polynomial, right: Polynomial) -> Polynomial:
    """The difference of two polynomials."""
    return plus(left, right, -1)


def floor_divide(left: Polynomial, right: Polynomial) -> Polynomial:
    """The quotient rounded down, in canonical form."""
    divisor = constant_value(right)
    if divisor == 0:
        raise ZeroDivisionError(f"({readable(write_polynomial(left))}) // 0")
    if divisor is None:
        return _divide_by_symbols(left, right)
    if divisor < 0:
        return _divide_by_constant(plus({}, left, -1), -divisor)
    return _divide_by_constant(left, divisor)


def _divide_by_constant(dividend: Polynomial, divisor: int) -> Polynomial:
    whole: dict[Monomial, int] = {}
    while True:
        quotient, rest = split_by_term(dividend, (), divisor)
        add_scaled(whole, quotient, 1)
        if constant_value(rest) is not None:
            return whole
        shared = gcd(divisor, *(c for monomial, c in rest.items() if monomial))
        inner = nested_division(rest)
        if shared > 1:
            # The constant may be floored first: floor((g*A + c) / (g*q)) = floor((A + c//g) / q).
            dividend = {m: c // shared for m, c in rest.items() if c // shared}
            divisor //= shared
        elif inner is not None:
            # floor((floor(a / b) + c) / d) = floor((a + b*c) / (b*d))
            division, others = inner
            scale = division.divisor[()]
            dividend = plus(division.dividend, others, scale)
            divisor *= scale
        else:
            return plus(whole, from_atom(FloorDiv(rest, {(): divisor})))


def _divide_by_symbols(dividend: Polynomial, divisor: Polynomial) -> Polynomial:
    whole: dict[Monomial, int] = {}
    while dividend:
        scale, shared = common_factor(dividend, divisor)
        if divisor[leading(divisor)] < 0:
            scale = -scale
        dividend, _ = split_by_term(dividend, shared, scale)
        divisor, _ = split_by_term(divisor, shared, scale)
        if constant_value(divisor) is not None:
            return plus(whole, floor_divide(dividend, divisor))
        quotient, dividend = _split_by_polynomial(dividend, divisor)
        add_scaled(whole, quotient, 1)
        if dividend and not quotient:
            return plus(whole, from_atom(FloorDiv(dividend, divisor)))
    return whole


def _split_by_polynomial(
    dividend: Polynomial, divisor: Polynomial
) -> tuple[Polynomial, Polynomial]:
    if len(divisor) == 1:
        ((monomial, coefficient),) = divisor.items()
        return split_by_term(dividend, monomial, coefficient)
    quotient = exact_quotient(dividend, divisor)
    return ({}, dividend) if quotient is None else (quotient, {})


def divide_up(left: Polynomial, right: Polynomial) -> Polynomial:
    """The quotient rounded up; symbolic divisors are taken to be positive."""
    divisor = constant_value(right)
    if divisor is not None and divisor < 0:
        return divide_up(plus({}, left, -1), {(): -divisor})
    return floor_divide(plus(plus(left, right), {(): -1}), right)


def remainder(left: Polynomial, right: Polynomial) -> Polynomial:
    """What floor division leaves, of the sign of the divisor."""
    return subtract(left, times(right, floor_divide(left, right)))


def integer_power(base: int, exponent: int) -> int:
    """A power of known integers, bounded in length."""
    if exponent < 0:
        raise ValueError(f"a size cannot be raised to the power {exponent}")
    if base.bit_length() * exponent > LONGEST_CONSTANT:
        raise DimTooComplex(f"a size of {base.bit_length() * exponent} bits")
    return base**exponent


def power(base: Polynomial, exponent: Polynomial) -> Polynomial:
    """A polynomial multiplied by itself a known number of times."""
    count = constant_value(exponent)
    if count is None:
        raise ValueError(f"an exponent must be known, not {readable(write_polynomial(exponent))}")
    number = constant_value(base)
    if number is not None:
        return from_constant(integer_power(number, count))
    if count < 0:
        raise ValueError(f"a size cannot be raised to the power {count}")
    if count > LARGEST_POWER:
        raise DimTooComplex(f"a size raised to the power {count}")
    result: Polynomial = {(): 1}
    for _ in range(count):
        result = times(result, base)
    return result


def written_power(base: Polynomial, exponent: Polynomial) -> Polynomial:
    """A power as people write it, its exponent known or not."""
    if constant_value(exponent) is not None:
        return power(base, exponent)
    sides = (_bracketed(base), _bracketed(exponent))
    return from_atom(Opaque(" ** ".join(sides), symbols_of(base) | symbols_of(exponent)))


def _bracketed(polynomial: Polynomial) -> str:
    text = readable(write_polynomial(polynomial))
    return text if text.isdigit() or isinstance(sole_atom(polynomial), str) else f"({text})"


def maximum(left: Polynomial, right: Polynomial) -> Polynomial:
    """The greater of two polynomials."""
    difference = constant_value(subtract(left, right))
    if difference is not None:
        return left if difference >= 0 else right
    return _choose(Maximum, left, right)


def minimum(left: Polynomial, right: Polynomial) -> Polynomial:
    """The lesser of two polynomials."""
    difference = constant_value(subtract(left, right))
    if difference is not None:
        return left if difference <= 0 else right
    return _choose(Minimum, left, right)


def _choose(kind: type[Maximum] | type[Minimum], left: Polynomial, right: Polynomial) -> Polynomial:
    for whole, part in ((left, right), (right, left)):
        atom = sole_atom(whole)
        if isinstance(atom, kind) and part in (atom.first, atom.second):
            return whole
    if _place(right) < _place(left):
        left, right = right, left
    return from_atom(kind(left, right))


def _place(polynomial: Polynomial) -> tuple[bool, str]:
    return constant_value(polynomial) is not None, write_polynomial(polynomial)


def evaluate(polynomial: Polynomial, sizes: Mapping[str, int]) -> int:
    """The integer that a polynomial is at these sizes."""
    total = 0
    for monomial, coefficient in polynomial.items():
        for atom, exponent in monomial:
            size = sizes[atom] if isinstance(atom, str) else _evaluate_atom(atom, sizes)
            coefficient *= size if exponent == 1 else size**exponent
        total += coefficient
    return total


def _evaluate_atom(atom: Atom, sizes: Mapping[str, int]) -> int:
    match atom:
        case FloorDiv():
            return evaluate(atom.dividend, sizes) // evaluate(atom.divisor, sizes)
        case Maximum():
            return max(evaluate(atom.first, sizes), evaluate(atom.second, sizes))
        case Minimum():
            return min(evaluate(atom.first, sizes), evaluate(atom.second, sizes))
        case Opaque():
            raise ValueError(f"`{atom.source}` is only written; it has no size")
        case str():
            return sizes[atom]


def substitute(polynomial: Polynomial, values: Mapping[str, Polynomial]) -> Polynomial:
    """Put polynomials in the place of symbols, all at once."""
    if symbols_of(polynomial).isdisjoint(values):
        return polynomial
    total: dict[Monomial, int] = {}
    for monomial, coefficient in polynomial.items():
        product: Polynomial = {(): coefficient}
        for atom, exponent in monomial:
            factor = _substitute_atom(atom, values)
            product = times(product, power(factor, from_constant(exponent)))
        add_scaled(total, product, 1)
    return total


def _substitute_atom(atom: Atom, values: Mapping[str, Polynomial]) -> Polynomial:
    if isinstance(atom, str):
        return values[atom] if atom in values else from_atom(atom)
    if atom.symbols.isdisjoint(values):
        return from_atom(atom)
    match atom:
        case FloorDiv():
            return floor_divide(substitute(atom.dividend, values), substitute(atom.divisor, values))
        case Maximum():
            return maximum(substitute(atom.first, values), substitute(atom.second, values))
        case Minimum():
            return minimum(substitute(atom.first, values), substitute(atom.second, values))
        case Opaque():
            return from_atom(_substitute_opaque(atom, values))


def _substitute_opaque(atom: Opaque, values: Mapping[str, Polynomial]) -> Opaque:
    names = atom.symbols & values.keys()
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, sorted(names)))})\b")
    source = pattern.sub(lambda match: _bracketed(values[match[1]]), atom.source)
    symbols = (atom.symbols - names).union(*(symbols_of(values[name]) for name in names))
    return Opaque(source, symbols)
