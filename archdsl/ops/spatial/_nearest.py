"""Nearest-neighbour resizing: torch's source index, and the ONNX forms that agree with it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import floor

from archdsl.ir.lowering import OnnxGraph, Operand, Unsupported
from archdsl.ir.types import DType, TensorType
from archdsl.sizes.dims import Dim

_LARGEST_FACTOR = 40
"""Up to here torch's float32 steps give the exact quotient for a whole factor."""

_HALVINGS = tuple(0.5**times for times in range(1, 11))
"""Factors that every float32 step is exact with."""

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
    """Whether a place is meant by its middle (`nearest-exact`) and not by its edge."""

    @property
    def resizes_alike(self) -> bool:
        """Whether Resize takes the very places that torch takes."""
        size, wanted = self.size.value, self.wanted.value
        if size is None or wanted is None:
            return self.is_whole
        if max(size, wanted) > _LONGEST_WRITTEN:
            return False
        places = self._written(size, wanted)
        if size == wanted:
            # ONNX Runtime leaves an axis that keeps its size as it is, whatever the factor.
            return places == list(range(size))
        return places == [self._resize(place, size, wanted) for place in range(wanted)]

    @property
    def is_whole(self) -> bool:
        """Whether every place is an exact quotient, so that no rounding matters."""
        return self.factor in _HALVINGS or any(
            self.wanted == self.size * times and self.factor in (None, times)
            for times in range(1, _LARGEST_FACTOR + 1)
        )

    # ------------------------------------------------------------------------- places as numbers

    def _written(self, size: int, wanted: int) -> list[int]:
        step = float32(1 / self.factor if self.factor else size / wanted)
        source = self._middle if self.exact else self._edge
        places = [min(source(place, step), size - 1) for place in range(wanted)]
        # For two axes torch copies or doubles by the sizes alone, whatever the factor is.
        by_size = [place * size // wanted for place in range(wanted)]
        if not self.exact and wanted in (size, 2 * size) and places != by_size:
            raise self._two_minds()
        return places

    def _edge(self, place: int, step: float) -> int:
        return floor(float32(place * step))

    def _middle(self, place: int, step: float) -> int:
        """torch's kernels for one and for two axes differ where a middle falls on an edge."""
        product = (place + 0.5) * step
        fused, rounded = float32(product - 0.5), float32(float32(product) - 0.5)
        if floor(float32(fused + 0.5)) != floor(float32(rounded + 0.5)):
            raise self._two_minds()
        return max(0, floor(float32(rounded + 0.5)))

    def _resize(self, place: int, size: int, wanted: int) -> int:
        """By ONNX's formula in float32, as ONNX Runtime computes it."""
        step = float32(self.factor or wanted / size)
        if not self.exact:
            return min(floor(float32(place / step)), size - 1)
        source = float32(float32((place + 0.5) / step) - 0.5)
        return max(0, min(floor(source + 0.5), size - 1))

    def _two_minds(self) -> Unsupported:
        return Unsupported(
            f"torch's kernels for one and for two axes differ where {self.size} places are"
            f" interpolated to {self.wanted}, which ONNX cannot follow",
            help="use a whole `scale_factor`, or `size` with `mode=nearest`",
        )

    # --------------------------------------------------------------------------- places as nodes

    def gathered(self, g: OnnxGraph, x: Operand, place: int) -> Operand:
        """The places of the axis picked one by one."""
        if self.size == self.wanted and (self.factor or 1) == 1:
            return x
        size, wanted = self.size.value, self.wanted.value
        if size is not None and wanted is not None and wanted <= _LONGEST_WRITTEN:
            places = g.constant(self._written(size, wanted), DType.INT64)
        else:
            places = self._computed(g)
        return g.node("Gather", x, places, type=x.type.with_dim(place, self.wanted), axis=place)

    def _computed(self, g: OnnxGraph) -> Operand:
        """torch's own float32 steps as nodes."""
        factor = self.factor or 1
        if self.exact or 1 < factor < 1.5 or 2 < factor < 2.5:
            raise self._two_minds()
        line = TensorType.of(DType.FLOAT32, self.wanted)
        whole = line.with_dtype(DType.INT64)
        bounds = [g.size(Dim.of(bound), DType.INT64) for bound in (0, self.wanted, 1)]
        target = g.node("Cast", g.node("Range", *bounds, type=whole), type=line, to=DType.FLOAT32)
        source = g.node("Floor", g.node("Mul", target, self._step(g), type=line), type=line)
        source = g.node("Cast", source, type=whole, to=DType.INT64)
        return g.node("Min", source, g.size(self.size - 1, DType.INT64), type=whole)

    def _step(self, g: OnnxGraph) -> Operand:
        if self.factor is not None:
            return g.constant(1 / self.factor, DType.FLOAT32)
        sizes = [g.size(dim, DType.FLOAT32) for dim in (self.size, self.wanted)]
        return g.node("Div", *sizes, type=TensorType.of(DType.FLOAT32))
