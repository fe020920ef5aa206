"""The windows of a pooling."""

from __future__ import annotations

from dataclasses import dataclass

from archdsl.ir.access import SAME, Reach
from archdsl.ir.obligations import Obligations
from archdsl.ir.types import ShapeError, TensorType
from archdsl.ops.contract._fields import Offset, Size, per_axis
from archdsl.ops.spatial.conv import demand_window, window


@dataclass(frozen=True, slots=True)
class Windows:
    """Where the windows of a pooling lie, axis by axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def spans(self) -> tuple[int, ...]:
        """What one window covers."""
        return tuple(
            step * (width - 1) + 1 for width, step in zip(self.kernel, self.dilation, strict=True)
        )

    def hanging_over(self) -> Windows:
        """The windows of torch's `ceil_mode`.

        It adds a window that hangs over the end if it starts inside the input or the padding
        before it. That is just a longer padding after the axis: by the stride less one, but never
        so long that a window would start beyond the input.
        """
        after = tuple(
            min(span - 1, pad + step - 1)
            for span, pad, step in zip(self.spans, self.before, self.stride, strict=True)
        )
        return Windows(self.kernel, self.stride, self.before, after, self.dilation)

    def reach(self, place: int) -> Reach:
        """What the windows see along a spatial axis, counted from 0; other axes stay."""
        if place < 0:
            return SAME
        return Reach.window(
            self.kernel[place], self.stride[place], self.before[place], self.dilation[place]
        )

    def result(self, x: TensorType) -> TensorType:
        """The type with as many places as windows."""
        places = (self.kernel, self.stride, self.before, self.after, self.dilation)
        return x.with_dims(*x.dims[:2], *map(window, x.dims[2:], *places))

    def check(self, check: Obligations, x: TensorType) -> None:
        """Refuse what torch refuses."""
        for width, pad in zip(self.kernel, self.before, strict=True):
            if 2 * pad > width:
                raise ShapeError(
                    f"`padding` must be at most half of the kernel, but is {pad} for a kernel of"
                    f" {width}",
                    attribute="padding",
                )
        for axis, span in enumerate(self.spans, 2):
            demand_window(check, x, axis, span, self.before[axis - 2], self.after[axis - 2])


def expect_images(x: TensorType) -> None:
    """Refuse what has no one, two or three spatial axes of floating-point numbers."""
    x.expect_rank(3, 4, 5)
    x.expect_floating()


def windows_of(
    rank: int, kernel: Size, stride: Size | None, padding: Offset, dilation: Size
) -> Windows:
    """The windows for a number of spatial axes; they stand side by side unless told."""
    widths = per_axis(kernel, rank, "kernel_size")
    pads = per_axis(padding, rank, "padding")
    return Windows(
        kernel=widths,
        stride=widths if stride is None else per_axis(stride, rank, "stride"),
        before=pads,
        after=pads,
        dilation=per_axis(dilation, rank, "dilation"),
    )
