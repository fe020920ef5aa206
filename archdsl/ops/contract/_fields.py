"""Types of attributes that several operators share."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import Field

from archdsl.ir.types import MOST_AXES, ShapeError
from archdsl.sizes.dims import Dim

MOST_PARTS = 10_000

Positive = Annotated[int, Field(ge=1, lt=2**31)]
NonNegative = Annotated[int, Field(ge=0, lt=2**31)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Axis = int | str
"""An axis by position (negative from the end) or by name."""

Size = Positive | tuple[Positive, ...]
"""One number for every spatial axis, or one for each."""

Offset = NonNegative | tuple[NonNegative, ...]
"""As `Size`, zero allowed."""

Shape = Annotated[tuple[Dim, ...], Field(max_length=2 * MOST_AXES)]
"""Sizes that may be symbolic, one for each axis or two."""

Parts = Annotated[tuple[Dim, ...], Field(max_length=MOST_PARTS)]
"""Sizes of the parts that one value is taken into."""


def number_of_parts(count: int) -> int:
    """The number of outputs, if one operator can have so many."""
    if count > MOST_PARTS:
        raise ShapeError(f"at most {MOST_PARTS:,} parts can be made at once, not {count:,}")
    return count


Number = TypeVar("Number", bound=float | None)


def per_axis(value: Number | tuple[Number, ...], rank: int, attribute: str) -> tuple[Number, ...]:
    """One number for each of `rank` axes, from a number or a tuple of exactly that length."""
    if not isinstance(value, tuple):
        return (value,) * rank
    if len(value) != rank:
        raise ShapeError(
            f"`{attribute}` has {len(value)} numbers, but the input has {rank} spatial axes",
            attribute=attribute,
        )
    return value
