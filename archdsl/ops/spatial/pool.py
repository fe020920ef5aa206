"""Pooling: max and average over windows, adaptive and global."""

from collections.abc import Callable
from math import inf, prod
from typing import Any

from archdsl.ir.access import EVERYWHERE, SAME, Reach, Sights
from archdsl.ir.lowering import Call, Input, Module, OnnxGraph, Operand, Unsupported
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Op
from archdsl.ir.tiling import Piece
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.contract._access import through
from archdsl.ops.contract._axes import axis_label
from archdsl.ops.contract._fields import Offset, Positive, Size, per_axis
from archdsl.ops.contract._tiling import leading
from archdsl.ops.elementwise._casting import cast, node_in, wide_below
from archdsl.ops.reduction._reductions import reduced
from archdsl.ops.spatial._bins import average_over_bins, largest_of_bins
from archdsl.ops.spatial._padding import pad_constant
from archdsl.ops.spatial._windows import Windows, expect_images, windows_of
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Compare, Facts

Bins = Positive | tuple[Positive | None, ...]
"""One number for every spatial axis, or one for each; None keeps the axis as it is."""


class MaxPool(Op, layer="MaxPool", function="max_pool"):
    """The maximum of each window; with `return_indices` also its flat index in the channel.

    `[N, C, *S] -> [N, C, *S']` or `[N, C, *S'], int64[N, C, *S']`

    If two values of a window differ by less than rounding, runtimes and processors may return
    different indices, and the result of `max_unpool` then differs too.

    Source: torch.nn.MaxPool1d/2d/3d; ONNX MaxPool.

    Example: `x -> MaxPool(3, stride=2, padding=1)`
    """

    positional = ("kernel_size", "stride")

    kernel_size: Size
    stride: Size | None = None
    """As the kernel, unless given."""
    padding: Offset = 0
    dilation: Size = 1
    ceil_mode: bool = False
    return_indices: bool = False
    """Give the places of the greatest values too, counted through all spatial axes."""

    def infer(
        self, check: Obligations, x: TensorType
    ) -> TensorType | tuple[TensorType, TensorType]:
        expect_images(x)
        windows = self._windows(x.rank - 2)
        windows.check(check, x)
        for axis, (pad, step) in enumerate(zip(windows.before, windows.dilation, strict=True), 2):
            if pad and step > 1:
                check.demand_at_least(
                    x.dims[axis],
                    step,
                    f"a window could lie in the padding alone: dilation {step} needs at least"
                    f" {step} along axis {axis_label(x, axis)} of {x}",
                )
        result = windows.result(x)
        return (result, result.with_dtype(DType.INT64)) if self.return_indices else result

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        return through(axis, self._windows(inputs[0].rank - 2).reach(axis - 2))

    def _windows(self, rank: int) -> Windows:
        windows = windows_of(rank, self.kernel_size, self.stride, self.padding, self.dilation)
        return windows.hanging_over() if self.ceil_mode else windows

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return leading(self, axis, 2, (x,))

    def torch_module(self, x: TensorType) -> Module:
        return Module(f"nn.MaxPool{x.rank - 2}d", (self.kernel_size,), self._keywords())

    def torch_call(self, x: TensorType) -> Call:
        return Call(f"F.max_pool{x.rank - 2}d", (Input(0), self.kernel_size), self._keywords())

    def _keywords(self) -> dict[str, object]:
        return self.changed("stride", "padding", "dilation", "ceil_mode", "return_indices")

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand | tuple[Operand, Operand]:
        windows = self._windows(x.type.rank - 2)
        result, before, after = windows.result(x.type), windows.before, windows.after
        image = x.type
        if any(pad >= width for pad, width in zip(after, windows.kernel, strict=True)):
            # Runtimes refuse a padding as long as the kernel; dilated windows can need it.
            if self.return_indices:
                raise Unsupported(
                    "the indices of windows that lie mostly in the padding have no form in ONNX",
                    help="leave `ceil_mode` out, or pad first",
                )
            x = pad_constant(g, x, before, after, -inf)
            before = after = (0,) * len(before)
        attributes: dict[str, Any] = {
            "kernel_shape": windows.kernel,
            "strides": windows.stride,
            "dilations": windows.dilation,
        }
        pads = (*before, *after)
        if not self.return_indices:
            return _pooled(g, "MaxPool", x, result, pads, fill=-inf, **attributes)
        dtype = wide_below(22, g, x.type.dtype)
        types = result.with_dtype(dtype), result.with_dtype(DType.INT64)
        greatest, places = g.nodes(
            "MaxPool", cast(g, x, dtype), types=types, pads=pads, **attributes
        )
        # ONNX counts through the whole tensor, torch through the axes of one channel.
        area = g.size(prod(image.dims[2:], start=Dim.of(1)), DType.INT64)
        return cast(g, greatest, x.type.dtype), g.node("Mod", places, area, type=types[1])


class AvgPool(Op, layer="AvgPool", function="avg_pool"):
    """The mean of each window.

    `[N, C, *S] -> [N, C, *S']`

    Source: torch.nn.AvgPool1d/2d/3d; ONNX AveragePool.

    Example: `x -> AvgPool(2)`
    """

    positional = ("kernel_size", "stride")

    kernel_size: Size
    stride: Size | None = None
    """As the kernel, unless given."""
    padding: Offset = 0
    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor_override: Positive | None = None

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        expect_images(x)
        if x.rank == 3 and self.divisor_override is not None:
            raise ShapeError(
                f"torch has no `divisor_override` for one spatial axis, which {x} has",
                attribute="divisor_override",
            )
        windows = self._windows(x.rank - 2)
        windows.check(check, x)
        if x.rank == 5:
            self._demand_whole_windows(check, x, windows)
        return windows.result(x)

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        return through(axis, self._windows(inputs[0].rank - 2).reach(axis - 2))

    def _demand_whole_windows(self, check: Obligations, x: TensorType, windows: Windows) -> None:
        """torch does not count the padding for three spatial axes."""
        for axis, width in enumerate(windows.kernel, 2):
            check.demand_at_least(
                x.dims[axis],
                width,
                f"the kernel does not fit: it spans {width} along axis {axis_label(x, axis)} of"
                f" {x}, where padding does not count with three spatial axes",
            )

    def _windows(self, rank: int) -> Windows:
        windows = windows_of(rank, self.kernel_size, self.stride, self.padding, 1)
        return windows.hanging_over() if self.ceil_mode else windows

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return leading(self, axis, 2, (x,))

    def torch_module(self, x: TensorType) -> Module:
        return Module(f"nn.AvgPool{x.rank - 2}d", (self.kernel_size,), self._keywords())

    def torch_call(self, x: TensorType) -> Call:
        return Call(f"F.avg_pool{x.rank - 2}d", (Input(0), self.kernel_size), self._keywords())

    def _keywords(self) -> dict[str, object]:
        return self.changed(
            "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"
        )

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        windows = self._windows(x.type.rank - 2)
        result, before, after = windows.result(x.type), windows.before, windows.after
        counts_padding = self.count_include_pad or self.divisor_override is not None
        if self.divisor_override is None and self.count_include_pad and after != before:
            # torch counts the padding but not what hangs over it: only the first becomes input.
            x = pad_constant(g, x, before, before, 0.0)
            after = tuple(end - pad for end, pad in zip(after, before, strict=True))
            before, counts_padding = (0,) * len(before), False
        pooled = _pooled(
            g,
            "AveragePool",
            x,
            result,
            (*before, *after),
            fill=0.0 if counts_padding else None,
            kernel_shape=windows.kernel,
            strides=windows.stride,
            count_include_pad=int(counts_padding),
        )
        if self.divisor_override is None:
            return pooled
        factor = g.constant(prod(windows.kernel) / self.divisor_override, x.type.dtype)
        return g.node("Mul", pooled, factor, type=result)


class AdaptiveAvgPool(Op, layer="AdaptiveAvgPool", function="adaptive_avg_pool"):
    """Average pooling to a given output size.

    `[N, C, *S] -> [N, C, *output_size]`

    Source: torch.nn.AdaptiveAvgPool1d/2d/3d; ONNX GlobalAveragePool, AveragePool, MatMul.

    Example: `x -> AdaptiveAvgPool(7)`
    """

    positional = ("output_size",)

    output_size: Bins

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        return _binned(check, x, _bins(self.output_size, x))

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return leading(self, axis, 2, (x,))

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        return _sees_bins(axis, inputs[0], _bins(self.output_size, inputs[0]))

    def is_idle(self, facts: Facts, *inputs: TensorType) -> bool:
        return _are_single(facts, inputs[0], _bins(self.output_size, inputs[0]))

    def sliding(self, x: TensorType) -> Op | None:
        return _over_bins(AvgPool, x, _bins(self.output_size, x))

    def torch_module(self, x: TensorType) -> Module:
        return Module(f"nn.AdaptiveAvgPool{x.rank - 2}d", (self.output_size,))

    def torch_call(self, x: TensorType) -> Call:
        return Call(f"F.adaptive_avg_pool{x.rank - 2}d", (Input(0), self.output_size))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        bins = _bins(self.output_size, x.type)
        return _pool_bins(g, x, bins, "AveragePool", "ReduceMean", average_over_bins)


class AdaptiveMaxPool(Op, layer="AdaptiveMaxPool", function="adaptive_max_pool"):
    """Max pooling to a given output size.

    `[N, C, *S] -> [N, C, *output_size]`

    Source: torch.nn.AdaptiveMaxPool1d/2d/3d; ONNX GlobalMaxPool, MaxPool, Gather, ReduceMax.

    Example: `x -> AdaptiveMaxPool(7)`
    """

    positional = ("output_size",)

    output_size: Bins

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        return _binned(check, x, _bins(self.output_size, x))

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return leading(self, axis, 2, (x,))

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        return _sees_bins(axis, inputs[0], _bins(self.output_size, inputs[0]))

    def is_idle(self, facts: Facts, *inputs: TensorType) -> bool:
        return _are_single(facts, inputs[0], _bins(self.output_size, inputs[0]))

    def sliding(self, x: TensorType) -> Op | None:
        return _over_bins(MaxPool, x, _bins(self.output_size, x))

    def torch_module(self, x: TensorType) -> Module:
        return Module(f"nn.AdaptiveMaxPool{x.rank - 2}d", (self.output_size,))

    def torch_call(self, x: TensorType) -> Call:
        return Call(f"F.adaptive_max_pool{x.rank - 2}d", (Input(0), self.output_size))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        bins = _bins(self.output_size, x.type)
        return _pool_bins(g, x, bins, "MaxPool", "ReduceMax", largest_of_bins)


class GlobalAvgPool(Op, function="global_avg_pool"):
    """The mean over all spatial axes, which are kept with size 1.

    `[N, C, *S] -> [N, C, 1, ...]`

    Source: torch.nn.functional.adaptive_avg_pool1d/2d/3d; ONNX GlobalAveragePool.

    Example: `x -> global_avg_pool`
    """

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        return _binned(check, x, (1,) * (x.rank - 2))

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return leading(self, axis, 2, (x,))

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        return through(axis, SAME if axis < 2 else EVERYWHERE)

    def sliding(self, x: TensorType) -> Op | None:
        return _over_bins(AvgPool, x, (1,) * (x.rank - 2))

    def torch_call(self, x: TensorType) -> Call:
        return Call(f"F.adaptive_avg_pool{x.rank - 2}d", (Input(0), 1))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        return _pool_all(g, x, "GlobalAveragePool")


class GlobalMaxPool(Op, function="global_max_pool"):
    """The maximum over all spatial axes, which are kept with size 1.

    `[N, C, *S] -> [N, C, 1, ...]`

    Source: torch.nn.functional.adaptive_max_pool1d/2d/3d; ONNX GlobalMaxPool.

    Example: `x -> global_max_pool`
    """

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        return _binned(check, x, (1,) * (x.rank - 2))

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return leading(self, axis, 2, (x,))

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        return through(axis, SAME if axis < 2 else EVERYWHERE)

    def sliding(self, x: TensorType) -> Op | None:
        return _over_bins(MaxPool, x, (1,) * (x.rank - 2))

    def torch_call(self, x: TensorType) -> Call:
        return Call(f"F.adaptive_max_pool{x.rank - 2}d", (Input(0), 1))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        return _pool_all(g, x, "GlobalMaxPool")


def _are_single(facts: Facts, x: TensorType, bins: tuple[int | None, ...]) -> bool:
    """Whether every bin is one place, so that nothing is pooled."""
    pairs = zip(x.dims[2:], bins, strict=True)
    wanted = (Compare(size, "==", Dim.of(bin)) for size, bin in pairs if bin is not None)
    return all(facts.prove(condition).proved for condition in wanted)


def _over_bins(
    pool: type[MaxPool] | type[AvgPool], x: TensorType, bins: tuple[int | None, ...]
) -> Op | None:
    """Windows of the bins' size, if all are equal; over all of an axis, they slide by one place."""
    known = [(size.value, bin) for size, bin in zip(x.dims[2:], bins, strict=True)]
    kernel = tuple(size // bin for size, bin in known if size and bin and size % bin == 0)
    if len(kernel) < len(known):
        return None
    return pool(
        kernel_size=kernel,
        stride=tuple(
            1 if bin == 1 else width for (_, bin), width in zip(known, kernel, strict=True)
        ),
    )


def _bins(output_size: Bins, x: TensorType) -> tuple[int | None, ...]:
    x.expect_rank(3, 4, 5)
    bins = per_axis(output_size, x.rank - 2, "output_size")
    if x.rank == 3 and None in bins:
        raise ShapeError(
            f"torch wants a number in `output_size` for one spatial axis, which {x} has",
            attribute="output_size",
        )
    return bins


def _binned(check: Obligations, x: TensorType, bins: tuple[int | None, ...]) -> TensorType:
    expect_images(x)
    for axis in range(2, x.rank):
        name = axis_label(x, axis)
        check.demand_at_least(x.dims[axis], 1, f"axis {name} of {x} must not be empty")
    return _with_bins(x, bins)


def _with_bins(x: TensorType, bins: tuple[int | None, ...]) -> TensorType:
    sizes = [size if bin is None else bin for size, bin in zip(x.dims[2:], bins, strict=True)]
    return x.with_dims(*x.dims[:2], *sizes)


def _sees_bins(axis: int, x: TensorType, bins: tuple[int | None, ...]) -> Sights:
    """Equal bins are windows side by side; others lie differently for every size."""
    count = None if axis < 2 else bins[axis - 2]
    if count is None:
        return through(axis, SAME)
    size = x.dims[axis].value
    if count == 1:
        return through(axis, EVERYWHERE)
    width = None if size is None or size % count else size // count
    return through(axis, None if width is None else Reach.window(width, width))


def _pooled(
    g: OnnxGraph,
    pooling: str,
    x: Operand,
    result: TensorType,
    pads: tuple[int, ...] = (),
    *,
    fill: float | None = None,
    **attributes: Any,
) -> Operand:
    """Windows slid over `x`; `fill` is what their padding can be written out as.

    ONNX Runtime (1.31) makes a padding by zeros part of the pooling that follows, also where that
    gives something else or cannot be loaded; it keeps apart one that says it pads nothing.
    """
    placed: dict[str, Any] = {"pads": pads or None}
    if g.is_padded(x) and (fill is not None or not any(pads)):
        x = pad_constant(g, x, pads[: len(pads) // 2], pads[len(pads) // 2 :], fill or 0.0)
        placed = {"auto_pad": "VALID"}
    dtype = wide_below(22, g, x.type.dtype)
    return node_in(g, dtype, pooling, x, type=result, **placed, **attributes)


def _pool_all(g: OnnxGraph, x: Operand, pooling: str) -> Operand:
    ones = (1,) * (x.type.rank - 2)
    return node_in(g, wide_below(22, g, x.type.dtype), pooling, x, type=_with_bins(x.type, ones))


def _pool_bins(
    g: OnnxGraph,
    x: Operand,
    bins: tuple[int | None, ...],
    pooling: str,
    reduction: str,
    over_bins: Callable[[OnnxGraph, Operand, int, int], Operand],
) -> Operand:
    """Global pooling, or sliding windows where bins are equal, and the other axes one by one."""
    if set(bins) == {1}:
        return _pool_all(g, x, f"Global{pooling}")
    kernel = tuple(_equal_bins(x, axis, count) for axis, count in enumerate(bins, 2))
    if any(width is not None and width > 1 for width in kernel):
        widths = tuple(width or 1 for width in kernel)
        done = tuple(count if width else None for count, width in zip(bins, kernel, strict=True))
        x = _pooled(g, pooling, x, _with_bins(x.type, done), kernel_shape=widths, strides=widths)
    for axis, (count, width) in enumerate(zip(bins, kernel, strict=True), 2):
        if width is not None or count is None:
            continue
        if count == 1:
            x = reduced(g, reduction, x, (axis,), x.type.with_dim(axis, 1))
        else:
            x = over_bins(g, x, axis, count)
    return x


def _equal_bins(x: Operand, axis: int, count: int | None) -> int | None:
    """The length of the bins, if it is known and the same for all."""
    size = x.type.dims[axis].value
    if count is None:
        return 1
    if size is None or size % count:
        return None
    return size // count
