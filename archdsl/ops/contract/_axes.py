"""Axes by name or position: resolving them, and writing them for torch."""

from __future__ import annotations

from archdsl.ir.types import ShapeError, TensorType
from archdsl.ops.contract._fields import Axis
from archdsl.sizes.dims import Dim

Axes = Axis | tuple[Axis, ...]
"""One axis or several."""


def position(x: TensorType, axis: Axis | Dim) -> int:
    """The place of an axis, from 0."""
    value = axis.value if isinstance(axis, Dim) else axis
    assert value is not None
    return x.axis(value)


def positions(x: TensorType, axes: Axes) -> tuple[int, ...]:
    """The places of axes that must be different, in the order given."""
    places = tuple(position(x, axis) for axis in as_tuple(axes))
    for place in places:
        if places.count(place) > 1:
            raise ShapeError(
                f"axis {x.axes[place] or place} of {x} is named more than once", attribute="axis"
            )
    return places


def as_tuple(axes: Axes) -> tuple[Axis, ...]:
    """One axis or several as a tuple."""
    return axes if isinstance(axes, tuple) else (axes,)


def torch_axis(x: TensorType, axis: Axis) -> Axis:
    """What torch is given for an axis: a position as it was written, the place of a name."""
    return x.axis(axis) if isinstance(axis, str) else axis


def torch_axes(x: TensorType, axes: Axes) -> Axis | tuple[Axis, ...]:
    """What torch is given for one or several axes."""
    if isinstance(axes, tuple):
        return tuple(torch_axis(x, axis) for axis in axes)
    return torch_axis(x, axes)


def axis_label(x: TensorType, place: int) -> str:
    """How an axis is called in a message."""
    return x.axes[place] or str(place)


def shared_name(first: str | None, second: str | None) -> str | None:
    """The name of an axis that two values share: where they differ it has none."""
    if first is None or second is None:
        return first or second
    return first if first == second else None
