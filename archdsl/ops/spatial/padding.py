"""Padding: constant, reflect, replicate and circular."""

from typing import Any, Literal

from archdsl.ir.access import Reach, Sights
from archdsl.ir.lowering import Call, Input, OnnxGraph, Operand
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Op
from archdsl.ir.tiling import Newest, Part, Piece
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.contract._access import through
from archdsl.ops.contract._axes import axis_label, position
from archdsl.ops.contract._fields import Axis, Shape
from archdsl.ops.contract._tiling import beside
from archdsl.ops.elementwise._casting import cast, without_int16
from archdsl.ops.spatial._padding import pad_from_edges
from archdsl.sizes.dims import Dim


class Pad(Op, function="pad"):
    """Pads axes: with a number, by reflection, by replication or circularly.

    `[*A, B] -> [*A, before + B + after]`

    Source: torch.nn.functional.pad; ONNX Pad, Slice, Concat.

    Example: `x -> pad([1, 2], axis=C)`
    """

    positional = ("padding",)

    padding: Shape
    """Two numbers for each axis, the last axis first as in torch; or two for the one `axis`."""
    axis: Axis | None = None
    mode: Literal["constant", "reflect", "replicate", "circular"] = "constant"
    value: float = 0.0
    """What a constant padding is filled with; a negative number of places cuts off instead."""

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        pairs = self._pairs(x)
        if self.mode == "constant":
            self._demand_value(x)
            for place, pair in pairs.items():
                self._demand_cut(check, x, place, pair)
        else:
            self._demand_edges(check, x, pairs)
        return self._result(x)

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        before, _ = self._pairs(inputs[0]).get(axis, (Dim.of(0), Dim.of(0)))
        return through(axis, None if before.value is None else Reach.shifted(-before.value))

    def _pairs(self, x: TensorType) -> dict[int, tuple[Dim, Dim]]:
        """What stands before and after, by axis."""
        if len(self.padding) % 2 or len(self.padding) > 2 * x.rank:
            raise ShapeError(
                f"`padding` has {len(self.padding)} numbers,"
                f" but takes two for each of at most {x.rank} axes of {x}",
                attribute="padding",
            )
        pairs = list(zip(self.padding[::2], self.padding[1::2], strict=True))
        if self.axis is None:
            return {x.rank - 1 - back: pair for back, pair in enumerate(pairs)}
        place = position(x, self.axis)
        if len(pairs) != 1:
            raise ShapeError(
                f"`padding` takes two numbers for one axis, but has {len(self.padding)}",
                attribute="padding",
            )
        return {place: pairs[0]}

    def _flat(self, x: TensorType) -> Shape:
        """The padding in torch's order."""
        if self.axis is None:
            return self.padding
        inner = x.rank - 1 - position(x, self.axis)
        return (*(Dim.of(0),) * (2 * inner), *self.padding)

    def _result(self, x: TensorType) -> TensorType:
        result = x
        for place, (before, after) in self._pairs(x).items():
            result = result.with_dim(place, before + x.dims[place] + after)
        return result

    def _demand_value(self, x: TensorType) -> None:
        if x.dtype.is_floating:
            return
        allowed = (0, 1) if x.dtype is DType.BOOL else (self.value // 1,)
        if self.value not in allowed:
            raise ShapeError(
                f"`value` is {self.value}, which {x.dtype} cannot hold",
                attribute="value",
                code="dtype-mismatch",
            )

    def _demand_cut(
        self, check: Obligations, x: TensorType, place: int, pair: tuple[Dim, Dim]
    ) -> None:
        left = x.dims[place]
        for number in pair:
            if number.value is None:
                check.demand_at_least(number, 0, f"`padding` must not be negative: {number}")
            elif number.value < 0:
                left = left + number
        what = f"`padding` cuts more off than axis {axis_label(x, place)} of {x} has"
        if left != x.dims[place]:
            check.demand_at_least(left, 0, what)

    def _demand_edges(
        self, check: Obligations, x: TensorType, pairs: dict[int, tuple[Dim, Dim]]
    ) -> None:
        x.expect_floating()
        axes = len(self._flat(x)) // 2
        if axes > 3 or x.rank - axes not in (1, 2):
            raise ShapeError(
                f"torch pads with `mode={self.mode}` the last 1, 2 or 3 axes"
                f" after one or two others, not {axes} of {x}",
                attribute="mode",
            )
        for place, pair in pairs.items():
            for number in pair:
                if number.value is None or number.value < 0:
                    raise ShapeError(
                        f"`padding` must be known and not negative with `mode={self.mode}`,"
                        f" but has {number}",
                        attribute="padding",
                    )
                self._demand_source(check, x, place, number.value)

    def _demand_source(self, check: Obligations, x: TensorType, place: int, number: int) -> None:
        """torch mirrors and wraps around at most once."""
        least = {"reflect": number + 1, "circular": number}.get(self.mode, 1)
        check.demand_at_least(
            x.dims[place],
            max(least, 1),
            f"`mode={self.mode}` with padding {number} needs at least {max(least, 1)}"
            f" along axis {axis_label(x, place)}, which is {x.dims[place]} in {x}",
        )

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        padded = [place for place, pair in self._pairs(x).items() if pair != (0, 0)]
        return beside(self, axis, padded, (x,))

    def newest(self, axis: int | None, x: TensorType) -> Newest | None:
        pairs = self._pairs(x)
        if axis not in pairs or self.mode != "constant":
            return None
        after = pairs[axis][1].value
        if after is None or after > 0:
            return None
        # Padded in front the newest place is the same; what is cut off behind came before it.
        inner = 0 if self.axis is not None else 2 * (x.rank - 1 - axis)
        padding = list(self.padding)
        padding[inner : inner + 2] = [Dim.of(0), Dim.of(after)]
        op = self.model_copy(update={"padding": tuple(padding)})
        return Newest(op, ((0, Part(new=axis, last=1 - after)),))

    def torch_call(self, x: TensorType) -> Call:
        keywords: dict[str, Any] = self.changed("mode", "value")
        return Call("F.pad", (Input(0), self._flat(x)), keywords)

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        pairs = self._pairs(x.type)
        every = [pairs.get(place, (Dim.of(0), Dim.of(0))) for place in range(x.type.rank)]
        before, after = [pair[0] for pair in every], [pair[1] for pair in every]
        if not any(number != 0 for number in (*before, *after)):
            return x
        if self.mode != "constant":
            starts = [dim.value or 0 for dim in before]
            ends = [dim.value or 0 for dim in after]
            return pad_from_edges(g, x, starts, ends, self.mode)
        result = self._result(x.type)
        dtype = without_int16(x.type.dtype)
        padded = g.node(
            "Pad",
            cast(g, x, dtype),
            g.shape([*before, *after]),
            g.constant(self.value, dtype),
            type=result.with_dtype(dtype),
        )
        return cast(g, padded, result.dtype)
