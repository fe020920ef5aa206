"""Tensor types: a dtype, and a size and a name for every axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from archdsl.sizes.dims import Dim

if TYPE_CHECKING:
    from archdsl.sizes.conditions import Condition

MOST_AXES = 64
"""PyTorch takes no more axes in many of its operators."""


class DType(StrEnum):
    """Element types, under torch's names."""

    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    UINT8 = "uint8"
    BOOL = "bool"

    @property
    def is_floating(self) -> bool:
        return self.name.startswith(("FLOAT", "BFLOAT"))

    @property
    def is_integer(self) -> bool:
        return self.name.startswith(("INT", "UINT"))


class ShapeError(Exception):
    """An operator cannot take these inputs; carries facts, the semantics add the place.

    `inputs` are the positions of the inputs at fault; `attribute` names the attribute at fault;
    `counterexample` is a size of each dim for which it goes wrong, `note` what happens there;
    `condition` is the demand on sizes that does not hold, if it is one.
    """

    def __init__(
        self,
        message: str,
        *,
        help: str | None = None,
        inputs: Sequence[int] = (),
        attribute: str | None = None,
        counterexample: dict[str, int] | None = None,
        note: str | None = None,
        condition: Condition | None = None,
        code: str = "shape-mismatch",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.help = help
        self.inputs = tuple(inputs)
        self.attribute = attribute
        self.counterexample = counterexample
        self.note = note
        self.condition = condition
        self.code = code


@dataclass(frozen=True, slots=True)
class TensorType:
    """`float32[N, 64, H, W]`: element type, dims, and a name (or None) for every axis."""

    dtype: DType
    dims: tuple[Dim, ...]
    axes: tuple[str | None, ...]

    @staticmethod
    def of(dtype: DType, *dims: Dim | int | str, axes: Sequence[str | None] = ()) -> TensorType:
        """A type from dims given as ints, symbol names or dims; a lone symbol names its axis."""
        sizes = tuple(Dim.of(dim) for dim in dims)
        names = tuple(axes) or tuple(size.symbol_name for size in sizes)
        return TensorType(dtype, sizes, names)

    @property
    def rank(self) -> int:
        return len(self.dims)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.dims))}]"

    def with_dims(self, *dims: Dim | int) -> TensorType:
        """The same axes with other sizes (the rank stays)."""
        sizes = tuple(Dim.of(dim) for dim in dims)
        assert len(sizes) == self.rank
        return TensorType(self.dtype, sizes, self.axes)

    def with_dim(self, axis: int, dim: Dim | int) -> TensorType:
        """The same type with one axis of another size."""
        dims = list(self.dims)
        dims[axis] = Dim.of(dim)
        return TensorType(self.dtype, tuple(dims), self.axes)

    def substitute(self, sizes: Mapping[str, Dim]) -> TensorType:
        """The type with sizes put in the place of symbols."""
        if all(dim.symbols.isdisjoint(sizes) for dim in self.dims):
            return self
        return TensorType(self.dtype, tuple(dim.substitute(sizes) for dim in self.dims), self.axes)

    def with_dtype(self, dtype: DType) -> TensorType:
        return self if dtype is self.dtype else TensorType(dtype, self.dims, self.axes)

    def without_axis(self, axis: int) -> TensorType:
        """The type with one axis removed."""
        return TensorType(
            self.dtype,
            self.dims[:axis] + self.dims[axis + 1 :],
            self.axes[:axis] + self.axes[axis + 1 :],
        )

    def with_axis(self, axis: int, dim: Dim | int, name: str | None = None) -> TensorType:
        """The type with a new axis inserted before position `axis`."""
        return TensorType(
            self.dtype,
            (*self.dims[:axis], Dim.of(dim), *self.dims[axis:]),
            (*self.axes[:axis], name, *self.axes[axis:]),
        )

    def axis(self, axis: int | str) -> int:
        """The position, from 0, of an axis given by name or by (possibly negative) position."""
        if isinstance(axis, str):
            return self._named_axis(axis)
        if not -self.rank <= axis < self.rank:
            raise ShapeError(
                f"axis {axis} does not exist in {self}, which has {self.rank} axes",
                attribute="axis",
                code="unknown-axis",
            )
        return axis % self.rank

    def _named_axis(self, name: str) -> int:
        places = [place for place, axis in enumerate(self.axes) if axis == name]
        if len(places) == 1:
            return places[0]
        named = ", ".join(axis for axis in self.axes if axis) or "none"
        problem = "names more than one axis of" if places else "names no axis of"
        raise ShapeError(
            f"`{name}` {problem} {self}; its named axes are: {named}",
            help="name an axis of the value, or give its position as an integer",
            attribute="axis",
            code="unknown-axis",
        )

    def expect_rank(self, *ranks: int, what: str = "the input") -> None:
        """Refuse any other rank."""
        if self.rank not in ranks:
            allowed = " or ".join(map(str, ranks))
            raise ShapeError(f"{what} must have {allowed} axes, but is {self}", inputs=(0,))

    def expect_floating(self, what: str = "the input") -> None:
        """Refuse integers and booleans."""
        if not self.dtype.is_floating:
            raise ShapeError(
                f"{what} must be floating point, but is {self}",
                help="convert it with `cast(float32)`",
                inputs=(0,),
                code="dtype-mismatch",
            )
