"""Types of attributes that operators share: their domains in one place."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import Field

from archdsl.ir.dims import Dim
from archdsl.ir.types import ShapeError

Positive = Annotated[int, Field(ge=1, lt=2**31)]
NonNegative = Annotated[int, Field(ge=0, lt=2**31)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Axis = int | str
"""An axis by position (negative from the end) or by name."""

Size = Positive | tuple[Positive, ...]
"""One number for every spatial axis, or one for each."""

Offset = NonNegative | tuple[NonNegative, ...]
"""As `Size`, zero allowed."""

Shape = tuple[Dim, ...]
"""Sizes that may be symbolic."""


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
