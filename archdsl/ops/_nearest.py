"""Which source place torch takes for each target place, and the ONNX forms that agree with it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import floor

from archdsl.ir.dims import Dim
from archdsl.ir.lowering import OnnxGraph, Operand, Unsupported
from archdsl.ir.types import DType, TensorType

_LARGEST_FACTOR = 40
"""Up to here torch's float32 steps give the exact quotient for a whole factor."""

_HALVINGS = tuple(0.5**times for times in range(1, 11))
"""Factors that every step of both is exact with."""

_LONGEST_WRITTEN = 65_536


def float32(number: float) -> float:
    """The nearest single-precision number."""
    return struct.unpack("f", struct.pack("f", number))[0]


@dataclass(frozen=True, slots=True)
class Axis:
    """One spatial axis: its size, the wanted one, the factor if that decides, and the mode."""

    size: Dim
    wanted: Dim
    factor: float | None
    exact: bool

    @property
    def resizes_alike(self) -> bool:
        """Whether Resize provably takes the very places that torch takes."""
        if self.size == self.wanted and (self.factor or 1) == 1:
            return True
        size, wanted = self.size.value, self.wanted.value
        if size is None or wanted is None:
            return self._is_whole_multiple() or self.factor in _HALVINGS
        if max(size, wanted) > _LONGEST_WRITTEN:
            return False
        places = range(wanted)
        return [self._torch(place, size, wanted) for place in places] == [
            self._resize(place, size, wanted) for place in places
        ]

    def _is_whole_multiple(self) -> bool:
        return any(
            self.wanted == self.size * times and self.factor in (None, times)
            for times in range(1, _LARGEST_FACTOR + 1)
        )

    def _torch(self, place: int, size: int, wanted: int) -> int:
        if not self.exact and wanted == size:
            return place
        if not self.exact and wanted == 2 * size:
            return place // 2
        step = float32(1 / self.factor) if self.factor else float32(size / wanted)
        middle = 0.5 if self.exact else 0.0
        return min(floor(float32((place + middle) * step)), size - 1)

    def _resize(self, place: int, size: int, wanted: int) -> int:
        """By ONNX's formula in float32, as ONNX Runtime computes it."""
        step = float32(self.factor or wanted / size)
        if not self.exact:
            return min(floor(float32(place / step)), size - 1)
        source = float32(float32((place + 0.5) / step) - 0.5)
        return max(0, min(floor(source + 0.5), size - 1))

    def gathered(self, g: OnnxGraph, x: Operand, place: int) -> Operand:
        """The places of the axis picked one by one."""
        result = x.type.with_dim(place, self.wanted)
        if self.size == self.wanted and (self.factor or 1) == 1:
            return x
        return g.node("Gather", x, self._places(g), type=result, axis=place)

    def _places(self, g: OnnxGraph) -> Operand:
        size, wanted = self.size.value, self.wanted.value
        if size is not None and wanted is not None and wanted <= _LONGEST_WRITTEN:
            places = [self._torch(place, size, wanted) for place in range(wanted)]
            return g.constant(places, DType.INT64)
        if self.factor is not None and not self._is_whole_multiple():
            raise Unsupported(
                f"torch interpolates {self.size} by the factor {self.factor} in float32 steps"
                " that no ONNX operator follows",
                help="give `size`, a whole `scale_factor`, or `recompute_scale_factor=true`",
            )
        return self._computed(g)

    def _computed(self, g: OnnxGraph) -> Operand:
        """torch's own float32 steps as nodes."""
        line = TensorType.of(DType.FLOAT32, self.wanted)
        whole = line.with_dtype(DType.INT64)
        bounds = [g.size(Dim.of(bound), DType.INT64) for bound in (0, self.wanted, 1)]
        target = g.node("Cast", g.node("Range", *bounds, type=whole), type=line, to=DType.FLOAT32)
        if self.exact:
            target = g.node("Add", target, g.constant(0.5, DType.FLOAT32), type=line)
        scalar = TensorType.of(DType.FLOAT32)
        sizes = [g.size(dim, DType.FLOAT32) for dim in (self.size, self.wanted)]
        step = g.node("Div", *sizes, type=scalar)
        source = g.node("Floor", g.node("Mul", target, step, type=line), type=line)
        source = g.node("Cast", source, type=whole, to=DType.INT64)
        return g.node("Min", source, g.size(self.size - 1, DType.INT64), type=whole)
