"""RoI pooling and RoI align."""

from abc import ABC
from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from archdsl.ir.lowering import Call, Input, OnnxGraph, Operand, Unsupported
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Op
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.contract._fields import NonNegative, Positive, per_axis
from archdsl.ops.detection._roi_torch import ALIGN, CHUNKS, MEMBERS, POOL
from archdsl.ops.elementwise._casting import cast
from archdsl.ops.layout.indexing import sliced
from archdsl.sizes.dims import Dim

Scale = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
_SHARED = {"members_of_cells": MEMBERS, "chunks_of": CHUNKS}
_LAST_OPSET = 21
"""ONNX Runtime has no kernel of these operators as they are since opset 22."""


class _RegionPooling(Op, ABC):
    """Features of a map within regions, `[image, x1, y1, x2, y2]` in pixels of the input."""

    positional = ("output_size", "spatial_scale")

    output_size: Positive | tuple[Positive, Positive]
    """How many cells a region has, or how many from top to bottom and from left to right."""
    spatial_scale: Scale = 1.0
    """How large the map is in proportion to that in which the corners are counted."""

    def infer(self, check: Obligations, x: TensorType, rois: TensorType) -> TensorType:
        x.expect_floating()
        x.expect_rank(4)
        if rois.rank != 2 or rois.dims[1] != 5:
            raise ShapeError(
                f"regions must be [R, 5], each [image, x1, y1, x2, y2], but are {rois}",
                help="put the number of its image before the corners of each region",
                inputs=(1,),
            )
        if rois.dtype is not x.dtype:
            raise ShapeError(
                f"regions must be of the element type of the features, {x}, but are {rois}",
                help=f"convert them with `cast({x.dtype})`",
                inputs=(0, 1),
                code="dtype-mismatch",
            )
        return self._result(x, rois)

    def _result(self, x: TensorType, rois: TensorType) -> TensorType:
        dims = (rois.dims[0], x.dims[1], *self._cells)
        return TensorType.of(x.dtype, *dims, axes=(rois.axes[0], x.axes[1], *x.axes[2:]))

    @property
    def _cells(self) -> tuple[int, ...]:
        return per_axis(self.output_size, 2, "output_size")

    def _refuse_opset(self, g: OnnxGraph, op_type: str) -> None:
        if g.opset > _LAST_OPSET:
            raise Unsupported(
                f"runtimes have no kernel for {op_type} of opset {g.opset}",
                f"use opset {_LAST_OPSET} or lower",
            )


class RoiPool(_RegionPooling, function="roi_pool"):
    """The maximum of the features in every cell of a region; edges are rounded to whole features.

    `[N, C, H, W], [R, 5] -> [R, C, height, width]`

    A region is `[image, x1, y1, x2, y2]`. Its part outside the map is empty, and an empty cell
    gives 0.

    Source: Girshick 2015; torchvision.ops.roi_pool; ONNX MaxRoiPool.

    Example: `roi_pool(x, rois, 7, 0.0625)`
    """

    torch_functions: ClassVar[Mapping[str, str]] = {**_SHARED, "roi_pool": POOL}

    def torch_call(self, x: TensorType, rois: TensorType) -> Call:
        return Call("roi_pool", (Input(0), Input(1), *self._cells, self.spatial_scale))

    def onnx(self, g: OnnxGraph, x: Operand, rois: Operand) -> Operand:
        self._refuse_opset(g, "MaxRoiPool")
        result = self._result(x.type, rois.type)
        found = g.node(
            "MaxRoiPool",
            cast(g, x, DType.FLOAT32),
            cast(g, rois, DType.FLOAT32),
            type=result.with_dtype(DType.FLOAT32),
            pooled_shape=list(self._cells),
            spatial_scale=self.spatial_scale,
        )
        return cast(g, found, result.dtype)


class RoiAlign(_RegionPooling, function="roi_align"):
    """The mean of interpolated samples in every cell of a region.

    `[N, C, H, W], [R, 5] -> [R, C, height, width]`

    A region is `[image, x1, y1, x2, y2]`. Samples more than one position outside the map are 0.

    Source: He et al. 2017; torchvision.ops.roi_align; ONNX RoiAlign.

    Example: `roi_align(x, rois, 7, 0.0625, sampling_ratio=2)`
    """

    torch_functions: ClassVar[Mapping[str, str]] = {**_SHARED, "roi_align": ALIGN}

    sampling_ratio: NonNegative = 0
    """How many samples a cell has along each axis; 0 for as many as it has features."""
    aligned: bool = False
    """Whether a feature stands in the middle of its pixel, and regions may be of any size."""

    def torch_call(self, x: TensorType, rois: TensorType) -> Call:
        settings = (*self._cells, self.spatial_scale, self.sampling_ratio, self.aligned)
        return Call("roi_align", (Input(0), Input(1), *settings))

    def onnx(self, g: OnnxGraph, x: Operand, rois: Operand) -> Operand:
        self._refuse_opset(g, "RoiAlign")
        result = self._result(x.type, rois.type)
        rois = cast(g, rois, DType.FLOAT32)
        corners = sliced(
            g,
            rois,
            1,
            Dim.of(1),
            Dim.of(5),
            1,
            TensorType.of(rois.type.dtype, rois.type.dims[0], 4),
        )
        image = rois.type.without_axis(1)
        image = g.node("Gather", rois, g.constant(0, DType.INT64), type=image, axis=1)
        height, width = self._cells
        found = g.node(
            "RoiAlign",
            cast(g, x, DType.FLOAT32),
            corners,
            cast(g, image, DType.INT64),
            type=result.with_dtype(DType.FLOAT32),
            output_height=height,
            output_width=width,
            spatial_scale=self.spatial_scale,
            sampling_ratio=self.sampling_ratio,
            coordinate_transformation_mode="half_pixel" if self.aligned else "output_half_pixel",
        )
        return cast(g, found, result.dtype)
