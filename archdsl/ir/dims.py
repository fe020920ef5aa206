"""Sizes of axes: canonical integer polynomials over symbols and floor divisions."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from archdsl.ir import operations
from archdsl.ir.atoms import (
    RESERVED_NAMES,
    Atom,
    DimTooComplex,
    FloorDiv,
    Maximum,
    Minimum,
    Monomial,
    Opaque,
    Polynomial,
    constant_value,
)
from archdsl.ir.expression import Expression
from archdsl.ir.polynomials import add_scaled, plus, times

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

__all__ = [
    "Atom",
    "Dim",
    "DimOverflow",
    "DimTooComplex",
    "FloorDiv",
    "Maximum",
    "Minimum",
    "Monomial",
    "Opaque",
    "ceildiv",
    "check_size",
    "maximum",
    "minimum",
]


class DimOverflow(ArithmeticError):
    """A size beyond 64 bits, which no runtime can hold."""


class Dim(Expression):
    """An integer size: equal exactly when its canonical form is equal.

    It may remember its `origin`, the expression a person wrote for it, which `==` ignores.
    """

    __slots__ = ("_origin",)

    if TYPE_CHECKING:
        _origin: Dim | None

    def __init__(self, polynomial: Polynomial, origin: Dim | None = None) -> None:
        """Wrap a polynomial that is canonical already; use `of`, `symbol` and `constant`."""
        super().__init__(polynomial)
        object.__setattr__(self, "_origin", origin)

    # -------------------------------------------------------------------------- construction

    @staticmethod
    def of(value: int | str | Dim) -> Dim:
        """A size from an integer, the name of a symbol, or a size."""
        if isinstance(value, Dim):
            return value
        return _symbol(value) if isinstance(value, str) else _constant(_exact_integer(value))

    @staticmethod
    def constant(number: int) -> Dim:
        """A known size."""
        return _constant(_exact_integer(number))

    @staticmethod
    def symbol(name: str) -> Dim:
        """A size that is known by name alone."""
        return _symbol(name)

    @staticmethod
    def opaque(text: str, symbols: Iterable[str]) -> Dim:
        """An expression that is not a polynomial, for origins only."""
        return Dim(operations.from_atom(Opaque(text, frozenset(symbols))))

    @staticmethod
    def of_polynomial(polynomial: Polynomial) -> Dim:
        """The size of a canonical polynomial."""
        value = constant_value(polynomial)
        return Dim(polynomial) if value is None else _constant(value)

    @staticmethod
    def total(dims: Iterable[Dim | int]) -> Dim:
        """The sum of many sizes in one pass, without origins."""
        terms: dict[Monomial, int] = {}
        for dim in dims:
            add_scaled(terms, Dim.of(dim).polynomial, 1)
        return Dim.of_polynomial(terms)

    @staticmethod
    def parse(text: str) -> Dim:
        """Read the text of a size, exactly as `notation` or `str` writes it."""
        from archdsl.ir.dim_codec import parse_dim

        return parse_dim(text)

    # ---------------------------------------------------------------------------- arithmetic

    def __add__(self, other: Dim | int) -> Dim:
        return _apply(_ADD, self, other)

    def __radd__(self, other: Dim | int) -> Dim:
        return _apply(_ADD, other, self)

    def __sub__(self, other: Dim | int) -> Dim:
        return _apply(_SUBTRACT, self, other)

    def __rsub__(self, other: Dim | int) -> Dim:
        return _apply(_SUBTRACT, other, self)

    def __mul__(self, other: Dim | int) -> Dim:
        return _apply(_MULTIPLY, self, other)

    def __rmul__(self, other: Dim | int) -> Dim:
        return _apply(_MULTIPLY, other, self)

    def __floordiv__(self, other: Dim | int) -> Dim:
        return _apply(_DIVIDE, self, other)

    def __rfloordiv__(self, other: Dim | int) -> Dim:
        return _apply(_DIVIDE, other, self)

    def __mod__(self, other: Dim | int) -> Dim:
        return _apply(_REMAINDER, self, other)

    def __rmod__(self, other: Dim | int) -> Dim:
        return _apply(_REMAINDER, other, self)

    def __pow__(self, exponent: Dim | int) -> Dim:
        return _apply(_POWER, self, exponent)

    def __rpow__(self, base: Dim | int) -> Dim:
        return _apply(_POWER, base, self)

    def __neg__(self) -> Dim:
        return _apply(_SUBTRACT, 0, self)

    def substitute(
        self, values: Mapping[str, Dim | int], origins: Mapping[str, Dim] | None = None
    ) -> Dim:
        """Put sizes in the place of symbols, all at once.

        The origin is dropped, unless `origins` says what its symbols become.
        """
        result = _substitute(self, values)
        if origins is None:
            return result
        return result.with_origin(_substitute(self.origin, origins))

    # --------------------------------------------------------------------------------- origin

    @property
    def origin(self) -> Dim:
        """The expression a person wrote for this size; the size itself when there is none."""
        return self._origin or self

    @property
    def has_origin(self) -> bool:
        """Whether the size was written otherwise than it is."""
        return self._origin is not None

    def with_origin(self, origin: Dim) -> Dim:
        """The same size, remembering how it was written."""
        written = origin.without_origin()
        return self.without_origin() if written == self else Dim(self.polynomial, written)

    def without_origin(self) -> Dim:
        """The same size alone."""
        return self if self._origin is None else Dim.of_polynomial(self.polynomial)

    # ----------------------------------------------------------------------------------- text

    def __repr__(self) -> str:
        written = f" from {self._origin}" if self._origin else ""
        return f"Dim({self}{written})"

    def __copy__(self) -> Dim:
        return self

    def __deepcopy__(self, memo: object) -> Dim:
        return self

    def __reduce__(self) -> tuple[Callable[[Any], Dim], tuple[Any]]:
        from archdsl.ir.dim_codec import dim_from_data, dim_to_data

        return dim_from_data, (dim_to_data(self),)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from archdsl.ir.dim_codec import dim_schema

        return dim_schema()


def _exact_integer(number: int) -> int:
    if type(number) is int:
        return number
    raise TypeError(f"a size is an integer, not {number!r}")


@lru_cache(maxsize=65_536)
def _constant(number: int) -> Dim:
    return Dim(operations.from_constant(number))


@lru_cache(maxsize=65_536)
def _symbol(name: str) -> Dim:
    if not name.isidentifier() or name in RESERVED_NAMES:
        raise ValueError(f"a symbol cannot be called {name!r}")
    return Dim(operations.from_atom(name))


def _substitute(dim: Dim, values: Mapping[str, Dim | int]) -> Dim:
    if dim.symbols.isdisjoint(values):
        return dim.without_origin()
    polynomials = {name: Dim.of(value).polynomial for name, value in values.items()}
    return Dim.of_polynomial(operations.substitute(dim.polynomial, polynomials))


class _Operation(NamedTuple):
    """How an operation is done on integers, on sizes, and on the origins of sizes."""

    on_integers: Callable[[int, int], int]
    on_sizes: Callable[[Dim, Dim], Dim]
    on_origins: Callable[[Dim, Dim], Dim]


def _apply(operation: _Operation, left: Dim | int, right: Dim | int) -> Dim:
    first = left if isinstance(left, Dim) else Dim.constant(left)
    second = right if isinstance(right, Dim) else Dim.constant(right)
    if first.value is not None and second.value is not None:
        result = _constant(operation.on_integers(first.value, second.value))
    else:
        result = operation.on_sizes(first, second)
    if not first.has_origin and not second.has_origin:
        return result
    try:
        written = operation.on_origins(first.origin, second.origin)
    except ArithmeticError:
        # The value stands by itself; only the way it was written is lost.
        return result
    return result.with_origin(written)


def _on_dims(function: Callable[[Polynomial, Polynomial], Polynomial]) -> Callable[[Dim, Dim], Dim]:
    return lambda left, right: Dim.of_polynomial(function(left.polynomial, right.polynomial))


def _cheap(
    on_integers: Callable[[int, int], int],
    function: Callable[[Polynomial, Polynomial], Polynomial],
) -> _Operation:
    return _Operation(on_integers, _on_dims(function), _on_dims(function))


def _costly(
    on_integers: Callable[[int, int], int],
    function: Callable[[Polynomial, Polynomial], Polynomial],
) -> _Operation:
    # The same windows stride over the same sizes again and again.
    remembered = lru_cache(maxsize=8192)(_on_dims(function))
    return _Operation(on_integers, remembered, remembered)


_ADD: Final = _cheap(operator.add, plus)
_SUBTRACT: Final = _cheap(operator.sub, operations.subtract)
_MULTIPLY: Final = _cheap(operator.mul, times)
_DIVIDE: Final = _costly(lambda left, right: left // right, operations.floor_divide)
_REMAINDER: Final = _costly(operator.mod, operations.remainder)
_DIVIDE_UP: Final = _costly(lambda left, right: -(-left // right), operations.divide_up)
_MAXIMUM: Final = _costly(max, operations.maximum)
_MINIMUM: Final = _costly(min, operations.minimum)
_POWER: Final = _Operation(
    operations.integer_power, _on_dims(operations.power), _on_dims(operations.written_power)
)


def check_size(dim: Dim) -> Dim:
    """Refuse a size whose coefficients do not fit in 64 bits."""
    if all(abs(coefficient) < 2**63 for coefficient in dim.polynomial.values()):
        return dim
    raise DimOverflow(f"{str(dim)[:80]} does not fit in 64 bits")


def ceildiv(left: Dim | int, right: Dim | int) -> Dim:
    """The quotient rounded up; a symbolic divisor must be positive."""
    return _apply(_DIVIDE_UP, left, right)


def maximum(left: Dim | int, right: Dim | int) -> Dim:
    """The greater of two sizes."""
    return _apply(_MAXIMUM, left, right)


def minimum(left: Dim | int, right: Dim | int) -> Dim:
    """The lesser of two sizes."""
    return _apply(_MINIMUM, left, right)
