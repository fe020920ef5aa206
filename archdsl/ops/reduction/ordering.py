"""Sort and top-k."""

from abc import ABC
from collections.abc import Mapping
from typing import ClassVar

from archdsl.ir.lowering import Call, Input, OnnxGraph, Operand
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Op
from archdsl.ir.tiling import Piece
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.contract._axes import axis_label, position, torch_axis
from archdsl.ops.contract._fields import Axis
from archdsl.ops.contract._tiling import beside
from archdsl.ops.elementwise._casting import cast
from archdsl.sizes.dims import Dim

_FIRST = '''
def first_sorted(x, count, axis, descending):
    """The first elements along an axis in their order, equal ones as they stand, and where."""
    values, places = torch.sort(x, dim=axis, descending=descending, stable=True)
    return values.narrow(axis, 0, count), places.narrow(axis, 0, count)
'''
_ORDERED = (DType.FLOAT32, DType.FLOAT64, DType.INT32, DType.INT64)
"""What runtimes have kernels for."""


class _Ordering(Op, ABC):
    """Elements along an axis by their size; equal ones stay as they stand."""

    axis: Axis = -1

    def _types(self, x: TensorType, count: Dim) -> tuple[TensorType, TensorType]:
        values = x.with_dim(position(x, self.axis), count)
        return values, values.with_dtype(DType.INT64)

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return beside(self, axis, (position(x, self.axis),), (x,))

    def _place(self, x: TensorType) -> int:
        if x.rank == 0:
            raise ShapeError(f"there is nothing to order in {x}", inputs=(0,))
        return position(x, self.axis)


class Sort(_Ordering, function="sort"):
    """Sorts the elements along an axis and returns values and indices; the sort is stable.

    `[*A, B, *C] -> [*A, B, *C], int64[*A, B, *C]`

    NaN is greater than every number.

    Source: torch.sort; ONNX TopK.

    Example: `x -> sort(axis=C, descending=true)`
    """

    positional = ("axis",)
    leading_outputs = 1

    descending: bool = False

    def infer(self, check: Obligations, x: TensorType) -> tuple[TensorType, TensorType]:
        return self._types(x, x.dims[self._place(x)])

    def torch_call(self, x: TensorType) -> Call:
        return _torch_sort("sort", x, self.axis, descending=self.descending)

    def onnx(self, g: OnnxGraph, x: Operand) -> tuple[Operand, ...]:
        place = position(x.type, self.axis)
        return _first(g, x, place, x.type.dims[place], largest=self.descending)


class ArgSort(_Ordering, function="argsort"):
    """The indices that sort the elements along an axis; the sort is stable.

    `[*] -> int64[*]`

    NaN is greater than every number.

    Source: torch.argsort; ONNX TopK.

    Example: `x -> argsort(axis=C)`
    """

    positional = ("axis",)

    descending: bool = False

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        return self._types(x, x.dims[self._place(x)])[1]

    def torch_call(self, x: TensorType) -> Call:
        return _torch_sort("argsort", x, self.axis, descending=self.descending)

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        place = position(x.type, self.axis)
        return _first(g, x, place, x.type.dims[place], largest=self.descending)[1]


class TopK(_Ordering, function="topk"):
    """The k largest or smallest elements along an axis, sorted, and their indices.

    `[*A, B, *C] -> [*A, k, *C], int64[*A, k, *C]`

    Of equal elements the first ones are returned. NaN is greater than every number.

    Source: torch.topk; ONNX TopK.

    Example: `x -> topk(1, axis=C)`
    """

    positional = ("k", "axis")
    torch_functions: ClassVar[Mapping[str, str]] = {"first_sorted": _FIRST}
    leading_outputs = 1

    k: Dim
    largest: bool = True

    def infer(self, check: Obligations, x: TensorType) -> tuple[TensorType, TensorType]:
        place = self._place(x)
        size = x.dims[place]
        check.demand_at_least(self.k, 0, f"`topk` cannot take {self.k} elements")
        what = f"`topk` takes {self.k} elements, but axis {axis_label(x, place)} of {x} has {size}"
        check.demand_at_least(size - self.k, 0, what)
        return self._types(x, self.k)

    def torch_call(self, x: TensorType) -> Call:
        axis = torch_axis(x, self.axis)
        return Call("first_sorted", (Input(0), self.k, axis, self.largest))

    def onnx(self, g: OnnxGraph, x: Operand) -> tuple[Operand, ...]:
        return _first(g, x, position(x.type, self.axis), self.k, largest=self.largest)


def _torch_sort(name: str, x: TensorType, axis: Axis, *, descending: bool) -> Call:
    keywords = {"dim": torch_axis(x, axis), "descending": descending, "stable": True}
    return Call(f"torch.{name}", (Input(0),), keywords)


def _first(
    g: OnnxGraph, x: Operand, place: int, count: Dim, *, largest: bool
) -> tuple[Operand, ...]:
    values = x.type.with_dim(place, count)
    key = _key(g, x)
    found, places = g.nodes(
        "TopK",
        key,
        g.shape([count]),
        types=[values.with_dtype(key.type.dtype), values.with_dtype(DType.INT64)],
        axis=place,
        largest=int(largest),
    )
    if key.name != x.name:
        found = g.node("GatherElements", x, places, type=values, axis=place)
    return found, places


def _key(g: OnnxGraph, x: Operand) -> Operand:
    """What is ordered as the elements are: ONNX says nothing of the place of NaN."""
    dtype = x.type.dtype
    if not dtype.is_floating:
        return cast(g, x, dtype if dtype in _ORDERED else DType.INT32)
    x = cast(g, x, dtype if dtype in _ORDERED else DType.FLOAT32)
    largest = g.constant(_LARGEST[x.type.dtype], x.type.dtype)
    finite = g.node("Min", x, largest, type=x.type)
    infinite = g.constant(float("inf"), x.type.dtype)
    nan = g.node("IsNaN", x, type=x.type.with_dtype(DType.BOOL))
    return g.node("Where", nan, infinite, finite, type=x.type)


_LARGEST = {DType.FLOAT32: 3.4028234663852886e38, DType.FLOAT64: 1.7976931348623157e308}
