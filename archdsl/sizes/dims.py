"""Sizes of axes: canonical integer polynomials over symbols and floor divisions."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from archdsl.sizes import operations
from archdsl.sizes.atoms import (
    RESERVED_NAMES,
    Atom,
    DimTooComplex,
    FloorDiv,
    Maximum,
    Minimum,
    Monomial,
    Opaque,
    Polynomial,
    Term,
    constant_value,
    depth_of,
    has_opaque,
    ordered_terms,
    readable,
    sole_atom,
    symbols_of,
    write_polynomial,
)
from archdsl.sizes.bounds import Range, interval
from archdsl.sizes.polynomials import add_scaled, plus, times

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


class Dim:
    """An integer size: an immutable polynomial, equal exactly when its canonical form is equal.

    It may remember its `origin`, the expression a person wrote for it, which `==` ignores.
    """

    __slots__ = ("_hash", "_origin", "_symbols", "_text", "polynomial", "value")

    polynomial: Polynomial
    value: int | None
    """The integer, when the size is constant."""

    if TYPE_CHECKING:
        _hash: int | None
        _origin: Dim | None
        _symbols: frozenset[str] | None
        _text: str | None

    def __init__(self, polynomial: Polynomial, origin: Dim | None = None) -> None:
        """Wrap a polynomial that is canonical already; use `of`, `symbol` and `constant`."""
        store = object.__setattr__
        store(self, "polynomial", polynomial)
        store(self, "value", constant_value(polynomial))
        store(self, "_hash", None)
        store(self, "_origin", origin)
        store(self, "_symbols", None)
        store(self, "_text", None)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a size cannot be changed: {name}")

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, Dim):
            if self.value is not None or other.value is not None:
                return self.value == other.value
            return hash(self) == hash(other) and self.polynomial == other.polynomial
        return self.value == other if isinstance(other, int) else NotImplemented

    def __hash__(self) -> int:
        if self._hash is None:
            known = self.value is not None
            result = hash(self.value) if known else hash(frozenset(self.polynomial.items()))
            object.__setattr__(self, "_hash", result)
            return result
        return self._hash

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
        from archdsl.sizes.dim_codec import parse_dim

        return parse_dim(text)

    # ----------------------------------------------------------------------------- questions

    @property
    def symbols(self) -> frozenset[str]:
        """The names of all symbols in the size."""
        if self._symbols is None:
            object.__setattr__(self, "_symbols", symbols_of(self.polynomial))
        return self._symbols or frozenset()

    @property
    def symbol_name(self) -> str | None:
        """The name, when the size is exactly one symbol."""
        atom = sole_atom(self.polynomial)
        return atom if isinstance(atom, str) else None

    @property
    def terms(self) -> tuple[Term, ...]:
        """(coefficient, ((atom, power), …)) for each term, as the text orders them."""
        return ordered_terms(self.polynomial)

    @property
    def depth(self) -> int:
        """How deep divisions, maxima and minima are nested."""
        return depth_of(self.polynomial)

    @property
    def is_opaque(self) -> bool:
        """Whether a part of the size is only written and cannot be computed."""
        return has_opaque(self.polynomial)

    def coefficient(self, *symbols: str) -> int:
        """The coefficient of a product of distinct symbols; of the constant, when none is given."""
        return self.polynomial.get(tuple((name, 1) for name in sorted(symbols)), 0)

    def divisible_by(self, divisor: int) -> bool:
        """Whether every coefficient is a multiple of the divisor."""
        return all(coefficient % divisor == 0 for coefficient in self.polynomial.values())

    def evaluate(self, sizes: Mapping[str, int]) -> int:
        """The integer at these sizes; KeyError where one is missing."""
        return operations.evaluate(self.polynomial, sizes)

    def lower_bound(self, bounds: Mapping[str, int], default: int = 1) -> int | None:
        """A bound from below, where every symbol is at least its bound; None if none is seen."""
        return interval(
            self.polynomial, {name: (low, None) for name, low in bounds.items()}, (default, None)
        )[0]

    def upper_bound(
        self, bounds: Mapping[str, int], default: int = 1, most: Mapping[str, int] | None = None
    ) -> int | None:
        """A bound from above, where symbols are at least `bounds` and at most `most`."""
        most = most or {}
        ranges: dict[str, Range] = {
            name: (bounds.get(name, default), most.get(name)) for name in {*bounds, *most}
        }
        return interval(self.polynomial, ranges, (default, None))[1]

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

    @property
    def notation(self) -> str:
        """The exact canonical text, which `parse` reads back."""
        if self._text is None:
            object.__setattr__(self, "_text", write_polynomial(self.polynomial))
        return self._text or ""

    def __str__(self) -> str:
        return readable(self.notation)

    def __repr__(self) -> str:
        written = f" from {self._origin}" if self._origin else ""
        return f"Dim({self}{written})"

    def __copy__(self) -> Dim:
        return self

    def __deepcopy__(self, memo: object) -> Dim:
        return self

    def __reduce__(self) -> tuple[Callable[[Any], Dim], tuple[Any]]:
        from archdsl.sizes.dim_codec import dim_from_data, dim_to_data

        return dim_from_data, (dim_to_data(self),)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from archdsl.sizes.dim_codec import dim_schema

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
