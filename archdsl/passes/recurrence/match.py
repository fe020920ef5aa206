"""Matches the states of a step with the cell of a recurrent operator.

Both are brought to normal form; then the operator's, in which a gate is any affine function of
input and state, is laid over the other one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import cast

import numpy as np

from archdsl.ir.lowering import Operand
from archdsl.ir.op import REGISTRY, CellOp
from archdsl.ir.types import DType, TensorType
from archdsl.passes.recurrence.algebra import (
    Algebra,
    Bias,
    Function,
    NotAlgebraError,
    Product,
    Source,
)
from archdsl.passes.recurrence.interpret import StepGraph
from archdsl.passes.recurrence.values import Columns
from archdsl.weights.tensor_map import Region

OPERATORS = ("LSTM", "GRU", "RNN")

ELEMENT, STATE, INPUT, RECURRENT = "element", "state", "input", "recurrent"
"""What enters the step of a scan, and what enters the cell of an operator beside its states."""

MOST_SIGNS = 3
"""Of so many sigmoids the mirrored form is tried: `sigmoid(x)` is `1 - sigmoid(-x)`."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A region of weights, or its negative."""

    region: Region
    negated: bool


@dataclass(frozen=True, slots=True)
class Affine:
    """What a gate, by its number, takes of the inputs, of a state, or (`both`) of both at once."""

    gate: int
    inputs: tuple[tuple[Signed, Source], ...]
    state: Signed | None
    biases: tuple[Signed, ...]
    number: float

    @property
    def is_both(self) -> bool:
        return bool(self.inputs) and self.state is not None


@dataclass(frozen=True, slots=True)
class Recognised:
    """A cell: the operator, the numbers of its states in the scan, and its affine functions."""

    op: CellOp
    width: int
    states: tuple[int, ...]
    gates: tuple[Affine, ...]


def recognise(
    algebra: Algebra, widths: Sequence[int | None], results: Sequence[Columns | None]
) -> Iterator[Recognised]:
    """The cells that some of the states are, from what a step makes of them."""
    found = [None if c is None or c.codes.ndim != 1 else _single(algebra, c) for c in results]
    templates: dict[CellOp, list[int]] = {}
    for name in OPERATORS:
        kind = cast("type[CellOp]", REGISTRY[name])
        for states in permutations(range(len(widths)), kind.state_count):
            width, sums = widths[states[0]], [found[state] for state in states]
            if width is None or any(s is None or algebra.sums[s].width != width for s in sums):
                continue
            for variant in kind.variants:
                op = kind.model_validate({"hidden_size": width, **variant})
                if op not in templates:
                    templates[op] = _template(StepGraph(algebra), op, width)
                matching = _Matching(algebra, states)
                gates = matching.gates(templates[op], [s for s in sums if s is not None])
                if gates is not None:
                    yield Recognised(op, width, states, gates)
                    break


def _single(algebra: Algebra, columns: Columns) -> int | None:
    try:
        return algebra.single(columns.codes)
    except NotAlgebraError:
        return None


def _template(graph: StepGraph, op: CellOp, width: int) -> list[int]:
    """What the operator's cell makes of its states."""
    algebra = graph.algebra
    row = TensorType.of(DType.FLOAT32, "N", width)
    gates = TensorType.of(DType.FLOAT32, "N", op.gates * width)

    def entering(kind: str, vector: int = 0) -> Operand:
        sums = [algebra.source(f"{kind} {vector}", gate, width) for gate in range(op.gates)]
        codes = np.concatenate([algebra.codes(each) for each in sums])
        return graph.operand(Columns(codes, 0), gates)

    def recurrent(state: Operand) -> Operand:
        vector = cast(Columns, graph.value(state))
        return entering(RECURRENT, cast(int, algebra.single(vector.codes)))

    states = tuple(
        graph.operand(Columns(algebra.codes(algebra.source(STATE, place, width)), 0), row)
        for place in range(op.state_count)
    )
    results = op.step(graph, entering(INPUT), recurrent, states)
    return [cast(int, algebra.single(cast(Columns, graph.value(each)).codes)) for each in results]


_Found = tuple[Affine, ...]
_Terms = Sequence[tuple[int | None, float]]
_Groups = Mapping[tuple[int, ...], _Terms]
"""A sum by what is no affine function in its terms; of that, what is multiplied with it."""


class _Matching:
    """One operator laid over one choice of states."""

    def __init__(self, algebra: Algebra, states: tuple[int, ...]) -> None:
        self._algebra = algebra
        self._states = states

    def gates(self, template: Sequence[int], sums: Sequence[int]) -> tuple[Affine, ...] | None:
        """The affine functions of the gates, if the cell is the operator's."""
        choices = [[each, *self._mirrored(each)] if len(sums) == 1 else [each] for each in sums]
        for first in choices[0]:
            found: list[_Found] = [()]
            for wanted, given in zip(template, [first, *sums[1:]], strict=True):
                found = [after for before in found for after in self._sum(wanted, given, before)]
            for gates in found:
                if len({(each.gate, each.state is None) for each in gates}) == len(gates):
                    return gates
        return None

    # ---------------------------------------------------------------------------------- laying over

    def _sum(self, wanted: int, given: int, found: _Found) -> Iterator[_Found]:
        yield from self._groups(
            list(self._grouped(wanted).items()), list(self._grouped(given).items()), found
        )

    def _grouped(self, number: int) -> _Groups:
        groups: dict[tuple[int, ...], list[tuple[int | None, float]]] = {}
        for atoms, factor in self._algebra.sums[number].terms:
            affine = [atom for atom in atoms if self._is_affine(atom)]
            rest = tuple(atom for atom in atoms if atom not in affine)
            if len(affine) > 1:
                # A product of affine functions: no cell has it, and no group is like it.
                affine, rest = [], atoms
            groups.setdefault(rest, []).append((affine[0] if affine else None, factor))
        return groups

    def _is_affine(self, number: int) -> bool:
        atom = self._algebra.atoms[number]
        if isinstance(atom, Source):
            return atom.kind.startswith((INPUT, RECURRENT))
        return isinstance(atom, Product | Bias)

    def _groups(
        self,
        wanted: list[tuple[tuple[int, ...], _Terms]],
        given: list[tuple[tuple[int, ...], _Terms]],
        found: _Found,
    ) -> Iterator[_Found]:
        if len(wanted) != len(given):
            return
        if not wanted:
            yield found
            return
        atoms, terms = wanted[0]
        for place, (others, their_terms) in enumerate(given):
            rest = given[:place] + given[place + 1 :]
            for between in self._atoms(atoms, others, found):
                for after in self._terms(terms, their_terms, between):
                    yield from self._groups(wanted[1:], rest, after)

    def _atoms(
        self, wanted: tuple[int, ...], given: tuple[int, ...], found: _Found
    ) -> Iterator[_Found]:
        if len(wanted) != len(given):
            return
        if not wanted:
            yield found
            return
        for place, atom in enumerate(given):
            rest = given[:place] + given[place + 1 :]
            for after in self._atom(wanted[0], atom, found):
                yield from self._atoms(wanted[1:], rest, after)

    def _atom(self, wanted: int, given: int, found: _Found) -> Iterator[_Found]:
        match self._algebra.atoms[wanted], self._algebra.atoms[given]:
            case Source(kind=kind, number=place), Source() as other if kind == STATE:
                if other == Source(STATE, self._states[place], 0, 1):
                    yield found
            case Function(name, argument), Function(other, their_argument) if name == other:
                yield from self._sum(argument, their_argument, found)
            case _:
                return

    def _terms(self, wanted: _Terms, given: _Terms, found: _Found) -> Iterator[_Found]:
        """An affine function; in a group that has none, its factor."""
        if wanted[0][0] is None:
            if wanted == given:
                yield found
            return
        sources = [self._algebra.atoms[atom] for atom, _ in wanted if atom is not None]
        gates = [source for source in sources if isinstance(source, Source)]
        takes_input = any(gate.kind.startswith(INPUT) for gate in gates)
        vectors = [int(g.kind.split()[1]) for g in gates if g.kind.startswith(RECURRENT)]
        affine = self._affine(gates[0].number, given)
        if affine is None or bool(affine.inputs) != takes_input:
            return
        products = [self._algebra.atoms[atom] for atom, _ in given if atom is not None]
        states = [p for p in products if isinstance(p, Product) and not self._element(p)]
        if len(states) != len(vectors):
            return
        after: list[_Found] = [found]
        if vectors:
            after = list(self._sum(vectors[0], states[0].vector, found))
        for each in after:
            # A function that came up before, in another term, must be the same.
            yield each if affine in each else (*each, affine)

    def _affine(self, gate: int, given: _Terms) -> Affine | None:
        inputs: list[tuple[Signed, Source]] = []
        states: list[Signed] = []
        biases: list[Signed] = []
        number = 0.0
        for place, factor in given:
            atom = None if place is None else self._algebra.atoms[place]
            if atom is not None and abs(factor) != 1:
                return None
            match atom:
                case None:
                    number += factor
                case Bias(vector):
                    biases.append(Signed(vector, factor < 0))
                case Product(matrix) if (element := self._element(atom)) is not None:
                    inputs.append((Signed(matrix, factor < 0), element))
                case Product(matrix):
                    states.append(Signed(matrix, factor < 0))
                case _:
                    return None
        if len(states) > 1:
            return None
        return Affine(gate, tuple(inputs), states[0] if states else None, tuple(biases), number)

    def _element(self, product: Product) -> Source | None:
        """The features of an element that a matrix is multiplied with."""
        terms = self._algebra.sums[product.vector].terms
        if len(terms) != 1 or len(terms[0][0]) != 1 or terms[0][1] != 1:
            return None
        atom = self._algebra.atoms[terms[0][0][0]]
        return atom if isinstance(atom, Source) and atom.kind == ELEMENT else None

    # -------------------------------------------------------------------------------------- mirrors

    def _mirrored(self, number: int) -> Iterator[int]:
        """The same sum with some of its sigmoids written as `1 - sigmoid(-x)`."""
        algebra = self._algebra
        sigmoids = list(
            dict.fromkeys(
                atom
                for atoms, _ in algebra.sums[number].terms
                for atom in atoms
                if isinstance(function := algebra.atoms[atom], Function)
                and function.name == "Sigmoid"
            )
        )
        for chosen in range(1, 1 << min(len(sigmoids), MOST_SIGNS)):
            mirrored = {atom for bit, atom in enumerate(sigmoids) if chosen >> bit & 1}
            try:
                yield self._with_mirrors(number, mirrored)
            except NotAlgebraError:
                continue

    def _with_mirrors(self, number: int, mirrored: set[int]) -> int:
        algebra, width = self._algebra, self._algebra.sums[number].width
        total = algebra.number(0.0, width)
        for atoms, factor in algebra.sums[number].terms:
            term = algebra.number(factor, width)
            for atom in atoms:
                term = algebra.times(term, self._factor(atom, width, atom in mirrored))
            total = algebra.plus(total, term)
        return total

    def _factor(self, number: int, width: int, is_mirrored: bool) -> int:
        algebra = self._algebra
        function = algebra.atoms[number]
        if not is_mirrored or not isinstance(function, Function):
            return algebra.atom(number, width)
        opposite = algebra.times(algebra.number(-1.0, width), function.argument)
        sigmoid = algebra.function(function.name, opposite)
        return algebra.plus(algebra.number(1.0, width), sigmoid, -1.0)
