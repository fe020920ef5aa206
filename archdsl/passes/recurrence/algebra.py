"""The normal form of a recurrent step: polynomials over products, gates and states.

What a step computes is `[batch, features]`. A run of features is a sum of terms, each a number
times a product of atoms. Equal sums have equal numbers: comparing them is comparing integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archdsl.weights.tensor_map import Region

MOST_TERMS, MOST_DEPTH, MOST_RUNS = 32, 6, 64
"""No cell has more; what has is of no interest, and would only take time."""

Codes = NDArray[np.int64]
"""A column is its sum's number in the high half, and its place there in the low half."""

_HALF = 32
_LOW = (1 << _HALF) - 1

Terms = tuple[tuple[tuple[int, ...], float], ...]
"""Products of atoms, by their numbers in order, with their factors."""


class NotAlgebraError(Exception):
    """What is computed has no normal form here."""


@dataclass(frozen=True, slots=True)
class Source:
    """Features of what enters a step: the kind of thing it is, which, and the features."""

    kind: str
    number: int
    start: int
    step: int


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix of weights, `[out, in]`, times the features that are a sum."""

    matrix: Region
    vector: int


@dataclass(frozen=True, slots=True)
class Bias:
    """A vector of weights."""

    vector: Region


@dataclass(frozen=True, slots=True)
class Function:
    """A function of every feature of a sum."""

    name: str
    argument: int


Atom = Source | Product | Bias | Function


@dataclass(frozen=True, slots=True)
class Sum:
    """So many features that are each this sum of terms, nested so deep."""

    width: int
    terms: Terms
    depth: int


class Algebra:
    """All sums and atoms that came up, each once."""

    def __init__(self) -> None:
        self.atoms: list[Atom] = []
        self.sums: list[Sum] = []
        self._atoms: dict[Atom, int] = {}
        self._sums: dict[Sum, int] = {}

    # ------------------------------------------------------------------------------- making sums

    def number(self, value: float, width: int) -> int:
        """The same number everywhere."""
        return self._sum(width, {(): value}, 0)

    def source(self, kind: str, number: int, width: int) -> int:
        """All features of something that enters."""
        return self.atom(self._atom(Source(kind, number, 0, 1)), width)

    def bias(self, vector: Region) -> int:
        """A vector of weights, the same for the whole batch."""
        return self.atom(self._atom(Bias(vector)), vector.shape[0])

    def product(self, matrix: Region, vector: int) -> int:
        """A matrix times features."""
        return self.atom(self._atom(Product(matrix, vector)), matrix.shape[0])

    def function(self, name: str, argument: int) -> int:
        """A function of features."""
        return self.atom(self._atom(Function(name, argument)), self.sums[argument].width)

    def plus(self, first: int, second: int, factor: float = 1.0) -> int:
        """The first, and so many times the second."""
        one, other = self.sums[first], self.sums[second]
        terms = dict(one.terms)
        for atoms, number in other.terms:
            terms[atoms] = terms.get(atoms, 0.0) + factor * number
        return self._sum(one.width, terms, max(one.depth, other.depth))

    def times(self, first: int, second: int) -> int:
        """The product of each two features."""
        one, other = self.sums[first], self.sums[second]
        terms: dict[tuple[int, ...], float] = {}
        for left, number in one.terms:
            for right, factor in other.terms:
                atoms = tuple(sorted((*left, *right)))
                terms[atoms] = terms.get(atoms, 0.0) + number * factor
        return self._sum(one.width, terms, max(one.depth, other.depth))

    def atom(self, number: int, width: int) -> int:
        """An atom alone, by its number."""
        match self.atoms[number]:
            case Product(vector=inner) | Function(argument=inner):
                depth = self.sums[inner].depth + 1
            case _:
                depth = 0
        return self._sum(width, {(number,): 1.0}, depth)

    def _atom(self, atom: Atom) -> int:
        known = self._atoms.get(atom)
        if known is None:
            known = self._atoms[atom] = len(self.atoms)
            self.atoms.append(atom)
        return known

    def _sum(self, width: int, terms: dict[tuple[int, ...], float], depth: int) -> int:
        kept = tuple(sorted((atoms, number) for atoms, number in terms.items() if number != 0))
        if len(kept) > MOST_TERMS or depth > MOST_DEPTH:
            raise NotAlgebraError
        whole = Sum(width, kept, depth)
        known = self._sums.get(whole)
        if known is None:
            known = self._sums[whole] = len(self.sums)
            self.sums.append(whole)
        return known

    # ------------------------------------------------------------------------------ parts of sums

    def part(self, whole: int, start: int, step: int, count: int) -> int:
        """Some of the features of a sum; the depth of sums bounds how deep this goes."""
        given = self.sums[whole]
        if (start, step, count) == (0, 1, given.width):
            return whole
        terms = {
            tuple(sorted(self._part(atom, start, step, count) for atom in atoms)): number
            for atoms, number in given.terms
        }
        return self._sum(count, terms, given.depth)

    def _part(self, number: int, start: int, step: int, count: int) -> int:
        match self.atoms[number]:
            case Source(kind, which, first, distance):
                atom: Atom = Source(kind, which, first + distance * start, distance * step)
            case Product(matrix, vector):
                atom = Product(matrix.part(0, start, step, count), vector)
            case Bias(vector):
                atom = Bias(vector.part(0, start, step, count))
            case Function(name, argument):
                atom = Function(name, self.part(argument, start, step, count))
        return self._atom(atom)

    # ------------------------------------------------------------------------------------ columns

    def codes(self, whole: int) -> Codes:
        """The columns that are the features of a sum."""
        return (whole << _HALF) + np.arange(self.sums[whole].width, dtype=np.int64)

    def whole(self, code: int) -> int:
        """The sum that a column is part of."""
        return code >> _HALF

    def runs(self, *rows: Codes) -> Iterator[list[int]]:
        """Rows of columns side by side, cut where one of them is no longer part of one sum."""
        length, start = len(rows[0]), 0
        steps = [np.diff(row) for row in rows]
        for _ in range(MOST_RUNS):
            if start == length:
                return
            stop = min(map(_end, rows, steps, [start] * len(rows)))
            yield [self._run(row[start:stop]) for row in rows]
            start = stop
        if start < length:
            raise NotAlgebraError

    def _run(self, row: Codes) -> int:
        start = int(row[0])
        step = int(row[1]) - start if len(row) > 1 else 1
        return self.part(start >> _HALF, start & _LOW, step, len(row))

    def single(self, row: Codes) -> int | None:
        """The sum that a row of columns is part of, if it is one."""
        found = list(self.runs(row))
        return found[0][0] if len(found) == 1 else None


def _end(row: Codes, steps: Codes, start: int) -> int:
    """Where the run ends that begins there: it keeps to one sum, at equal distances."""
    same = (row[start:] >> _HALF) == (row[start] >> _HALF)
    last = int(np.argmin(same)) if not same.all() else len(same)
    if last < 2:
        return start + 1
    equal = steps[start : start + last - 1] == steps[start]
    return start + (int(np.argmin(equal)) + 1 if not equal.all() else last)
