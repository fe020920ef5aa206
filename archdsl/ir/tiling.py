"""Tiling: how a range of positions of an operator's output is computed from parts of its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archdsl.ir.op import Op

InputAxes = tuple[int | None, ...]
"""For each input the position of one of its axes, or None."""


class Later(Enum):
    """What stands in a row at all columns that are later than the row."""

    HIDDEN = auto()
    """Numbers so low that softmax makes 0 of them; something else stands in every row."""
    ZERO = auto()
    """Zeros."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A later column is not hidden; a sentence says which, for example."""

    example: str


@dataclass(frozen=True, slots=True)
class Piece:
    """An operator that makes just some neighbouring places of what another one makes.

    It takes of each input just those places too, along the axis given, or the whole input (None).
    """

    op: Op
    axes: InputAxes


@dataclass(frozen=True, slots=True)
class Prefix:
    """An operator that may be given the first places only, and what is missed is told here.

    If `later` is not None, one of its inputs must have that at the places that are left out.
    """

    op: Op
    later: Later | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What is taken of a value: of one axis the newest place, of another all places up to it."""

    new: int | None = None
    all: int | None = None
    last: int = 1
    """How many of the newest places are taken along `new`."""


@dataclass(frozen=True, slots=True)
class Newest:
    """An operator that makes the newest place alone, with the parts of inputs that it takes."""

    op: Op
    inputs: Sequence[tuple[int, Part]]


States = tuple[tuple[int, int], ...]
"""The states of a recurrence: the input each begins as, the output that is its last one."""
