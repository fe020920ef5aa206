"""Conditions on positions, and the attention masks they define.

A symbol of such a condition is an index when it is the name of an axis, or `_2` for the axis at
position 2; the other symbols are sizes. Names and positions do not mix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from archdsl.ir.obligations import Obligations
from archdsl.ir.tiling import Later, Seen
from archdsl.ir.types import ShapeError, TensorType
from archdsl.sizes.conditions import All, Compare, Condition
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Facts

_POSITION = re.compile(r"_(\d+)")
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def places(predicate: Condition, x: TensorType) -> dict[str, int]:
    """The symbols that are indices, each with the position of its axis."""
    symbols = sorted(predicate.symbols)
    by_position = {name: int(found[1]) for name in symbols if (found := _POSITION.fullmatch(name))}
    if not by_position:
        return {name: _named(predicate, name, x) for name in symbols if name in x.axes}
    for name, place in by_position.items():
        if place >= x.rank:
            raise _unknown_axis(f"`{name}` of `{predicate}` is no axis of {x}", x)
    return by_position


def _named(predicate: Condition, name: str, x: TensorType) -> int:
    if x.axes.count(name) > 1:
        raise _unknown_axis(f"`{name}` of `{predicate}` names more than one axis of {x}", x)
    return x.axes.index(name)


def _unknown_axis(message: str, x: TensorType) -> ShapeError:
    named = ", ".join(axis for axis in x.axes if axis) or "none"
    return ShapeError(
        f"{message}; its named axes are: {named}",
        help="name axes of the value, or say `_0` for the first axis, `_1` for the second …",
        inputs=(0,),
        attribute="predicate",
        code="unknown-axis",
    )


def by_position(predicate: Condition, x: TensorType) -> Condition:
    """The same condition with positions in the place of names."""
    return predicate.substitute(
        {name: Dim.of(f"_{place}") for name, place in places(predicate, x).items()}
    )


def check_predicate(check: Obligations, predicate: Condition, x: TensorType) -> None:
    """Refuse a condition that is not about axes of `x`, or that provably never holds."""
    found = places(predicate, x)
    strange = sorted(predicate.symbols - found.keys() - _sizes(check, x))
    if strange and not any(map(_POSITION.fullmatch, found)):
        raise _unknown_axis(f"`{strange[0]}` of `{predicate}` names no axis of {x}", x)
    if not found:
        raise _unknown_axis(f"`{predicate}` names no axis of {x}", x)
    grid = Grid.of(predicate, x)
    facts = check.facts
    for name, size in grid.sizes.items():
        facts = facts.with_symbol(name, 0).assume(Compare(Dim.of(name), "<", size))
    if facts.prove(grid.predicate.negated()).proved:
        raise ShapeError(
            f"`{predicate}` holds nowhere in {x}, so nothing would be kept",
            inputs=(0,),
            attribute="predicate",
        )


def keeps_some(facts: Facts, grid: Grid, columns: Dim) -> bool:
    """Whether every row provably keeps some of that many columns.

    Only what a row keeps at its own place, at the first or at the last column is found.
    """
    for name, size in grid.sizes.items():
        facts = facts.with_symbol(name, 0).assume(Compare(Dim.of(name), "<", size))
    found = [Dim.of(0), columns - 1]
    rows = grid.sizes.get("_2")
    if rows is not None and facts.prove(Compare(rows, "<=", columns)).proved:
        found.insert(0, Dim.of("_2"))
    return any(facts.prove(grid.predicate.substitute({"_1": place})).proved for place in found)


def over_places(facts: Facts, x: TensorType) -> Facts:
    """The facts, and that the symbols of axes by position are places along them."""
    for place, size in enumerate(x.dims):
        facts = facts.with_symbol(f"_{place}", 0).assume(Compare(Dim.of(f"_{place}"), "<", size))
    return facts


def hides_later(
    predicate: Condition, x: TensorType, row: int, column: int, facts: Facts, *, any_kept: bool
) -> Later | Seen | None:
    """Whether in every row no later column is kept, but one that is not later, if that matters."""
    facts = over_places(facts, x)
    of_row, of_column = Dim.of(f"_{row}"), Dim.of(f"_{column}")
    hidden = facts.assume(Compare(of_column, ">", of_row)).prove(predicate.negated())
    if not hidden.proved:
        sizes = hidden.counterexample or {}
        query, key = (sizes.get(f"_{axis}", 0) for axis in (row, column))
        return Seen(f"place {query} sees place {key}") if sizes else None
    kept = (predicate.substitute({f"_{column}": place}) for place in (of_row, Dim.of(0)))
    if any_kept and not any(facts.prove(condition).proved for condition in kept):
        return Seen("where nothing is kept, all are alike, also later ones")
    return Later.HIDDEN


def _sizes(check: Obligations, x: TensorType) -> set[str]:
    facts = check.facts
    parts = [dim.symbols for dim in x.dims] + [fact.symbols for fact in facts.assumptions]
    return set(facts.minimums).union(*parts)


@dataclass(frozen=True, slots=True)
class Grid:
    """A condition whose indices are called `_1` for the last axis, `_2` for the one before …"""

    predicate: Condition
    sizes: Mapping[str, Dim]
    """The size of each axis that it is about, under the index's name."""
    rank: int
    """How many of the last axes it needs."""

    @staticmethod
    def of(predicate: Condition, x: TensorType) -> Grid:
        found = places(predicate, x)
        names = {name: Dim.of(f"_{x.rank - place}") for name, place in found.items()}
        sizes = {f"_{x.rank - place}": x.dims[place] for place in found.values()}
        return Grid(predicate.substitute(names), sizes, x.rank - min(found.values()))

    @property
    def dims(self) -> tuple[Dim, ...]:
        """The size of each of the last axes, 1 where the condition is not about it."""
        backs = range(self.rank, 0, -1)
        return tuple(self.sizes.get(f"_{back}", Dim.of(1)) for back in backs)

    @property
    def is_causal(self) -> bool:
        """Whether it keeps the columns that are not later than the row, and no others."""
        return self.bands(self.predicate) == (Band(False, Dim.of(0)),)

    def bands(self, condition: Condition) -> tuple[Band, ...] | None:
        """The diagonals of the last two axes between which a condition holds, if it is that."""
        if set(condition.symbols).intersection(self.sizes) != {"_1", "_2"}:
            return None
        parts = condition.parts if isinstance(condition, All) else (condition,)
        found = [_band(part) for part in parts]
        known = [bands for bands in found if bands is not None]
        return sum(known, ()) if len(known) == len(found) else None


@dataclass(frozen=True, slots=True)
class Band:
    """All on one side of a diagonal and the diagonal itself, `k` places right of the main one."""

    upper: bool
    k: Dim


def _band(condition: Condition) -> tuple[Band, ...] | None:
    """What `_1 - _2 <= k` and the like keep."""
    if not isinstance(condition, Compare):
        return None
    difference, relation = condition.difference, condition.relation
    columns, rows = Dim.of("_1"), Dim.of("_2")
    if difference.coefficient("_1") == -1:
        difference, relation = -difference, _MIRRORED.get(relation, relation)
    k = columns - rows - difference
    if not k.symbols.isdisjoint({"_1", "_2"}):
        return None
    match relation:
        case "<=":
            return (Band(False, k),)
        case "<":
            return (Band(False, k - 1),)
        case ">=":
            return (Band(True, k),)
        case ">":
            return (Band(True, k + 1),)
        case "==":
            return (Band(False, k), Band(True, k))
        case _:
            return None
