"""Writes static values in Python: numbers, sizes, dtypes, tuples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from archdsl.backends.python.formula import Formula, NoFormulaError, literal
from archdsl.backends.python.layout import Code, call, infix, list_of, prefix, tuple_of
from archdsl.ir.types import DType
from archdsl.sizes.atoms import (
    Atom,
    FloorDiv,
    Maximum,
    Minimum,
    Monomial,
    Polynomial,
    ordered_terms,
    remainder_form,
)
from archdsl.sizes.dims import Dim

Variables = Callable[[str], Code]
"""How the variable of a size, a parameter or a loop is written at some place."""


def value_code(value: Any, variables: Variables) -> Code:
    """A value of a lowering that is no tensor."""
    match value:
        case Dim():
            return polynomial_code(value.polynomial, variables)
        case Formula():
            return value.code(variables)
        case DType():
            return Code(f"torch.{value.value}")
        case tuple():
            items = cast("tuple[Any, ...]", value)
            return tuple_of([value_code(item, variables) for item in items])
        case list():
            items = cast("list[Any]", value)
            return list_of([value_code(item, variables) for item in items])
        case _:
            return literal(value)


def is_formula(value: Any) -> bool:
    """Whether a static value is computed from names."""
    return isinstance(value, Formula) or (isinstance(value, Dim) and value.value is None)


def polynomial_code(polynomial: Polynomial, variables: Variables) -> Code:
    """A size as a formula: `4 * width`, `(H + 3) // 4`."""
    remainder = remainder_form(polynomial)
    if remainder is not None:
        multiple, division, offset = remainder
        code = _quotient("%", division, variables)
        code = code if multiple == 1 else infix("*", literal(multiple), code)
        return code if offset == 0 else _sum(code, offset < 0, literal(abs(offset)))
    total: Code | None = None
    for coefficient, monomial in ordered_terms(polynomial):
        term = _term(abs(coefficient), monomial, variables)
        if total is None:
            total = prefix("-", term) if coefficient < 0 else term
        else:
            total = _sum(total, coefficient < 0, term)
    return total or literal(0)


def _sum(left: Code, negative: bool, right: Code) -> Code:
    return infix("-" if negative else "+", left, right)


def _term(coefficient: int, monomial: Monomial, variables: Variables) -> Code:
    factors = [_power(atom, power, variables) for atom, power in monomial]
    if coefficient != 1 or not factors:
        factors.insert(0, literal(coefficient))
    product = factors[0]
    for factor in factors[1:]:
        product = infix("*", product, factor)
    return product


def _power(atom: Atom, power: int, variables: Variables) -> Code:
    code = _atom(atom, variables)
    return code if power == 1 else infix("**", code, literal(power))


def _atom(atom: Atom, variables: Variables) -> Code:
    match atom:
        case str():
            return variables(atom)
        case FloorDiv():
            return _quotient("//", atom, variables)
        case Maximum() | Minimum():
            sides = [polynomial_code(side, variables) for side in (atom.first, atom.second)]
            return call(atom.function, sides)
        case _:
            raise NoFormulaError(atom.text)


def _quotient(symbol: str, division: FloorDiv, variables: Variables) -> Code:
    dividend = polynomial_code(division.dividend, variables)
    return infix(symbol, dividend, polynomial_code(division.divisor, variables))


class LoopVariables:
    """The variables inside a loop: its own, and those around it."""

    def __init__(self, outer: Variables, variable: str, name: str) -> None:
        self.outer = outer
        self.variable = variable
        self.name = name
        self.is_used = False

    def __call__(self, name: str) -> Code:
        if name != self.variable:
            return self.outer(name)
        self.is_used = True
        return Code(self.name)


def enclosing(variables: Variables) -> list[str]:
    """The names of the loop variables at a place."""
    names: list[str] = []
    while isinstance(variables, LoopVariables):
        names.append(variables.name)
        variables = variables.outer
    return names


class _Bounds(Protocol):
    @property
    def start(self) -> Any: ...
    @property
    def stop(self) -> Any: ...


def loop_clause(inside: LoopVariables, loop: _Bounds) -> str:
    """`for i in range(n)`, once what stands in the loop is written."""
    start, stop = Dim.of(loop.start), loop.stop
    if not inside.is_used and isinstance(stop, Dim):
        start, stop = Dim.of(0), stop - start
    bounds = value_code(stop, inside.outer).text
    if start.value != 0:
        bounds = f"{value_code(start, inside.outer).text}, {bounds}"
    return f"for {inside.name if inside.is_used else '_'} in range({bounds})"
