"""A canonical integer expression, and everything that can be asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from archdsl.ir import operations
from archdsl.ir.atoms import (
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
from archdsl.ir.bounds import Range, interval


class Expression:
    """An immutable polynomial over symbols and compound atoms, equal by its canonical form."""

    __slots__ = ("_hash", "_symbols", "_text", "polynomial", "value")

    polynomial: Polynomial
    value: int | None
    """The integer, when the size is constant."""

    if TYPE_CHECKING:
        _hash: int | None
        _symbols: frozenset[str] | None
        _text: str | None

    def __init__(self, polynomial: Polynomial) -> None:
        """Wrap a polynomial that is canonical already."""
        store = object.__setattr__
        store(self, "polynomial", polynomial)
        store(self, "value", constant_value(polynomial))
        store(self, "_hash", None)
        store(self, "_symbols", None)
        store(self, "_text", None)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a size cannot be changed: {name}")

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, Expression):
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

    @property
    def notation(self) -> str:
        """The exact canonical text, which `parse` reads back."""
        if self._text is None:
            object.__setattr__(self, "_text", write_polynomial(self.polynomial))
        return self._text or ""

    def __str__(self) -> str:
        return readable(self.notation)
