"""Convolutions and their transposes, in one, two and three dimensions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from op_harness import Case, Refused
from torch.nn import functional as F

ALL_OPSETS = (17, 18, 19, 21, 22, 23)

LINE = ("float32", ("N", 4, "L"))
IMAGE = ("float32", ("N", 4, "H", "W"))
VOLUME = ("float32", ("N", 4, "D", "H", "W"))

LINES = [{"N": 1, "L": 9}, {"N": 2, "L": 12}, {"N": 3, "L": 7}]
IMAGES = [{"N": 1, "H": 9, "W": 8}, {"N": 2, "H": 12, "W": 7}, {"N": 1, "H": 7, "W": 7}]
VOLUMES = [{"N": 1, "D": 6, "H": 7, "W": 8}, {"N": 2, "D": 7, "H": 6, "W": 5}]

Weights = Mapping[str, torch.Tensor]
Oracle = Callable[[torch.Tensor, Weights], torch.Tensor]


def with_bias(function: Callable[..., torch.Tensor], **settings: Any) -> Oracle:
    """A functional call with the layer's weight, and its bias if it has one."""

    def oracle(x: torch.Tensor, w: Weights) -> torch.Tensor:
        return function(x, w["weight"], w.get("bias"), **settings)

    return oracle


def padded(function: Callable[..., torch.Tensor], pad: tuple[int, ...], mode: str) -> Oracle:
    """torch's own recipe for padding modes: pad, then convolve without padding."""

    def oracle(x: torch.Tensor, w: Weights) -> torch.Tensor:
        return function(F.pad(x, pad, mode=mode), w["weight"], w["bias"])

    return oracle


with warnings.catch_warnings():
    # torch says once in a process that it must copy an input to pad it on one side only.
    warnings.simplefilter("ignore")
    F.conv1d(torch.zeros(1, 1, 4), torch.zeros(1, 1, 2), padding="same")

CASES = [
    # ------------------------------------------------------------------------ one axis
    Case(
        "Conv",
        [LINE],
        sizes=LINES,
        attributes={"out_channels": 6, "kernel_size": 3},
        oracle=with_bias(F.conv1d),
        opsets=ALL_OPSETS,
    ),
    Case(
        "Conv",
        [LINE],
        sizes=LINES,
        attributes={"out_channels": 6, "kernel_size": [4], "stride": 3, "padding": 2, "groups": 2},
        oracle=with_bias(F.conv1d, stride=3, padding=2, groups=2),
    ),
    Case(
        "Conv",
        [LINE],
        sizes=LINES,
        attributes={"out_channels": 6, "kernel_size": 4, "padding": "same", "dilation": 3},
        oracle=lambda x, w: F.conv1d(F.pad(x, (4, 5)), w["weight"], w["bias"], dilation=3),
        exact=False,
    ),
    *(
        Case(
            "Conv",
            [LINE],
            sizes=LINES,
            attributes={"out_channels": 6, "kernel_size": 5, "padding": 3, "padding_mode": mode},
            oracle=padded(F.conv1d, (3, 3), mode),
            opsets=ALL_OPSETS,
        )
        for mode in ("reflect", "replicate", "circular")
    ),
    # ------------------------------------------------------------------------ two axes
    Case(
        "Conv",
        [IMAGE],
        sizes=IMAGES,
        attributes={"out_channels": 6, "kernel_size": 3, "bias": False, "padding": 1, "stride": 2},
        oracle=with_bias(F.conv2d, padding=1, stride=2),
        opsets=ALL_OPSETS,
    ),
    Case(
        "Conv",
        [IMAGE],
        sizes=IMAGES,
        attributes={
            "out_channels": 8,
            "kernel_size": [3, 2],
            "stride": [1, 3],
            "padding": [0, 2],
            "dilation": [3, 2],
            "groups": 4,
        },
        oracle=with_bias(F.conv2d, stride=(1, 3), padding=(0, 2), dilation=(3, 2), groups=4),
    ),
    Case(
        "Conv",
        [("float32", (2, 3, 8, 9))],
        sizes=[{}],
        attributes={"out_channels": 5, "kernel_size": 1, "padding": 3, "stride": 4},
        oracle=with_bias(F.conv2d, padding=3, stride=4),
    ),
    Case(
        "Conv",
        [IMAGE],
        sizes=IMAGES,
        attributes={"out_channels": 5, "kernel_size": [4, 3], "padding": "same"},
        oracle=lambda x, w: F.conv2d(F.pad(x, (1, 1, 1, 2)), w["weight"], w["bias"]),
        exact=False,
    ),
    Case(
        "Conv",
        [IMAGE],
        sizes=IMAGES,
        attributes={"out_channels": 5, "kernel_size": 4, "padding": "valid", "stride": 2},
        oracle=with_bias(F.conv2d, stride=2),
    ),
    *(
        Case(
            "Conv",
            [IMAGE],
            sizes=IMAGES,
            attributes={
                "out_channels": 5,
                "kernel_size": [4, 3],
                "padding": "same",
                "padding_mode": mode,
            },
            oracle=padded(F.conv2d, (1, 1, 1, 2), mode),
            opsets=ALL_OPSETS,
        )
        for mode in ("reflect", "replicate", "circular")
    ),
    Case(
        "Conv",
        [("float32", (1, 4, 3, "W"))],
        sizes=[{"W": 1}, {"W": 5}],
        attributes={
            "out_channels": 5,
            "kernel_size": 3,
            "padding": [3, 1],
            "padding_mode": "circular",
        },
        oracle=padded(F.conv2d, (1, 1, 3, 3), "circular"),
    ),
    Case(
        "Conv",
        [IMAGE],
        sizes=IMAGES,
        attributes={"out_channels": 5, "kernel_size": 3, "padding_mode": "reflect"},
        oracle=with_bias(F.conv2d),
    ),
    Case(
        "Conv",
        [("float32", ("N", 4, "2*H", "H + 3"))],
        sizes=[{"N": 1, "H": 4}, {"N": 2, "H": 7}],
        attributes={"out_channels": 4, "kernel_size": 3, "stride": 2, "padding": 1},
        oracle=with_bias(F.conv2d, stride=2, padding=1),
        context=[("float32", ("H",))],
    ),
    # ------------------------------------------------------------------------ three axes
    Case(
        "Conv",
        [VOLUME],
        sizes=VOLUMES,
        attributes={
            "out_channels": 2,
            "kernel_size": [1, 3, 2],
            "stride": [2, 1, 3],
            "padding": [1, 0, 2],
            "dilation": [1, 2, 1],
            "groups": 2,
        },
        oracle=with_bias(
            F.conv3d, stride=(2, 1, 3), padding=(1, 0, 2), dilation=(1, 2, 1), groups=2
        ),
    ),
    Case(
        "Conv",
        [VOLUME],
        sizes=VOLUMES,
        attributes={
            "out_channels": 2,
            "kernel_size": 3,
            "padding": 1,
            "padding_mode": "circular",
        },
        oracle=padded(F.conv3d, (1, 1, 1, 1, 1, 1), "circular"),
    ),
    # ------------------------------------------------------------------------ by a value
    Case(
        "conv",
        [LINE, ("float32", (6, 4, 3)), ("float32", (6,))],
        sizes=LINES,
        oracle=F.conv1d,
        opsets=ALL_OPSETS,
    ),
    Case(
        "conv",
        [LINE, ("float32", (6, 2, 4))],
        sizes=LINES,
        attributes={"stride": 3, "padding": 2, "groups": 2},
        oracle=lambda x, w: F.conv1d(x, w, stride=3, padding=2, groups=2),
    ),
    Case(
        "conv",
        [LINE, ("float32", (6, 4, 4)), ("float32", (6,))],
        sizes=LINES,
        attributes={"padding": "same", "dilation": 3},
        oracle=lambda x, w, b: F.conv1d(F.pad(x, (4, 5)), w, b, dilation=3),
        exact=False,
    ),
    Case(
        "conv",
        [IMAGE, ("float32", (8, 1, 3, 2)), ("float32", (8,))],
        sizes=IMAGES,
        attributes={"stride": [1, 3], "padding": [0, 2], "dilation": [3, 2], "groups": 4},
        oracle=lambda x, w, b: F.conv2d(x, w, b, (1, 3), (0, 2), (3, 2), 4),
        opsets=ALL_OPSETS,
    ),
    Case(
        "conv",
        [IMAGE, ("float32", (5, 4, 4, 4)), ("float32", (5,))],
        sizes=IMAGES,
        attributes={"padding": "valid", "stride": 2},
        oracle=lambda x, w, b: F.conv2d(x, w, b, 2),
    ),
    Case(
        "conv",
        [("float32", ("N", "C", "H", "W")), ("float32", ("2*C", "C", 3, 3)), ("float32", ("2*C",))],
        sizes=[{"N": 1, "C": 3, "H": 9, "W": 8}, {"N": 2, "C": 1, "H": 3, "W": 7}],
        attributes={"padding": 1},
        oracle=lambda x, w, b: F.conv2d(x, w, b, padding=1),
    ),
    Case(
        "conv",
        [("float32", ("N", "2*C", "L")), ("float32", ("2*K", "C", 3))],
        sizes=[{"N": 1, "C": 3, "L": 9, "K": 2}, {"N": 2, "C": 1, "L": 3, "K": 1}],
        attributes={"groups": 2},
        oracle=lambda x, w: F.conv1d(x, w, groups=2),
    ),
    Case(
        "conv",
        [VOLUME, ("float32", (2, 4, 1, 3, 2)), ("float32", (2,))],
        sizes=VOLUMES,
        attributes={"stride": [2, 1, 3], "padding": [1, 0, 2]},
        oracle=lambda x, w, b: F.conv3d(x, w, b, (2, 1, 3), (1, 0, 2)),
    ),
    # ------------------------------------------------------------------------ transposed
    Case(
        "ConvTranspose",
        [LINE],
        sizes=LINES,
        attributes={
            "out_channels": 6,
            "kernel_size": 4,
            "stride": 3,
            "padding": 2,
            "output_padding": 1,
            "groups": 2,
            "dilation": 2,
        },
        oracle=with_bias(
            F.conv_transpose1d, stride=3, padding=2, output_padding=1, groups=2, dilation=2
        ),
    ),
    Case(
        "ConvTranspose",
        [IMAGE],
        sizes=IMAGES,
        attributes={"out_channels": 6, "kernel_size": 2, "stride": 2, "bias": False},
        oracle=with_bias(F.conv_transpose2d, stride=2),
        opsets=ALL_OPSETS,
    ),
    Case(
        "ConvTranspose",
        [IMAGE],
        sizes=IMAGES,
        attributes={
            "out_channels": 8,
            "kernel_size": [3, 4],
            "stride": [1, 3],
            "padding": [3, 1],
            "output_padding": [1, 2],
            "dilation": [2, 1],
            "groups": 4,
        },
        oracle=with_bias(
            F.conv_transpose2d,
            stride=(1, 3),
            padding=(3, 1),
            output_padding=(1, 2),
            dilation=(2, 1),
            groups=4,
        ),
    ),
    Case(
        "ConvTranspose",
        [IMAGE],
        sizes=IMAGES,
        attributes={
            "out_channels": 5,
            "kernel_size": [3, 2],
            "stride": [2, 1],
            "padding": [1, 0],
            "output_padding": [3, 2],
            "dilation": [4, 3],
        },
        oracle=with_bias(
            F.conv_transpose2d,
            stride=(2, 1),
            padding=(1, 0),
            output_padding=(3, 2),
            dilation=(4, 3),
        ),
        opsets=ALL_OPSETS,
    ),
    Case(
        "ConvTranspose",
        [VOLUME],
        sizes=VOLUMES,
        attributes={"out_channels": 3, "kernel_size": [2, 3, 1], "stride": [2, 1, 2]},
        oracle=with_bias(F.conv_transpose3d, stride=(2, 1, 2)),
    ),
    # ------------------------------------------------------------------------ refused
    Refused(
        "Conv",
        [("float32", ("N", 4))],
        {"out_channels": 6, "kernel_size": 3},
        match="must have 3 or 4 or 5 axes",
    ),
    Refused(
        "Conv",
        [("int64", ("N", 4, "L"))],
        {"out_channels": 6, "kernel_size": 3},
        code="dtype-mismatch",
        match="must be floating point",
    ),
    Refused(
        "Conv",
        [("float32", ("N", "C", "L"))],
        {"out_channels": 6, "kernel_size": 3},
        match="number of input channels must be a known number",
    ),
    Refused(
        "Conv",
        [LINE],
        {"out_channels": 6, "kernel_size": [3, 3]},
        match="`kernel_size` has 2 numbers, but the input has 1 spatial axes",
    ),
    Refused(
        "Conv",
        [LINE],
        {"out_channels": 6, "kernel_size": 3, "groups": 3},
        match="4 input channels do not split into 3 groups",
    ),
    Refused(
        "Conv",
        [LINE],
        {"out_channels": 6, "kernel_size": 3, "groups": 4},
        match="6 output channels do not split into 4 groups",
    ),
    Refused(
        "Conv",
        [LINE],
        {"out_channels": 6, "kernel_size": 3, "padding": "same", "stride": 2},
        match="works only with stride 1",
    ),
    Refused(
        "Conv",
        [("float32", ("N", 4, 4, 5))],
        {"out_channels": 6, "kernel_size": 3, "dilation": [2, 3]},
        match="spans 5 along axis 2 of float32.*, which has 4",
    ),
    Refused(
        "Conv",
        [("float32", ("N", 4, 2, 5))],
        {"out_channels": 6, "kernel_size": 3, "padding": 2, "padding_mode": "reflect"},
        match="needs at least 3 along axis 2, which is 2",
    ),
    Refused(
        "Conv",
        [("float32", ("N", 4, 2, 5))],
        {"out_channels": 6, "kernel_size": 3, "padding": 3, "padding_mode": "circular"},
        match="needs at least 3 along axis 2, which is 2",
    ),
    *(
        Refused("Conv", [LINE], attributes, code="invalid-attribute", match="")
        for attributes in (
            {"out_channels": 0, "kernel_size": 3},
            {"out_channels": 4, "kernel_size": 0},
            {"out_channels": 4, "kernel_size": 3, "stride": 0},
            {"out_channels": 4, "kernel_size": 3, "padding": -1},
            {"out_channels": 4, "kernel_size": 3, "padding": "full"},
            {"out_channels": 4, "kernel_size": 3, "strides": 1},
        )
    ),
    Refused(
        "ConvTranspose",
        [IMAGE],
        {"out_channels": 6, "kernel_size": 3, "output_padding": 2, "stride": 2, "dilation": [1, 3]},
        match="but is 2 with stride 2 and dilation 1",
    ),
    Refused(
        "ConvTranspose",
        [("float32", ("N", 4, 6, 5))],
        {"out_channels": 6, "kernel_size": 3, "padding": 4},
        match="leaves nothing of axis 2 .* would be 0",
    ),
    Refused(
        "ConvTranspose",
        [IMAGE],
        {"out_channels": 6, "kernel_size": 3, "groups": 4},
        match="6 output channels do not split into 4 groups",
    ),
    Refused(
        "conv",
        [IMAGE, ("float32", (6, 4, 3))],
        match="the weight must have 4 axes .* but is float32.6, 4, 3.",
    ),
    Refused(
        "conv",
        [IMAGE, ("float32", (6, 3, 3, 3))],
        match="takes 3 channels, but float32.* has 4",
    ),
    Refused(
        "conv",
        [IMAGE, ("float32", (6, 1, 3, 3))],
        {"groups": 4},
        match="6 output channels do not split into 4 groups",
    ),
    Refused(
        "conv",
        [IMAGE, ("float32", (6, 4, 3, "K"))],
        match="must be a known, positive number along each axis, but the weight is .*K",
    ),
    Refused(
        "conv",
        [IMAGE, ("float64", (6, 4, 3, 3))],
        code="dtype-mismatch",
        match="one element type",
    ),
    Refused(
        "conv",
        [IMAGE, ("float32", (6, 4, 3, 3)), ("float32", (4,))],
        match="the bias has 4 elements, but the weight .* gives 6",
    ),
    Refused(
        "conv",
        [IMAGE, ("float32", (6, 4, 3, 3)), ("float32", (6, 1))],
        match="the bias must have 1 axis",
    ),
    Refused(
        "conv",
        [("float32", (1, 4, 4, 5)), ("float32", (6, 4, 3, 3))],
        {"dilation": [2, 3]},
        match="spans 5 along axis 2 of float32.*, which has 4",
    ),
    Refused(
        "conv",
        [IMAGE, ("float32", (6, 4, 3, 3))],
        {"padding": "same", "stride": 2},
        match="works only with stride 1",
    ),
    Refused(
        "conv",
        [IMAGE, ("float32", (6, 4, 3, 3))],
        {"padding": [1, 1, 1]},
        match="`padding` has 3 numbers, but the input has 2 spatial axes",
    ),
]
