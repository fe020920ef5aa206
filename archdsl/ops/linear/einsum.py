"""Einsum and rearrange: operators with patterns of named axes."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from archdsl.ir.lowering import OnnxGraph, Operand
from archdsl.ir.obligations import SETTLED, Obligations
from archdsl.ir.op import Op
from archdsl.ir.tiling import InputAxes, Later, Piece, Prefix
from archdsl.ir.types import ShapeError, TensorType
from archdsl.ops.contract._tiling import Moving
from archdsl.ops.layout._pattern import (
    Binding,
    Pattern,
    Rearrangement,
    axis_of,
    bad_pattern,
    factors,
    pattern_piece,
    read,
)
from archdsl.ops.linear._contraction import Contraction
from archdsl.sizes.dims import Dim

_MOST_AXES = 52
"""torch.einsum has a letter for that many."""


class Rearrange(Moving, function="rearrange"):
    """Splits, reorders and merges axes.

    `[*A] -> [*B]`

    Source: einops.rearrange; torch reshape and permute; ONNX Reshape, Transpose.

    Example: `x -> rearrange("N (g c) -> N c g", g=2)`
    """

    positional = ("pattern",)

    pattern: str
    sizes: dict[str, Dim] = Field(default_factory=dict[str, Dim])
    """The sizes of axes that the input does not tell."""

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        return Rearrangement(check, read(self.pattern), self.sizes, x).result

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return pattern_piece(self, self.sizes, self.pattern, axis, size)

    def keeps_order(self, *inputs: TensorType) -> bool:
        return Rearrangement(SETTLED, read(self.pattern), self.sizes, inputs[0]).keeps_order

    def torch_call(self, x: TensorType) -> Any:
        return Rearrangement(SETTLED, read(self.pattern), self.sizes, x).torch_call()

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        return Rearrangement(SETTLED, read(self.pattern), self.sizes, x.type).onnx(g, x)


class Einsum(Op, function="einsum"):
    """The product of the inputs, summed over the axes that are missing in the result.

    `[*A], [*B], … -> [*C]`

    Source: torch.einsum; ONNX MatMul, Mul, ReduceSum, and Einsum for diagonals.

    Example: `einsum("N i, N j -> N i j", x, x)`
    """

    positional = ("pattern",)

    pattern: str
    sizes: dict[str, Dim] = Field(default_factory=dict[str, Dim])
    """The sizes of axes that the inputs do not tell."""

    def infer(self, check: Obligations, *xs: TensorType) -> TensorType:
        pattern = self._read(xs)
        for number, x in enumerate(xs):
            x.expect_floating(f"input {number + 1}")
            if x.dtype is not xs[0].dtype:
                raise ShapeError(
                    f"`einsum` takes values of one element type, but got {xs[0]} and {x}",
                    inputs=(0, number),
                    code="dtype-mismatch",
                )
        binding = Binding(check, pattern, self.sizes, xs)
        return binding.side_type(pattern.output, xs[0].dtype)

    def _read(self, xs: Sequence[TensorType]) -> Pattern:
        pattern = read(self.pattern)
        if len(pattern.inputs) != len(xs):
            raise bad_pattern(
                pattern.text, f"it has {len(pattern.inputs)} inputs, but got {len(xs)}"
            )
        wanted = factors(pattern.output)
        known = {name for side in pattern.inputs for name in factors(side)}
        for name in wanted:
            if name not in known:
                raise bad_pattern(pattern.text, f"`{name}` stands on the right only")
            if wanted.count(name) > 1:
                raise bad_pattern(pattern.text, f"`{name}` stands twice on the right")
        if len(known) > _MOST_AXES:
            raise bad_pattern(pattern.text, f"it has more than {_MOST_AXES} axes")
        return pattern

    def _contraction(self, xs: Sequence[TensorType]) -> Contraction:
        pattern = read(self.pattern)
        return Contraction(pattern, Binding(SETTLED, pattern, self.sizes, xs), xs[0].dtype)

    def piece(self, axis: int, start: Dim, size: Dim, *xs: TensorType) -> Piece | None:
        return pattern_piece(self, self.sizes, self.pattern, axis, size)

    def prefix(self, axes: InputAxes, *xs: TensorType) -> Prefix | None:
        pattern = read(self.pattern)
        names = {
            side[axis] for side, axis in zip(pattern.inputs, axes, strict=True) if axis is not None
        }
        places = [axis_of(side, *names) for side in pattern.inputs] if len(names) == 1 else []
        summed = not names & set(pattern.output) and tuple(places) == axes
        return Prefix(self, Later.ZERO) if summed else None

    def macs(self, *xs: TensorType) -> Dim:
        return self._contraction(xs).macs()

    def torch_call(self, *xs: TensorType) -> Any:
        return self._contraction(xs).torch_call()

    def onnx(self, g: OnnxGraph, *xs: Operand) -> Operand:
        return self._contraction([x.type for x in xs]).onnx(g, *xs)
