"""Positions of tokens: sinusoidal and rotary, ALiBi's slopes, and T5's buckets of distances."""

from __future__ import annotations

from abc import ABC
from math import cos, sin
from typing import Annotated, Any

from pydantic import Field

from archdsl.ir.dims import Dim
from archdsl.ir.lowering import Call, Device, Index, Infix, Input, OnnxGraph, Operand
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Op
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops._angles import (
    LARGEST_WRITTEN,
    Places,
    computed_in,
    converted,
    frequencies,
    numbers,
    torch_angles,
)
from archdsl.ops._buckets import Buckets
from archdsl.ops._casting import cast
from archdsl.ops._fields import Positive
from archdsl.ops._predicate_onnx import arange

Base = Annotated[float, Field(gt=0, allow_inf_nan=False)]

SIN = ("Sin", sin)
COS = ("Cos", cos)


class SinusoidalPositions(Op, function="sinusoidal_positions"):
    """Sines and cosines of each position, of wavelengths from `2 pi` to `2 pi base`.

    `-> [length, width]` or `[*] -> [*, width]`

    For a length, positions count from `start`; a tensor of positions may be given instead.

    Source: Vaswani et al. 2017, section 3.5; torch.sin, torch.cos; ONNX Sin, Cos.

    Example: `sinusoidal_positions(T, 16)`
    """

    positional = ("length", "width")

    length: Dim | None = None
    width: Positive
    start: Dim = Dim.of(0)
    base: Base = 10000.0
    interleaved: bool = True
    """Whether sine and cosine alternate as in the paper, or all sines come before all cosines."""
    dtype: DType = DType.FLOAT32

    def infer(self, check: Obligations, positions: TensorType | None = None) -> TensorType:
        _demand_even(self.width, "width")
        _demand_floating(self.dtype)
        if (positions is None) == (self.length is None):
            given = "both" if positions is not None else "neither"
            raise ShapeError(
                f"`sinusoidal_positions` takes a length or a tensor of positions, but got {given}",
                attribute="length",
            )
        if self.length is not None:
            _demand_length(check, self.length, self.start, "length")
        elif self.start != 0:
            raise _start_beside_positions()
        elif positions is not None and positions.dtype is DType.BOOL:
            raise ShapeError(
                f"positions must be numbers, but are {positions}",
                inputs=(0,),
                code="dtype-mismatch",
            )
        return self._result(positions)

    def _result(self, positions: TensorType | None) -> TensorType:
        if positions is None:
            return TensorType.of(self.dtype, self.length or 0, self.width)
        return positions.with_axis(positions.rank, self.width).with_dtype(self.dtype)

    def torch_call(self, positions: TensorType | None = None) -> Any:
        if self.length is not None:
            places, items = numbers(self.start, self.length), (slice(None), None)
        else:
            places, items = Input(0), (..., None)
        angles = torch_angles(places, items, self.width, self.base, self.dtype)
        sides = (Call(".sin", (angles,)), Call(".cos", (angles,)))
        if self.interleaved:
            return converted(Call(".flatten", (Call("torch.stack", (sides, -1)), -2)), self.dtype)
        return converted(Call("torch.cat", (sides, -1)), self.dtype)

    def onnx(self, g: OnnxGraph, positions: Operand | None = None) -> Operand:
        result = self._result(positions and positions.type)
        if positions is None:
            places = Places(self.start, result.dims[0], 1)
            if places.known is not None and result.dims[0] * self.width <= LARGEST_WRITTEN:
                pass
        else:
            places = Places(self.start, Dim.of(0), 1, tensor=positions)
        return result
