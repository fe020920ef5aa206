"""Atoms and monomials of size polynomials, and their text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from archdsl.sizes.dims import Dim

DEEPEST_ATOM: Final = 64
LONGEST_ATOM: Final = 100_000
RESERVED_NAMES: Final = frozenset({"and", "or", "not"})


class DimTooComplex(ArithmeticError):
    """A size whose expression is nested or multiplied out beyond any network's need."""


class CompoundAtom:
    """An integer that is not a polynomial; equal where its canonical text is equal."""

    __slots__ = ("depth", "is_opaque", "symbols", "text")

    text: Final[str]
    symbols: Final[frozenset[str]]
    depth: Final[int]
    is_opaque: Final[bool]

    def __init__(self, text: str, operands: Sequence[Polynomial], symbols: frozenset[str]) -> None:
        self.text = text
        self.symbols = symbols.union(*map(symbols_of, operands))
        self.depth = 1 + max(map(depth_of, operands), default=0)
        self.is_opaque = not operands or any(map(has_opaque, operands))
        if self.depth > DEEPEST_ATOM:
            raise DimTooComplex(f"a size nested {self.depth} deep: {text[:60]}…")
        if len(text) > LONGEST_ATOM:
            raise DimTooComplex(f"a size of {len(text):,} characters: {text[:60]}…")

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, CompoundAtom) and self.text == other.text)

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r})"


class FloorDiv(CompoundAtom):
    """The floor of one size divided by another."""

    __slots__ = ("dividend", "divisor")

    def __init__(self, dividend: Polynomial, divisor: Polynomial) -> None:
        self.dividend: Final = dividend
        self.divisor: Final = divisor
        text = f"{_operand(dividend)}//{_operand(divisor)}"
        super().__init__(text, (dividend, divisor), frozenset())

    @property
    def numerator(self) -> Dim:
        return _dim(self.dividend)

    @property
    def denominator(self) -> Dim:
        return _dim(self.divisor)


class _Choice(CompoundAtom):
    """One of two sizes."""

    __slots__ = ("first", "second")
    function: ClassVar[str]

    def __init__(self, first: Polynomial, second: Polynomial) -> None:
        self.first: Final = first
        self.second: Final = second
        text = f"{self.function}({write_polynomial(first)}, {write_polynomial(second)})"
        super().__init__(text, (first, second), frozenset())

    @property
    def left(self) -> Dim:
        return _dim(self.first)

    @property
    def right(self) -> Dim:
        return _dim(self.second)


class Maximum(_Choice):
    """The greater of two sizes."""

    __slots__ = ()
    function = "max"


class Minimum(_Choice):
    """The lesser of two sizes."""

    __slots__ = ()
    function = "min"


class Opaque(CompoundAtom):
    """An expression that is only written, never computed; it stands in origins alone."""

    __slots__ = ("source",)

    def __init__(self, source: str, symbols: frozenset[str]) -> None:
        if "`" in source:
            raise ValueError(f"an opaque size cannot hold a backquote: {source}")
        self.source: Final = source
        super().__init__(f"opaque({', '.join([f'`{source}`', *sorted(symbols)])})", (), symbols)


Atom = str | FloorDiv | Maximum | Minimum | Opaque
Monomial = tuple[tuple[Atom, int], ...]
Polynomial = Mapping[Monomial, int]
Term = tuple[int, Monomial]

_OPAQUE = re.compile(r"opaque\(`([^`]*)`[^)]*\)")


def _dim(polynomial: Polynomial) -> Dim:
    from archdsl.sizes.dims import Dim

    return Dim.of_polynomial(polynomial)


def constant_value(polynomial: Polynomial) -> int | None:
    """The integer that a polynomial is, when it is constant."""
    if not polynomial:
        return 0
    return polynomial.get(()) if len(polynomial) == 1 else None


def depth_of(polynomial: Polynomial) -> int:
    """How deep divisions, maxima and minima are nested."""
    return max((atom.depth for atom in compound_atoms(polynomial)), default=0)


def has_opaque(polynomial: Polynomial) -> bool:
    """Whether a part of a polynomial is only written and cannot be computed."""
    return any(atom.is_opaque for atom in compound_atoms(polynomial))


def atom_key(atom: Atom) -> tuple[int, str]:
    """Order atoms: symbols by name, then what is computed by its text."""
    return (0, atom) if isinstance(atom, str) else (1, atom.text)


def symbols_of(polynomial: Polynomial) -> frozenset[str]:
    """All symbols in a polynomial, those within its atoms too."""
    names: set[str] = set()
    for monomial in polynomial:
        for atom, _ in monomial:
            if isinstance(atom, str):
                names.add(atom)
            else:
                names.update(atom.symbols)
    return frozenset(names)


def compound_atoms(polynomial: Polynomial) -> Iterable[FloorDiv | Maximum | Minimum | Opaque]:
    """The atoms of a polynomial that are not symbols."""
    return (a for monomial in polynomial for a, _ in monomial if not isinstance(a, str))


def ordered_terms(polynomial: Polynomial) -> tuple[Term, ...]:
    """The terms as they are written: positive before negative, by name, the constant last."""
    pairs = sorted(polynomial.items(), key=_written_place)
    return tuple((coefficient, monomial) for monomial, coefficient in pairs)


def _written_place(item: tuple[Monomial, int]) -> tuple[bool, bool, list[tuple[int, str, int]]]:
    monomial, coefficient = item
    key = [(*atom_key(atom), power) for atom, power in monomial]
    return coefficient < 0, not monomial, key


def sole_atom(polynomial: Polynomial) -> Atom | None:
    """The atom that a polynomial is exactly, if it is one."""
    if len(polynomial) != 1:
        return None
    ((monomial, coefficient),) = polynomial.items()
    if coefficient != 1 or len(monomial) != 1 or monomial[0][1] != 1:
        return None
    return monomial[0][0]


def remainder_form(polynomial: Polynomial) -> tuple[int, FloorDiv, int] | None:
    """Read `multiple * (n % d) + offset` out of a polynomial, as (multiple, n // d, offset)."""
    for monomial, coefficient in polynomial.items():
        division = next(
            (a for a, power in monomial if isinstance(a, FloorDiv) and power == 1), None
        )
        if coefficient > 0 or division is None or len(division.divisor) != 1:
            continue
        ((divisor, scale),) = division.divisor.items()
        cofactor = tuple(pair for pair in monomial if pair[0] != division)
        if cofactor != divisor or coefficient % scale:
            continue
        multiple = -coefficient // scale
        offset = _offset_of_remainder(polynomial, monomial, division, multiple)
        if offset is not None:
            return multiple, division, offset
    return None


def _offset_of_remainder(
    polynomial: Polynomial, skipped: Monomial, division: FloorDiv, multiple: int
) -> int | None:
    rest = {m: c for m, c in polynomial.items() if m and m != skipped}
    numerator = division.dividend
    if rest != {m: c * multiple for m, c in numerator.items() if m}:
        return None
    return polynomial.get((), 0) - multiple * numerator.get((), 0)


def write_polynomial(polynomial: Polynomial) -> str:
    """The exact text of a polynomial, which `Dim.parse` reads back."""
    remainder = remainder_form(polynomial)
    if remainder is not None:
        multiple, division, offset = remainder
        text = f"{_operand(division.dividend)} % {_operand(division.divisor)}"
        text = text if multiple == 1 else f"{multiple}*({text})"
        return text if offset == 0 else f"{text} {_signed(offset)}"
    pieces: list[str] = []
    for coefficient, monomial in ordered_terms(polynomial):
        text = _write_term(
            abs(coefficient), monomial, leads_negative=not pieces and coefficient < 0
        )
        if pieces:
            pieces.append(f" - {text}" if coefficient < 0 else f" + {text}")
        else:
            pieces.append(f"-{text}" if coefficient < 0 else text)
    return "".join(pieces) or "0"


def _signed(offset: int) -> str:
    return f"- {-offset}" if offset < 0 else f"+ {offset}"


def readable(notation: str) -> str:
    """The text for people: opaque expressions as they were written, in brackets."""
    if "`" not in notation:
        return notation
    whole = _OPAQUE.fullmatch(notation)
    return whole[1] if whole else _OPAQUE.sub(r"(\1)", notation)


def _write_term(size: int, monomial: Monomial, *, leads_negative: bool) -> str:
    alone = size == 1 and len(monomial) == 1 and not leads_negative
    factors = [_write_power(atom, power, alone) for atom, power in monomial]
    if size != 1 or not factors:
        factors.insert(0, str(size))
    return "*".join(factors)


def _write_power(atom: Atom, power: int, alone: bool) -> str:
    if isinstance(atom, str):
        text = atom
    else:
        bare = not isinstance(atom, FloorDiv) or (alone and power == 1)
        text = atom.text if bare else f"({atom.text})"
    return text if power == 1 else f"{text}**{power}"


def _operand(polynomial: Polynomial) -> str:
    """The text of one side of a division, in brackets where it needs them."""
    text = write_polynomial(polynomial)
    atom = sole_atom(polynomial)
    if text.isdigit() or (atom is not None and not isinstance(atom, FloorDiv)):
        return text
    return f"({text})"
