"""Interpolation."""

from fractions import Fraction
from math import ceil, floor
from typing import Any, Literal

from archdsl.ir.access import LONGEST_PERIOD, SAME, Field, Reach, Sights
from archdsl.ir.lowering import Call, Input, Module, OnnxGraph, Operand, Unsupported
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Op
from archdsl.ir.tiling import Piece
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.contract._access import through
from archdsl.ops.contract._axes import axis_label
from archdsl.ops.contract._fields import Shape, per_axis
from archdsl.ops.contract._tiling import leading
from archdsl.ops.elementwise.activation import PositiveFinite
from archdsl.ops.spatial import _nearest
from archdsl.ops.spatial._nearest import float32
from archdsl.ops.spatial.pool import AdaptiveAvgPool
from archdsl.sizes.dims import Dim

_LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}
_EXACT_IN_FLOAT32 = 2**24
_RANKS = {"bilinear": (4,), "trilinear": (5,), "bicubic": (4,)}


class Interpolate(Op, layer="Upsample", function="interpolate"):
    """Resizes the spatial axes by interpolation.

    `[N, C, *S] -> [N, C, *S']`

    Source: torch.nn.functional.interpolate; ONNX Resize, Gather.

    Example: `x -> Upsample(scale_factor=2.0, mode="nearest")`
    """

    positional = ("size",)

    size: Dim | Shape | None = None
    """The new size of every spatial axis, or of each."""
    scale_factor: PositiveFinite | tuple[PositiveFinite, ...] | None = None
    """What the sizes are multiplied by; the result is rounded down."""
    mode: Literal[
        "nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic", "area"
    ] = "nearest"
    align_corners: bool = False
    antialias: bool = False
    recompute_scale_factor: bool = False
    """Interpolate by the ratio of the sizes, not by `scale_factor` itself."""

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        x.expect_rank(*_RANKS.get(self.mode, (3, 4, 5)))
        x.expect_floating()
        self._demand_options(x)
        result = self._result(x)
        for place in range(2, x.rank):
            label = axis_label(x, place)
            check.demand_at_least(x.dims[place], 1, f"axis {label} of {x} must not be empty")
            check.demand_at_least(
                result.dims[place],
                1,
                f"axis {label} of {x} would become {result.dims[place]}, which is less than 1",
            )
        return result

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        return through(axis, SAME if axis < 2 else self._reach(inputs[0], axis))

    def _demand_options(self, x: TensorType) -> None:
        if (self.size is None) == (self.scale_factor is None):
            raise ShapeError(
                "`interpolate` needs either `size` or `scale_factor`", attribute="size"
            )
        if self.recompute_scale_factor and self.scale_factor is None:
            raise ShapeError(
                "`recompute_scale_factor` means something only with `scale_factor`",
                attribute="recompute_scale_factor",
            )
        smooth = self.mode in ("linear", "bilinear", "trilinear", "bicubic")
        if self.align_corners and not smooth:
            raise ShapeError(
                f"`align_corners` means nothing with `mode={self.mode}`", attribute="align_corners"
            )
        if self.antialias and not (smooth and x.rank == 4):
            raise ShapeError(
                f"torch knows `antialias` for two linear or cubic axes,"
                f" not for `mode={self.mode}` of {x}",
                attribute="antialias",
            )

    def _factors(self, x: TensorType) -> tuple[float, ...]:
        assert self.scale_factor is not None
        return per_axis(self.scale_factor, x.rank - 2, "scale_factor")

    def _result(self, x: TensorType) -> TensorType:
        if self.size is not None:
            return x.with_dims(*x.dims[:2], *self._sizes(x, self.size))
        sizes = map(_scaled, x.dims[2:], self._factors(x))
        return x.with_dims(*x.dims[:2], *sizes)

    def _given(self) -> Shape:
        """The sizes that were written."""
        if self.size is None:
            return ()
        return self.size if isinstance(self.size, tuple) else (self.size,)

    def _sizes(self, x: TensorType, size: Dim | Shape) -> Shape:
        if isinstance(size, Dim):
            return (size,) * (x.rank - 2)
        if len(size) != x.rank - 2:
            raise ShapeError(
                f"`size` has {len(size)} numbers, but {x} has {x.rank - 2} spatial axes",
                attribute="size",
            )
        return size

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return leading(self, axis, 2, (x,))

    def _reach(self, x: TensorType, axis: int) -> Reach | None:
        """The pixels that a pixel is made of, where the ratio of the sizes is always the same."""
        if self.scale_factor is not None and not self.recompute_scale_factor:
            ratio = Fraction(self._factors(x)[axis - 2])
        else:
            ratio = _ratio(self._result(x).dims[axis], x.dims[axis])
        if ratio == 1:
            return SAME
        if ratio is None or self.align_corners or self.antialias:
            return None
        if ratio.numerator > LONGEST_PERIOD:
            return None
        sources = (self._sources(Fraction(place), ratio) for place in range(ratio.numerator))
        return Reach.scaled(Field(ratio.denominator, tuple(sources)).shortest())

    def _sources(self, place: Fraction, ratio: Fraction) -> tuple[int, int]:
        """The first and the last of the pixels that a pixel is made of."""
        middle = (place + Fraction(1, 2)) / ratio - Fraction(1, 2)
        below = floor(middle)
        match self.mode:
            case "nearest":
                return floor(place / ratio), floor(place / ratio)
            case "nearest-exact":
                return floor(middle + Fraction(1, 2)), floor(middle + Fraction(1, 2))
            case "area":
                return floor(place / ratio), ceil((place + 1) / ratio) - 1
            case _ if middle == below:
                return below, below
            case "bicubic":
                return below - 1, below + 2
            case _:
                return below, below + 1

    # ---------------------------------------------------------------------------------- torch

    def torch_module(self, x: TensorType) -> Module:
        if self.antialias:
            raise Unsupported(
                "nn.Upsample does not know `antialias`", help="use the function `interpolate`"
            )
        if any(size.value is None for size in self._given()):
            raise Unsupported(
                f"nn.Upsample needs known sizes, not {self.size}",
                help="use the function `interpolate`",
            )
        return Module("nn.Upsample", (), self._keywords(x))

    def torch_call(self, x: TensorType) -> Call:
        return Call("F.interpolate", (Input(0),), self._keywords(x))

    def _keywords(self, x: TensorType) -> dict[str, Any]:
        keywords = self.changed("size", "scale_factor")
        if self.mode != "nearest":
            keywords["mode"] = _LINEAR[x.rank] if self.mode == "linear" else self.mode
        return keywords | self.changed("align_corners", "antialias", "recompute_scale_factor")

    # ----------------------------------------------------------------------------------- ONNX

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        result = self._result(x.type)
        if self.mode == "area":
            return self._pooled(g, x, result)
        if self.mode in ("nearest", "nearest-exact"):
            return self._nearest(g, x, result)
        attributes: dict[str, Any] = {"mode": "cubic" if self.mode == "bicubic" else "linear"}
        if self.mode == "bicubic":
            attributes["cubic_coeff_a"] = -0.5 if self.antialias else -0.75
        if self.antialias:
            self._demand_antialias(g)
            attributes |= {"antialias": 1, "exclude_outside": 1}
        pixels = "align_corners" if self.align_corners else "half_pixel"
        return self._resize(g, x, result, coordinate_transformation_mode=pixels, **attributes)

    def _demand_antialias(self, g: OnnxGraph) -> None:
        if g.opset < 18:
            raise Unsupported(
                f"Resize of opset {g.opset} has no antialiasing", help="use opset 18 or newer"
            )
        if self.align_corners:
            raise Unsupported(
                "antialiasing with `align_corners` has no exact form in ONNX",
                help="leave `align_corners` out",
            )

    def _pooled(self, g: OnnxGraph, x: Operand, result: TensorType) -> Operand:
        bins = [dim.value for dim in result.dims[2:]]
        known = tuple(size for size in bins if size is not None)
        if len(known) < len(bins):
            raise Unsupported(
                f"`mode=area` needs known sizes in ONNX, not {result}",
                help="fix the sizes when exporting",
            )
        return AdaptiveAvgPool(output_size=known).onnx(g, x)

    def _by_factor(self) -> bool:
        """Whether coordinates follow `scale_factor` and not the sizes."""
        unscaled = self.recompute_scale_factor or self.align_corners
        return self.scale_factor is not None and not unscaled

    def _nearest(self, g: OnnxGraph, x: Operand, result: TensorType) -> Operand:
        factors = self._factors(x.type) if self._by_factor() else (None,) * (x.type.rank - 2)
        exact = self.mode == "nearest-exact"
        axes = [
            _nearest.Axis(size, wanted, factor, exact)
            for size, wanted, factor in zip(x.type.dims[2:], result.dims[2:], factors, strict=True)
        ]
        if x.type.dtype is DType.FLOAT64 and not all(axis.is_whole for axis in axes):
            raise Unsupported(
                "torch picks the nearest places of float64 by other steps than of float32",
                help="cast to float32, or use a whole `scale_factor`",
            )
        if not all(axis.resizes_alike for axis in axes):
            for place, axis in enumerate(axes, 2):
                x = axis.gathered(g, x, place)
            return x
        return self._resize(
            g,
            x,
            result,
            mode="nearest",
            coordinate_transformation_mode="half_pixel" if exact else "asymmetric",
            nearest_mode="round_prefer_ceil" if exact else "floor",
        )

    def _resize(self, g: OnnxGraph, x: Operand, result: TensorType, **attributes: Any) -> Operand:
        first = 2 if g.opset >= 18 else 0
        if first:
            attributes["axes"] = tuple(range(2, result.rank))
        factors = self._factors(x.type) if self._by_factor() else _whole_factors(x.type, result)
        if factors is None:
            sizes = g.shape(result.dims[first:])
            return g.node("Resize", x, None, None, sizes, type=result, **attributes)
        axes = list(zip(x.type.dims[2:], result.dims[2:], factors, strict=True))
        for size, wanted, factor in axes:
            _demand_single_precision(size, wanted, factor)
        if attributes["mode"] == "cubic" or self.antialias:
            _demand_change(axes)
        elif attributes["mode"] == "linear":
            factors = [_linear_factor(size, wanted, factor) for size, wanted, factor in axes]
        scales = g.constant([*(1.0,) * (2 - first), *factors], DType.FLOAT32)
        return g.node("Resize", x, None, scales, type=result, **attributes)


def _ratio(wanted: Dim, size: Dim) -> Fraction | None:
    """How many times longer an axis becomes, if that is the same for every size."""
    monomial = next(iter(size.polynomial), None)
    if monomial is None or not size.polynomial[monomial]:
        return None
    ratio = Fraction(wanted.polynomial.get(monomial, 0), size.polynomial[monomial])
    same = (wanted * ratio.denominator - size * ratio.numerator).value == 0
    return ratio if same and ratio > 0 else None


def _whole_factors(x: TensorType, result: TensorType) -> tuple[float, ...] | None:
    """What the spatial axes become longer by, if that is a whole number for each of them."""
    ratios = [
        _ratio(wanted, size) for wanted, size in zip(result.dims[2:], x.dims[2:], strict=True)
    ]
    whole = [float(ratio) for ratio in ratios if ratio is not None and ratio.denominator == 1]
    exact = all((dim.value or 0) < _EXACT_IN_FLOAT32 for dim in result.dims[2:])
    return tuple(whole) if exact and len(whole) == len(ratios) else None


def _scaled(size: Dim, factor: float) -> Dim:
    """`floor(size * factor)`; for an unknown size only where that is exact in floating point."""
    if size.value is not None:
        return Dim.of(floor(size.value * factor))
    ratio = Fraction(factor)
    if ratio.numerator >= 2**10 or ratio.denominator > 2**10:
        raise ShapeError(
            f"{size} times {factor} cannot be rounded down exactly while {size} is unknown",
            help="give `size`, or a factor such as 0.5, 1.5 or 2",
            attribute="scale_factor",
        )
    return size * ratio.numerator // ratio.denominator


def _demand_change(axes: list[tuple[Dim, Dim, float]]) -> None:
    """Runtimes copy what keeps its sizes, whatever the factors are; torch does not."""
    kept = [factor < 1.5 if size.value is None else size == wanted for size, wanted, factor in axes]
    factors = [factor for _, _, factor in axes]
    if all(kept) and min(factors) >= 1 and max(factors) > 1:
        raise Unsupported(
            f"ONNX runtimes copy what the factors {factors} leave as it is,"
            " which torch does not do",
            help="give `size`, or `recompute_scale_factor=true`",
        )


def _linear_factor(size: Dim, wanted: Dim, factor: float) -> float:
    """torch copies an axis that keeps its size, whatever the factor is."""
    if size.value is not None:
        return 1.0 if size == wanted else factor
    if 1 < factor < 1.5:
        raise Unsupported(
            f"torch copies an axis that {factor} times {size} leaves as it is,"
            " which ONNX does not do",
            help="give `size`, or `recompute_scale_factor=true`",
        )
    return factor


def _demand_single_precision(size: Dim, wanted: Dim, factor: float) -> None:
    """Runtimes and checkers multiply the size with the factor in float32."""
    if size.value is None:
        return
    product = size.value * float32(factor)
    if {floor(product), floor(float32(product))} != {wanted.value}:
        raise Unsupported(
            f"ONNX runtimes could round {size} times {factor} to another size than {wanted}",
            help="give `size`, or `recompute_scale_factor=true`",
        )
