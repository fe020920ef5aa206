"""Convolutions and transposed convolutions."""

from dataclasses import dataclass
from math import prod
from typing import Literal

from archdsl.ir.access import Reach, Sights
from archdsl.ir.lowering import Call, Input, Module, OnnxGraph, Operand
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Op, Weight
from archdsl.ir.tiling import Newest, Part, Piece
from archdsl.ir.types import ShapeError, TensorType
from archdsl.ops.contract._access import all_but, through
from archdsl.ops.contract._axes import axis_label
from archdsl.ops.contract._fields import Offset, Positive, Size, per_axis
from archdsl.ops.contract._tiling import leading
from archdsl.ops.contract._weights import (
    demand_bias,
    demand_same_dtype,
    dtype_argument,
    known_width,
    uniform_over,
)
from archdsl.ops.elementwise._casting import node_in, wide_below
from archdsl.ops.spatial._padding import pad_constant, pad_from_edges
from archdsl.sizes.dims import Dim


def window(size: Dim, kernel: int, stride: int, before: int, after: int, dilation: int) -> Dim:
    """How many windows fit into a padded axis (torch.nn.Conv2d's output size formula)."""
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


def demand_window(
    check: Obligations, x: TensorType, axis: int, span: int, before: int, after: int
) -> None:
    """Refuse a padded axis that is shorter than what one window spans."""
    size, name = x.dims[axis], axis_label(x, axis)
    check.demand_at_least(
        size,
        max(1, span - before - after),
        f"the kernel does not fit: it spans {span} along axis {name} of {x},"
        f" which has {size + before + after} with its padding",
    )


Padding = Offset | Literal["same", "valid"]


@dataclass(frozen=True, slots=True)
class _Windows:
    """How a kernel is laid along each spatial axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    dilation: tuple[int, ...]

    @staticmethod
    def of(kernel: tuple[int, ...], stride: Size, padding: Padding, dilation: Size) -> "_Windows":
        """The attributes of a convolution, one number for each axis of its kernel."""
        rank = len(kernel)
        steps = per_axis(stride, rank, "stride")
        spread = per_axis(dilation, rank, "dilation")
        if padding == "same":
            if set(steps) != {1}:
                raise ShapeError(
                    f"`padding=same` works only with stride 1, but the stride is {stride}",
                    attribute="padding",
                )
            # torch puts the odd one at the end.
            totals = [(width - 1) * step for width, step in zip(kernel, spread, strict=True)]
            before = tuple(total // 2 for total in totals)
            after = tuple(total - start for total, start in zip(totals, before, strict=True))
            return _Windows(kernel, steps, before, after, spread)
        pads = per_axis(0 if isinstance(padding, str) else padding, rank, "padding")
        return _Windows(kernel, steps, pads, pads, spread)

    @property
    def spans(self) -> tuple[int, ...]:
        """How many places one window spans along each axis."""
        pairs = zip(self.kernel, self.dilation, strict=True)
        return tuple(step * (width - 1) + 1 for width, step in pairs)

    def demand(self, check: Obligations, x: TensorType) -> None:
        """Refuse an input in which a window does not fit."""
        axes = zip(self.spans, self.before, self.after, strict=True)
        for axis, (span, before, after) in enumerate(axes, 2):
            demand_window(check, x, axis, span, before, after)

    def sees(self, axis: int) -> Sights:
        """What a place along an axis of the result sees of the input."""
        if axis < 2:
            return all_but(axis, (1,))
        place = axis - 2
        kernel, stride = self.kernel[place], self.stride[place]
        reach = Reach.window(kernel, stride, self.before[place], self.dilation[place])
        return through(axis, reach)

    def over(self, x: TensorType, out_channels: Dim | int) -> TensorType:
        """What a convolution gives for this input."""
        spatial = map(
            window, x.dims[2:], self.kernel, self.stride, self.before, self.after, self.dilation
        )
        return x.with_dims(x.dims[0], out_channels, *spatial)

    def convolve(
        self, g: OnnxGraph, x: Operand, weights: tuple[Operand, ...], groups: int
    ) -> Operand:
        """The ONNX node."""
        return node_in(
            g,
            wide_below(22, g, x.type.dtype),
            "Conv",
            x,
            *weights,
            type=self.over(x.type, weights[0].type.dims[0]),
            kernel_shape=self.kernel,
            strides=self.stride,
            pads=(*self.before, *self.after),
            dilations=self.dilation,
            group=groups,
        )


class Conv(Op, layer="Conv"):
    """Convolution over one, two or three spatial axes.

    `[N, C, *S] -> [N, out_channels, *S']`

    Source: torch.nn.Conv1d/2d/3d; ONNX Conv, Pad.

    Example: `x -> Conv(8, 3, padding=1)`
    """

    frees_output = True
    positional = ("out_channels", "kernel_size")
    weight_output_axis = 0

    out_channels: Positive
    kernel_size: Size
    stride: Size = 1
    padding: Padding = 0
    dilation: Size = 1
    groups: Positive = 1
    bias: bool = True
    padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros"

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        x.expect_rank(3, 4, 5)
        x.expect_floating()
        _demand_groups(known_width(x, 1, "number of input channels"), self.groups, "input")
        _demand_groups(self.out_channels, self.groups, "output")
        windows = self._windows(x)
        windows.demand(check, x)
        for axis, pads in enumerate(zip(windows.before, windows.after, strict=True), 2):
            self._demand_edges(check, x, axis, max(pads))
        return windows.over(x, self.out_channels)

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        return self._windows(inputs[0]).sees(axis)

    def _demand_edges(self, check: Obligations, x: TensorType, axis: int, padding: int) -> None:
        """torch reflects and wraps around at most once."""
        longer = {"reflect": 1, "circular": 0}.get(self.padding_mode)
        if longer is None or padding == 0:
            return
        name = axis_label(x, axis)
        check.demand_at_least(
            x.dims[axis],
            padding + longer,
            f"`padding_mode={self.padding_mode}` with padding {padding} needs at least"
            f" {padding + longer} along axis {name}, which is {x.dims[axis]} in {x}",
        )

    def _kernel(self, x: TensorType) -> tuple[int, ...]:
        return per_axis(self.kernel_size, x.rank - 2, "kernel_size")

    def _windows(self, x: TensorType) -> _Windows:
        return _Windows.of(self._kernel(x), self.stride, self.padding, self.dilation)

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return leading(self, axis, 1, (x,))

    def newest(self, axis: int | None, x: TensorType) -> Newest | None:
        if axis is None or axis < 2:
            return None
        windows, place = self._windows(x), axis - 2
        if windows.stride[place] != 1 or windows.before[place] or windows.after[place]:
            return None
        return Newest(self, ((0, Part(new=axis, last=windows.spans[place])),))

    def share(self, count: int, *inputs: TensorType) -> Piece | None:
        return _share(self, count)

    def weights(self, x: TensorType) -> tuple[Weight, ...]:
        kernel = self._kernel(x)
        channels = known_width(x, 1, "number of input channels") // self.groups
        dims = tuple(Dim.of(size) for size in (self.out_channels, channels, *kernel))
        init = uniform_over(channels * prod(kernel))
        weight = Weight("weight", dims, init, x.dtype)
        return (weight, Weight("bias", dims[:1], init, x.dtype)) if self.bias else (weight,)

    def macs(self, x: TensorType) -> Dim:
        result = self._windows(x).over(x, self.out_channels)
        return prod(result.dims, start=x.dims[1] // self.groups) * prod(self._kernel(x))

    def torch_module(self, x: TensorType) -> Module:
        return Module(
            f"nn.Conv{x.rank - 2}d",
            (x.dims[1], self.out_channels, self.kernel_size),
            self.changed("stride", "padding", "dilation", "groups", "bias", "padding_mode")
            | dtype_argument(x.dtype),
        )

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        windows = self._windows(x.type)
        if self.padding_mode != "zeros":
            x = pad_from_edges(g, x, windows.before, windows.after, self.padding_mode)
            windows = _Windows.of(windows.kernel, self.stride, 0, self.dilation)
        return windows.convolve(g, x, _own_weights(g, self.bias), self.groups)


class ConvFunction(Op, function="conv"):
    """Convolution over one, two or three spatial axes, with a weight given as an input.

    `[N, C, *S], [O, C / groups, *K], [O] -> [N, O, *S']`

    Source: torch.nn.functional.conv1d/2d/3d; ONNX Conv.

    Example: `conv(x, weight, bias, padding=1)`
    """

    stride: Size = 1
    padding: Padding = 0
    dilation: Size = 1
    groups: Positive = 1

    def infer(
        self,
        check: Obligations,
        x: TensorType,
        weight: TensorType,
        bias: TensorType | None = None,
    ) -> TensorType:
        x.expect_rank(3, 4, 5)
        x.expect_floating()
        self._check_weight(check, x, weight)
        if bias is not None:
            demand_bias(check, weight, bias)
        windows = self._windows(weight)
        windows.demand(check, x)
        return windows.over(x, weight.dims[0])

    def _check_weight(self, check: Obligations, x: TensorType, weight: TensorType) -> None:
        if weight.rank != x.rank:
            raise ShapeError(
                f"the weight must have {x.rank} axes as {x} has, but is {weight}", inputs=(0, 1)
            )
        demand_same_dtype(x, weight, 1)
        taken = weight.dims[1] * self.groups
        check.demand_equal(
            x.dims[1],
            taken,
            f"the weight {weight} takes {taken} channels, but {x} has {x.dims[1]}",
            inputs=(0, 1),
        )
        check.demand_multiple(
            weight.dims[0],
            self.groups,
            f"{weight.dims[0]} output channels do not split into {self.groups} groups",
        )

    def _windows(self, weight: TensorType) -> _Windows:
        kernel = tuple(size.value for size in weight.dims[2:] if size.value is not None)
        if len(kernel) != weight.rank - 2 or 0 in kernel:
            raise ShapeError(
                f"a kernel's size must be a known, positive number along each axis, but the weight"
                f" is {weight}",
                inputs=(1,),
            )
        return _Windows.of(kernel, self.stride, self.padding, self.dilation)

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        return self._windows(inputs[1]).sees(axis)

    def piece(
        self, axis: int, start: Dim, size: Dim, x: TensorType, *weights: TensorType
    ) -> Piece | None:
        return leading(self, axis, 1, (x, *weights))

    def macs(self, x: TensorType, weight: TensorType, bias: TensorType | None = None) -> Dim:
        result = self._windows(weight).over(x, weight.dims[0])
        return prod((*result.dims, *weight.dims[2:]), start=weight.dims[1])

    def torch_call(self, x: TensorType, weight: TensorType, bias: TensorType | None = None) -> Call:
        inputs = tuple(map(Input, range(2 if bias is None else 3)))
        settings = self.changed("stride", "padding", "dilation", "groups")
        return Call(f"F.conv{x.rank - 2}d", inputs, settings)

    def onnx(
        self, g: OnnxGraph, x: Operand, weight: Operand, bias: Operand | None = None
    ) -> Operand:
        weights = (weight,) if bias is None else (weight, bias)
        return self._windows(weight.type).convolve(g, x, weights, self.groups)


class ConvTranspose(Op, layer="ConvTranspose"):
    """Transposed convolution over one, two or three spatial axes.

    `[N, C, *S] -> [N, out_channels, *S']`

    Source: torch.nn.ConvTranspose1d/2d/3d; ONNX ConvTranspose.

    Example: `x -> ConvTranspose(8, 2, stride=2)`
    """

    frees_output = True
    positional = ("out_channels", "kernel_size")

    out_channels: Positive
    kernel_size: Size
    stride: Size = 1
    padding: Offset = 0
    output_padding: Offset = 0
    groups: Positive = 1
    bias: bool = True
    dilation: Size = 1

    @property
    def weight_output_axis(self) -> int | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Axis 1 counts the channels of one group only."""
        return 1 if self.groups == 1 else None

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        x.expect_rank(3, 4, 5)
        x.expect_floating()
        _demand_groups(known_width(x, 1, "number of input channels"), self.groups, "input")
        _demand_groups(self.out_channels, self.groups, "output")
        _, stride, _, output_padding, dilation = self._per_axis(x.rank - 2)
        for extra, step, spread in zip(output_padding, stride, dilation, strict=True):
            if extra >= max(step, spread):
                raise ShapeError(
                    f"`output_padding` must be smaller than the stride or the dilation, but is"
                    f" {extra} with stride {step} and dilation {spread}",
                    attribute="output_padding",
                )
        result = self._result(x)
        for axis in range(2, x.rank):
            check.demand_at_least(
                x.dims[axis], 1, f"axis {axis_label(x, axis)} of {x} must not be empty"
            )
            check.demand_at_least(
                result.dims[axis],
                1,
                f"the padding {self.padding} leaves nothing of axis {axis_label(x, axis)} of {x}:"
                f" its new size would be {result.dims[axis]}",
            )
        return result

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        if axis < 2:
            return all_but(axis, (1,))
        settings = self._per_axis(inputs[0].rank - 2)
        kernel, stride, padding, _, dilation = (numbers[axis - 2] for numbers in settings)
        return through(axis, Reach.spread(kernel, stride, padding, dilation))

    def _per_axis(self, rank: int) -> tuple[tuple[int, ...], ...]:
        return (
            per_axis(self.kernel_size, rank, "kernel_size"),
            per_axis(self.stride, rank, "stride"),
            per_axis(self.padding, rank, "padding"),
            per_axis(self.output_padding, rank, "output_padding"),
            per_axis(self.dilation, rank, "dilation"),
        )

    def _result(self, x: TensorType) -> TensorType:
        spatial = [
            (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + extra + 1
            for size, kernel, stride, padding, extra, dilation in zip(
                x.dims[2:], *self._per_axis(x.rank - 2), strict=True
            )
        ]
        return x.with_dims(x.dims[0], self.out_channels, *spatial)

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return leading(self, axis, 1, (x,))

    def share(self, count: int, *inputs: TensorType) -> Piece | None:
        return _share(self, count)

    def weights(self, x: TensorType) -> tuple[Weight, ...]:
        kernel = per_axis(self.kernel_size, x.rank - 2, "kernel_size")
        outputs = self.out_channels // self.groups
        dims = (x.dims[1], Dim.of(outputs), *map(Dim.of, kernel))
        # torch takes axis 1 of the weight for the fan-in here too, though it counts outputs.
        init = uniform_over(outputs * prod(kernel))
        weight = Weight("weight", dims, init, x.dtype)
        bias = Weight("bias", (Dim.of(self.out_channels),), init, x.dtype)
        return (weight, bias) if self.bias else (weight,)

    def macs(self, x: TensorType) -> Dim:
        kernel = per_axis(self.kernel_size, x.rank - 2, "kernel_size")
        return prod(x.dims, start=Dim.of(self.out_channels // self.groups)) * prod(kernel)

    def torch_module(self, x: TensorType) -> Module:
        return Module(
            f"nn.ConvTranspose{x.rank - 2}d",
            (x.dims[1], self.out_channels, self.kernel_size),
            self.changed("stride", "padding", "output_padding", "groups", "bias", "dilation")
            | dtype_argument(x.dtype),
        )

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        kernel, stride, padding, output_padding, dilation = self._per_axis(x.type.rank - 2)
        result = self._result(x.type)
        end = padding
        if any(extra >= step for extra, step in zip(output_padding, stride, strict=True)):
            # Runtimes want `output_padding` below the stride; zeros after the input do the same.
            steps = list(zip(output_padding, padding, stride, strict=True))
            zeros = [max(0, -((pad - extra) // step)) for extra, pad, step in steps]
            end = [
                pad - extra + count * step
                for (extra, pad, step), count in zip(steps, zeros, strict=True)
            ]
            x = pad_constant(g, x, [0] * len(zeros), zeros, 0.0)
            output_padding = (0,) * len(zeros)
        return node_in(
            g,
            wide_below(22, g, x.type.dtype),
            "ConvTranspose",
            x,
            *_own_weights(g, self.bias),
            type=result,
            kernel_shape=kernel,
            strides=stride,
            pads=(*padding, *end),
            output_padding=output_padding,
            dilations=dilation,
            group=self.groups,
        )


def _share(op: Conv | ConvTranspose, count: int) -> Piece | None:
    """Some of the groups, of their own channels, or some of the channels of the only group."""
    alone = op.groups == 1
    if op.out_channels % count or not (alone or op.groups % count == 0):
        return None
    groups = 1 if alone else op.groups // count
    changes = {"out_channels": op.out_channels // count, "groups": groups}
    return Piece(op.model_copy(update=changes), (None if alone else 1,))


def _own_weights(g: OnnxGraph, bias: bool) -> tuple[Operand, ...]:
    return (g.weight("weight"), g.weight("bias")) if bias else (g.weight("weight"),)


def _demand_groups(channels: int, groups: int, what: str) -> None:
    if channels % groups:
        raise ShapeError(
            f"{channels} {what} channels do not split into {groups} groups", attribute="groups"
        )
