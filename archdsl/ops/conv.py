"""Convolutions and their transposes."""

from math import prod
from typing import Literal

from archdsl.ir.dims import Dim
from archdsl.ir.lowering import Module, OnnxGraph, Operand
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Op, Weight
from archdsl.ir.places import Newest, Part, Piece
from archdsl.ir.reach import Reach, Sights
from archdsl.ir.types import ShapeError, TensorType
from archdsl.ops._axes import axis_label
from archdsl.ops._casting import node_in, wide_below
from archdsl.ops._fields import Offset, Positive, Size, per_axis
from archdsl.ops._padding import pad_constant, pad_from_edges
from archdsl.ops._places import leading
from archdsl.ops._sights import all_but, through
from archdsl.ops._weights import dtype_argument, known_width, uniform_over


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
    padding: Offset | Literal["same", "valid"] = 0
    dilation: Size = 1
    groups: Positive = 1
    bias: bool = True
    padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros"

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        x.expect_rank(3, 4, 5)
        x.expect_floating()
        _demand_groups(known_width(x, 1, "number of input channels"), self.groups, "input")
        _demand_groups(self.out_channels, self.groups, "output")
        rank = x.rank - 2
        if self.padding == "same" and set(per_axis(self.stride, rank, "stride")) != {1}:
            raise ShapeError(
                f"`padding=same` works only with stride 1, but the stride is {self.stride}",
                attribute="padding",
            )
        before, after = self._pads(rank)
        for place, span in enumerate(self._spans(rank)):
            demand_window(check, x, place + 2, span, before[place], after[place])
            self._demand_edges(check, x, place + 2, max(before[place], after[place]))
        return self._result(x)

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        if axis < 2:
            return all_but(axis, (1,))
        rank, place = inputs[0].rank - 2, axis - 2
        kernel = per_axis(self.kernel_size, rank, "kernel_size")[place]
        stride = per_axis(self.stride, rank, "stride")[place]
        dilation = per_axis(self.dilation, rank, "dilation")[place]
        return through(axis, Reach.window(kernel, stride, self._pads(rank)[0][place], dilation))

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

    def _spans(self, rank: int) -> list[int]:
        kernel = per_axis(self.kernel_size, rank, "kernel_size")
        dilation = per_axis(self.dilation, rank, "dilation")
        return [step * (width - 1) + 1 for width, step in zip(kernel, dilation, strict=True)]

    def _pads(self, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Padding before and after each spatial axis; torch puts the odd one at the end."""
        if self.padding == "same":
            totals = [span - 1 for span in self._spans(rank)]
            before = tuple(total // 2 for total in totals)
            return before, tuple(total - start for total, start in zip(totals, before, strict=True))
        padding = 0 if isinstance(self.padding, str) else self.padding
        pads = per_axis(padding, rank, "padding")
        return pads, pads

    def _result(self, x: TensorType) -> TensorType:
        rank = x.rank - 2
        spatial = map(
            window,
            x.dims[2:],
            per_axis(self.kernel_size, rank, "kernel_size"),
            per_axis(self.stride, rank, "stride"),
            *self._pads(rank),
            per_axis(self.dilation, rank, "dilation"),
        )
        return x.with_dims(x.dims[0], self.out_channels, *spatial)

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return leading(self, axis, 1, (x,))

    def newest(self, axis: int | None, x: TensorType) -> Newest | None:
        rank = x.rank - 2
        if axis is None or axis < 2 or per_axis(self.stride, rank, "stride")[axis - 2] != 1:
            return None
        before, after = (pads[axis - 2] for pads in self._pads(rank))
        last = self._spans(rank)[axis - 2]
        return None if before or after else Newest(self, ((0, Part(new=axis, last=last)),))

    def weights(self, x: TensorType) -> tuple[Weight, ...]:
        kernel = per_axis(self.kernel_size, x.rank - 2, "kernel_size")
        channels = known_width(x, 1, "number of input channels") // self.groups
        dims = tuple(Dim.of(size) for size in (self.out_channels, channels, *kernel))
        init = uniform_over(channels * prod(kernel))
        weight = Weight("weight", dims, init, x.dtype)
        return (weight, Weight("bias", dims[:1], init, x.dtype)) if self.bias else (weight,)

    def macs(self, x: TensorType) -> Dim:
        kernel = per_axis(self.kernel_size, x.rank - 2, "kernel_size")
        return prod(self._result(x).dims, start=x.dims[1] // self.groups) * prod(kernel)

    def torch_module(self, x: TensorType) -> Module:
        return Module(
            f"nn.Conv{x.rank - 2}d",
            (x.dims[1], self.out_channels, self.kernel_size),
            self.changed("stride", "padding", "dilation", "groups", "bias", "padding_mode")
            | dtype_argument(x.dtype),
        )

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        result, rank = self._result(x.type), x.type.rank - 2
        before, after = self._pads(rank)
        if self.padding_mode != "zeros":
            x = pad_from_edges(g, x, before, after, self.padding_mode)
            before = after = (0,) * rank
        return node_in(
            g,
            wide_below(22, g, x.type.dtype),
            "Conv",
            x,
            *_own_weights(g, self.bias),
            type=result,
            kernel_shape=per_axis(self.kernel_size, rank, "kernel_size"),
            strides=per_axis(self.stride, rank, "stride"),
            pads=(*before, *after),
            dilations=per_axis(self.dilation, rank, "dilation"),
            group=self.groups,
        )


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


def _own_weights(g: OnnxGraph, bias: bool) -> tuple[Operand, ...]:
    return (g.weight("weight"), g.weight("bias")) if bias else (g.weight("weight"),)


def _demand_groups(channels: int, groups: int, what: str) -> None:
    if channels % groups:
        raise ShapeError(
            f"{channels} {what} channels do not split into {groups} groups", attribute="groups"
        )
