"""Convolutions and their transposes."""

from __future__ import annotations

from math import prod
from typing import Literal

from archdsl.ir.dims import Dim
from archdsl.ir.lowering import Call, Module, OnnxGraph, Operand
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Init, Op, Weight
from archdsl.ir.types import ShapeError, TensorType
from archdsl.ops._fields import Offset, Positive, Size, per_axis


def window(size: Dim, kernel: int, stride: int, before: int, after: int, dilation: int) -> Dim:
    """How many windows fit into a padded axis (torch.nn.Conv2d's output size formula)."""
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


class Conv(Op, layer="Conv"):
    """Convolution over one, two or three spatial axes.

    `[N, C, *S] -> [N, out_channels, *S']`

    Source: torch.nn.Conv1d/2d/3d; ONNX Conv, Pad.

    Example: `x -> Conv(8, 3, padding=1)`
    """

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
        ...
