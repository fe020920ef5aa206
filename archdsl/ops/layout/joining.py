"""Concatenation and splitting."""

from collections.abc import Sequence

from pydantic import Field

from archdsl.ir.access import SAME, Sight, Sights
from archdsl.ir.lowering import AllInputs, Call, Input, OnnxGraph, Operand
from archdsl.ir.obligations import SETTLED, Obligations
from archdsl.ir.op import Op
from archdsl.ir.tiling import Piece
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.contract._access import all_but
from archdsl.ops.contract._axes import axis_label, position, shared_name, torch_axis
from archdsl.ops.contract._fields import Axis, Parts, Positive, number_of_parts
from archdsl.ops.contract._tiling import Moving, beside
from archdsl.ops.layout import _pattern
from archdsl.sizes.dims import Dim, ceildiv
from archdsl.sizes.proof import Compare


class Concat(Op, function="concat"):
    """Concatenates tensors along an axis.

    `[*A, B, *C], [*A, B', *C], … -> [*A, B + B' + …, *C]`

    Source: torch.cat; ONNX Concat.

    Example: `x -> concat(axis=C) { a: identity; b: relu }`
    """

    positional = ("axis",)

    axis: Axis

    def infer(self, check: Obligations, *xs: TensorType) -> TensorType:
        _demand_values(xs, "concat")
        _demand_same_kind(xs, "concat")
        place = position(xs[0], self.axis)
        result = xs[0]
        for number, other in enumerate(xs[1:], 1):
            self._demand_axis(other, place, number)
            _demand_fit(check, result, other, number, place)
            total = result.dims[place] + other.dims[place]
            result = _with_shared_names(result, other).with_dim(place, total)
        axes = list(result.axes)
        axes[place] = xs[0].axes[place] or axes[place]
        return TensorType(result.dtype, result.dims, tuple(axes))

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        if axis == position(inputs[0], self.axis):
            return None
        return tuple(Sight(number, axis, SAME) for number in range(len(inputs)))

    def _demand_axis(self, x: TensorType, place: int, number: int) -> None:
        """An axis that is given by name must not be another one in a further value."""
        if isinstance(self.axis, str) and self.axis in x.axes and x.axes[place] != self.axis:
            raise ShapeError(
                f"`{self.axis}` is axis {place} of the first value,"
                f" but axis {x.axes.index(self.axis)} of value {number + 1}, {x}",
                inputs=(0, number),
                attribute="axis",
            )

    def piece(self, axis: int, start: Dim, size: Dim, *xs: TensorType) -> Piece | None:
        return beside(self, axis, (position(xs[0], self.axis),), xs)

    def torch_call(self, *xs: TensorType) -> Call:
        return Call("torch.cat", (AllInputs(),), {"dim": torch_axis(xs[0], self.axis)})

    def onnx(self, g: OnnxGraph, *xs: Operand) -> Operand:
        types = [x.type for x in xs]
        result = self.infer(SETTLED, *types)
        return g.node("Concat", *xs, type=result, axis=position(types[0], self.axis))


class Stack(Op, function="stack"):
    """Concatenates tensors along a new axis.

    `[*A, *B], [*A, *B], … -> [*A, K, *B]`

    Source: torch.stack; ONNX Unsqueeze, Concat.

    Example: `x -> stack(axis=1) { a: identity; b: relu }`
    """

    positional = ("axis",)

    axis: int = 0

    def infer(self, check: Obligations, *xs: TensorType) -> TensorType:
        _demand_values(xs, "stack")
        _demand_same_kind(xs, "stack")
        result = xs[0]
        for number, other in enumerate(xs[1:], 1):
            _demand_fit(check, result, other, number, None)
            result = _with_shared_names(result, other)
        return result.with_axis(new_place(result, self.axis), len(xs))

    def piece(self, axis: int, start: Dim, size: Dim, *xs: TensorType) -> Piece | None:
        place = new_place(xs[0], self.axis)
        return None if axis == place else Piece(self, (axis - (axis > place),) * len(xs))

    def torch_call(self, *xs: TensorType) -> Call:
        return Call("torch.stack", (AllInputs(),), {"dim": self.axis} if self.axis != 0 else {})

    def onnx(self, g: OnnxGraph, *xs: Operand) -> Operand:
        result = self.infer(SETTLED, *(x.type for x in xs))
        place = new_place(xs[0].type, self.axis)
        axes = g.constant([place], DType.INT64)
        raised = [g.node("Unsqueeze", x, axes, type=x.type.with_axis(place, 1)) for x in xs]
        return g.node("Concat", *raised, type=result, axis=place) if len(xs) > 1 else raised[0]


class Split(Moving, function="split"):
    """Splits a tensor along an axis: into equal parts, parts of given sizes, or by a pattern.

    `[*A, B, *C] -> [*A, B', *C], …`

    Source: torch.Tensor.split, torch.chunk, einops.rearrange; ONNX Split.

    Example: `a, b = x -> split(2, axis=C)`
    """

    positional = ("parts",)

    parts: Dim | Parts | str
    """How many equal parts, or the size of each, or a pattern like `N (3 h e) -> 3 N h e`."""
    axis: Axis | None = None
    sizes: dict[str, Dim] = Field(default_factory=dict[str, Dim])
    """The sizes of the pattern's axes that the input does not tell."""

    def infer(self, check: Obligations, x: TensorType) -> tuple[TensorType, ...]:
        if isinstance(self.parts, str):
            return _pattern.Splitting(check, self.parts, self.sizes, x).outputs
        if self.sizes:
            raise ShapeError("`split` takes sizes of axes only with a pattern", attribute="sizes")
        place = self._place(x)
        if isinstance(self.parts, Dim):
            check.demand_multiple(
                x.dims[place],
                self._count(self.parts),
                f"axis {axis_label(x, place)} of {x} does not split into {self.parts} equal parts",
            )
        else:
            self._demand_sizes(check, x, place, self.parts)
        return tuple(x.with_dim(place, size) for size in self._sizes(x, place))

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        return None if self.axis is None else all_but(axis, (self._place(inputs[0]),))

    def _demand_sizes(self, check: Obligations, x: TensorType, place: int, sizes: Parts) -> None:
        if not sizes:
            raise ShapeError("`split` into no parts at all", attribute="parts")
        for size in sizes:
            check.demand_at_least(size, 0, f"the size of a part cannot be negative: {size}")
        check.demand_equal(
            Dim.total(sizes),
            x.dims[place],
            f"the parts add up to {Dim.total(sizes)},"
            f" but axis {axis_label(x, place)} of {x} has size {x.dims[place]}",
            inputs=(0,),
        )

    def _place(self, x: TensorType) -> int:
        if self.axis is None:
            raise ShapeError("`split` needs an `axis`, or a pattern", attribute="axis")
        return position(x, self.axis)

    def _sizes(self, x: TensorType, place: int) -> Parts:
        if isinstance(self.parts, tuple):
            return self.parts
        assert isinstance(self.parts, Dim)
        count = self._count(self.parts)
        return (x.dims[place] // count,) * count

    def _count(self, parts: Dim) -> int:
        if parts.value is None or parts.value < 1:
            raise ShapeError(
                f"`split` into equal parts needs their number, not {parts}", attribute="parts"
            )
        return number_of_parts(parts.value)

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        if isinstance(self.parts, str):
            return _pattern.split_piece(self, self.sizes, self.parts, axis, size)
        return beside(self, axis, (self._place(x),), (x,))

    def torch_call(self, x: TensorType) -> Call:
        if isinstance(self.parts, str):
            return _pattern.Splitting(SETTLED, self.parts, self.sizes, x).torch_call()
        assert self.axis is not None
        target = ".split" if isinstance(self.parts, tuple) else ".chunk"
        return Call(target, (Input(0), self.parts), {"dim": torch_axis(x, self.axis)})

    def onnx(self, g: OnnxGraph, x: Operand) -> tuple[Operand, ...]:
        if isinstance(self.parts, str):
            return _pattern.Splitting(SETTLED, self.parts, self.sizes, x.type).onnx(g, x)
        place = self._place(x.type)
        return split(g, x, place, self._sizes(x.type, place))


class Chunk(Moving, function="chunk"):
    """Splits a tensor into parts of equal size; the last one may be smaller.

    `[*A, B, *C] -> [*A, B', *C], …`

    Source: torch.chunk; ONNX Split.

    Example: `a, b = x -> chunk(2, axis=C)`
    """

    positional = ("chunks", "axis")

    chunks: Positive
    axis: Axis

    def infer(self, check: Obligations, x: TensorType) -> tuple[TensorType, ...]:
        place = position(x, self.axis)
        *_, last = self._sizes(x, place)
        check.demand(
            Compare(last, ">=", Dim.of(1)),
            f"torch.chunk does not always make {self.chunks} parts"
            f" of axis {axis_label(x, place)} of {x}: the last one would have the size {last}",
            inputs=(0,),
        )
        return tuple(x.with_dim(place, part) for part in self._sizes(x, place))

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        return all_but(axis, (position(inputs[0], self.axis),))

    def _sizes(self, x: TensorType, place: int) -> list[Dim]:
        size = x.dims[place]
        number_of_parts(self.chunks)
        whole = ceildiv(size, self.chunks)
        return [whole] * (self.chunks - 1) + [size - whole * (self.chunks - 1)]

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return beside(self, axis, (position(x, self.axis),), (x,))

    def torch_call(self, x: TensorType) -> Call:
        return Call(".chunk", (Input(0), self.chunks), {"dim": torch_axis(x, self.axis)})

    def onnx(self, g: OnnxGraph, x: Operand) -> tuple[Operand, ...]:
        place = position(x.type, self.axis)
        return split(g, x, place, self._sizes(x.type, place))


def split(g: OnnxGraph, x: Operand, place: int, sizes: Sequence[Dim]) -> tuple[Operand, ...]:
    """The node that takes `x` apart; equal parts are only counted."""
    types = [x.type.with_dim(place, size) for size in sizes]
    if len(sizes) == 1:
        return (Operand(x.name, types[0]),)
    if any(size != sizes[0] for size in sizes):
        return g.nodes("Split", x, g.shape(sizes), types=types, axis=place)
    count = {"num_outputs": len(sizes)} if g.opset >= 18 else {}
    return g.nodes("Split", x, types=types, axis=place, **count)


def new_place(x: TensorType, axis: int) -> int:
    """The position of an axis that is to be inserted."""
    if not -x.rank - 1 <= axis <= x.rank:
        raise ShapeError(
            f"a new axis of {x} can stand at {-x.rank - 1} to {x.rank}, not at {axis}",
            attribute="axis",
            code="unknown-axis",
        )
    return axis % (x.rank + 1)


def _demand_values(xs: Sequence[TensorType], name: str) -> None:
    if not xs:
        raise ShapeError(f"`{name}` takes at least 1 value, but got none")


def _demand_same_kind(xs: Sequence[TensorType], name: str) -> None:
    for number, x in enumerate(xs):
        if x.rank != xs[0].rank:
            raise ShapeError(
                f"`{name}` takes values of as many axes: the first is {xs[0]},"
                f" value {number + 1} is {x}",
                inputs=(0, number),
            )
        if x.dtype is not xs[0].dtype:
            raise ShapeError(
                f"`{name}` takes values of one element type: the first is {xs[0]},"
                f" value {number + 1} is {x}",
                help=f"convert one with `cast({xs[0].dtype})`",
                inputs=(0, number),
                code="dtype-mismatch",
            )


def _demand_fit(
    check: Obligations, first: TensorType, other: TensorType, number: int, free: int | None
) -> None:
    for place, (left, right) in enumerate(zip(first.dims, other.dims, strict=True)):
        if place != free:
            check.demand_equal(
                left,
                right,
                f"axis {axis_label(first, place)} is {left} in the first value,"
                f" but {right} in value {number + 1}, {other}",
                inputs=(0, number),
            )


def _with_shared_names(first: TensorType, other: TensorType) -> TensorType:
    names = map(shared_name, first.axes, other.axes)
    return TensorType(first.dtype, first.dims, tuple(names))
