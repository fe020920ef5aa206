"""Tiling of operators that work elementwise, row by row, or by moving elements."""

from abc import ABC
from collections.abc import Collection, Sequence
from math import prod

from archdsl.ir.op import Op
from archdsl.ir.tiling import InputAxes, Later, Piece, Seen
from archdsl.ir.types import TensorType
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Facts


class Elementwise(Op, ABC):
    """An operator whose elements each come from the elements at the same place."""

    def piece(self, axis: int, start: Dim, size: Dim, *inputs: TensorType) -> Piece | None:
        return Piece(self, broadcast_axes(axis, inputs))


class Moving(Op, ABC):
    """An operator that only moves elements of one input: what is hidden or zero stays so."""

    def later(
        self,
        row: int,
        column: int,
        known: tuple[Later | Seen | None, ...],
        facts: Facts,
        *inputs: TensorType,
    ) -> Later | Seen | None:
        return known[0]


class Reshaping(Moving, ABC):
    """An operator that gives the elements in their order, in another shape."""

    def keeps_order(self, *inputs: TensorType) -> bool:
        return True


def told(known: Sequence[Later | Seen | None], wanted: Later, result: Later) -> Later | Seen | None:
    """The result if one of the inputs has what is wanted, else why none has it."""
    if wanted in known:
        return result
    return next((each for each in known if isinstance(each, Seen)), None)


def broadcast_axes(
    axis: int, inputs: Sequence[TensorType], *, rank: int | None = None
) -> InputAxes:
    """The axes that are aligned with that of the result, where they are not stretched."""
    whole = max(x.rank for x in inputs) if rank is None else rank
    places = (axis - whole + x.rank for x in inputs)
    return tuple(
        place if place >= 0 and x.dims[place] != 1 else None
        for place, x in zip(places, inputs, strict=True)
    )


def beside(op: Op, axis: int, mixed: Collection[int], inputs: Sequence[TensorType]) -> Piece | None:
    """The piece along any but the mixed axes, which all inputs have at the same position."""
    return None if axis in mixed else Piece(op, (axis,) * len(inputs))


def leading(op: Op, axis: int, count: int, inputs: Sequence[TensorType]) -> Piece | None:
    """The piece along one of the first axes of the first input; the others are taken whole."""
    return Piece(op, (axis, *(None,) * (len(inputs) - 1))) if axis < count else None


def origins(axis: int, places: Sequence[int | None], op: Op) -> Piece | None:
    """The piece where each axis of the result comes from one of the input, or is new (None)."""
    source = places[axis]
    return None if source is None else Piece(op, (source,))


def unmoved(axis: int, before: Sequence[Dim], after: Sequence[Dim]) -> int | None:
    """The axis of a reshaped value that is that axis of the result, if there is one."""
    front = prod(after[:axis], start=Dim.of(1))
    for place, size in enumerate(before):
        if size == after[axis] and prod(before[:place], start=Dim.of(1)) == front:
            return place
    return None


def resized(shape: Sequence[Dim], place: int, size: Dim) -> tuple[Dim, ...]:
    """The shape with that axis of another size; one that follows from the others stays so."""
    return tuple(size if at == place and dim != -1 else dim for at, dim in enumerate(shape))
