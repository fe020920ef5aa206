"""Pooling: sliding, adaptive and global, in one, two and three dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from op_harness import Case, Refused
from torch.nn import functional as F

from archdsl.sizes.dims import Dim

ALL_OPSETS = (17, 18, 19, 22, 23)

LINE = ("float32", ("N", 3, "L"))
IMAGE = ("float32", ("N", 3, "H", "W"))
VOLUME = ("float32", ("N", 2, "D", "H", "W"))

LINES = [{"N": 1, "L": size} for size in (5, 6, 7, 8, 9, 10, 11)]
IMAGES = [
    {"N": 2, "H": height, "W": width}
    for height, width in ((5, 6), (7, 9), (8, 10), (9, 9), (11, 12), (13, 7))
]
VOLUMES = [{"N": 1, "D": 6, "H": 7, "W": 8}, {"N": 2, "D": 9, "H": 5, "W": 6}]


def flat_max(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(2).amax(2).reshape(*x.shape[:2], *[1] * (x.dim() - 2))


def flat_mean(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(2).mean(2).reshape(*x.shape[:2], *[1] * (x.dim() - 2))


def sliding(
    op: str,
    given: tuple[str, tuple[int | str, ...]],
    sizes: list[dict[str, int]],
    function: Callable[..., torch.Tensor],
    settings: dict[str, Any],
    opsets: tuple[int, ...] = (17,),
) -> Case:
    """torch's functional call with the attributes as they are."""
    return Case(
        op,
        [given],
        sizes=sizes,
        attributes=settings,
        oracle=lambda x: function(x, **settings),
        opsets=opsets,
    )


CEILED = [
    {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": True}
    for kernel, stride, padding in (
        (2, 2, 0),
        (2, 2, 1),
        (3, 2, 0),
        (3, 2, 1),
        (3, 5, 1),
        (4, 4, 2),
        (4, 3, 1),
        (1, 3, 0),
        (2, 4, 1),
        (5, 1, 2),
        (5, 4, 0),
    )
]

UNPOOLED: list[dict[str, Any]] = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 2, "stride": 3},
]


def distinct_places(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Places that no two values of a channel share, within what the smallest result has."""
    count = math.prod(shape[2:])
    return np.stack([generator.permutation(count) for _ in range(shape[0] * shape[1])]).reshape(
        shape
    )


def unpooled(rank: int, settings: dict[str, Any], grown: int = 0) -> Case:
    """torch's own function; `grown` makes each axis so much longer than it would be."""
    dims = ("N", 2, *"DHW"[3 - rank :])
    keywords: dict[str, Any] = dict(settings)
    kernel, stride = settings["kernel_size"], settings.get("stride") or settings["kernel_size"]

    def sizes_of(shape: Sequence[int]) -> list[int]:
        return [(size - 1) * stride + kernel + grown for size in shape[2:]]

    if grown:
        keywords["size"] = tuple((Dim.of(name) - 1) * stride + kernel + grown for name in dims[2:])

    def oracle(x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        function = getattr(F, f"max_unpool{rank}d")
        output = {"output_size": sizes_of(x.shape)} if grown else {}
        return function(x, places, **settings, **output)

    return Case(
        "max_unpool",
        [("float32", dims), ("int64", dims)],
        sizes=[{"N": 2, "D": 3, "H": 4, "W": 5}, {"N": 1, "D": 5, "H": 3, "W": 2}],
        attributes=keywords,
        oracle=oracle,
        values=[None, distinct_places],
        opsets=(17, 18, 22),
        facts=[f"{name} >= 2" for name in dims[2:]],
    )


CASES = [
    # ------------------------------------------------------------------------ maximum
    sliding("MaxPool", LINE, LINES, F.max_pool1d, {"kernel_size": 3}, ALL_OPSETS),
    sliding(
        "MaxPool",
        LINE,
        LINES,
        F.max_pool1d,
        {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2},
    ),
    sliding(
        "MaxPool",
        IMAGE,
        IMAGES,
        F.max_pool2d,
        {"kernel_size": 3, "stride": 2, "padding": 1},
        ALL_OPSETS,
    ),
    sliding(
        "MaxPool",
        IMAGE,
        IMAGES,
        F.max_pool2d,
        {"kernel_size": (2, 3), "stride": (1, 4), "padding": (1, 0), "dilation": (3, 2)},
    ),
    sliding(
        "MaxPool",
        VOLUME,
        VOLUMES,
        F.max_pool3d,
        {"kernel_size": (3, 2, 1), "stride": (2, 3, 1), "padding": (1, 1, 0), "ceil_mode": True},
        ALL_OPSETS,
    ),
    *(sliding("MaxPool", LINE, LINES, F.max_pool1d, settings) for settings in CEILED),
    *(sliding("MaxPool", IMAGE, IMAGES, F.max_pool2d, settings) for settings in CEILED),
    sliding(
        "MaxPool",
        IMAGE,
        IMAGES,
        F.max_pool2d,
        {"kernel_size": 2, "stride": 4, "padding": 1, "dilation": 4, "ceil_mode": True},
        ALL_OPSETS,
    ),
    sliding(
        "MaxPool",
        ("float32", (2, 3, 1, "W")),
        [{"W": 1}, {"W": 2}],
        F.max_pool2d,
        {"kernel_size": 3, "stride": 4, "ceil_mode": True},
    ),
    # ------------------------------------------------------------------------ places of the maximum
    *(
        sliding("MaxPool", given, sizes, function, {**settings, "return_indices": True}, ALL_OPSETS)
        for given, sizes, function in (
            (LINE, LINES, F.max_pool1d),
            (IMAGE, IMAGES, F.max_pool2d),
            (VOLUME, VOLUMES, F.max_pool3d),
        )
        for settings in (
            {"kernel_size": 2},
            {"kernel_size": 3, "stride": 2, "padding": 1},
            {"kernel_size": 3, "stride": 1, "padding": 1, "dilation": 2},
            {"kernel_size": 3, "stride": 2, "ceil_mode": True},
        )
    ),
    *(unpooled(rank, settings) for rank in (1, 2, 3) for settings in UNPOOLED),
    *(unpooled(rank, {"kernel_size": 2}, grown=1) for rank in (1, 2, 3)),
    *(unpooled(rank, {"kernel_size": 3, "stride": 2}, grown=1) for rank in (1, 2)),
    Refused(
        "max_unpool",
        [("float32", ("N", 3, "H")), ("int32", ("N", 3, "H"))],
        {"kernel_size": 2},
        match="must be int64",
    ),
    Refused(
        "max_unpool",
        [("float32", ("N", 3, "H")), ("int64", ("N", 3, "L"))],
        {"kernel_size": 2},
        match="not as many places",
    ),
    Refused(
        "max_unpool",
        [("float32", ("N", 3, "H")), ("int64", ("N", 3, "H"))],
        {"kernel_size": 2, "size": (Dim.parse("2*H + 2"),)},
        match="less than the stride of 2",
    ),
    Refused(
        "max_unpool",
        [("float32", ("N", 3, "H")), ("int64", ("N", 3, "H"))],
        {"kernel_size": (2, 2)},
        match="has 2 numbers",
    ),
    Refused(
        "max_unpool",
        [("float32", ("N", 3, "H")), ("int64", ("N", 3, "H"))],
        {"kernel_size": 2, "size": (Dim.of(8), Dim.of(8))},
        match="`size` has 2 numbers",
    ),
    # ------------------------------------------------------------------------ mean
    sliding("AvgPool", LINE, LINES, F.avg_pool1d, {"kernel_size": 2}, ALL_OPSETS),
    sliding("AvgPool", IMAGE, IMAGES, F.avg_pool2d, {"kernel_size": (3, 2)}, ALL_OPSETS),
    *(
        sliding(
            "AvgPool",
            IMAGE,
            IMAGES,
            F.avg_pool2d,
            {**settings, "ceil_mode": ceil_mode, "count_include_pad": counted},
        )
        for settings, ceil_mode, counted in product(CEILED, (False, True), (False, True))
    ),
    *(
        sliding("AvgPool", LINE, LINES, F.avg_pool1d, {**settings, "count_include_pad": counted})
        for settings, counted in product(CEILED, (False, True))
    ),
    *(
        sliding(
            "AvgPool",
            IMAGE,
            IMAGES,
            F.avg_pool2d,
            {**settings, "divisor_override": 3, "count_include_pad": counted},
            ALL_OPSETS,
        )
        for settings, counted in product(CEILED[3:6], (False, True))
    ),
    sliding(
        "AvgPool",
        IMAGE,
        IMAGES,
        F.avg_pool2d,
        {"kernel_size": (3, 4), "stride": (2, 3), "padding": (1, 2), "ceil_mode": True},
        ALL_OPSETS,
    ),
    *(
        sliding(
            "AvgPool",
            VOLUME,
            VOLUMES,
            F.avg_pool3d,
            {
                "kernel_size": (3, 2, 4),
                "stride": (2, 3, 3),
                "padding": (1, 1, 2),
                "ceil_mode": ceil_mode,
                "count_include_pad": counted,
            },
        )
        for ceil_mode, counted in product((False, True), (False, True))
    ),
    sliding(
        "AvgPool",
        VOLUME,
        VOLUMES,
        F.avg_pool3d,
        {"kernel_size": 2, "padding": 1, "divisor_override": 5},
    ),
    sliding(
        "AvgPool",
        ("float32", (2, 3, 1, "W")),
        [{"W": 1}, {"W": 2}],
        F.avg_pool2d,
        {"kernel_size": 3, "stride": 4, "ceil_mode": True},
    ),
    # ------------------------------------------------------------------------ adaptive
    *(
        Case(
            op,
            [given],
            sizes=sizes,
            attributes={"output_size": output},
            oracle=lambda x, function=function, output=output: function(x, output),
            opsets=opsets,
        )
        for kind in ("avg", "max")
        for op in (f"Adaptive{kind.capitalize()}Pool",)
        for rank, given, sizes, outputs, opsets in (
            (1, LINE, LINES, (1, 3, (5,), 12), ALL_OPSETS),
            (1, ("float32", ("N", 3, 12)), [{"N": 2}], (1, 4, 5, 12, 13), (17,)),
            (2, IMAGE, IMAGES, (1, 7, (3, 2), (1, 4), (None, 1), (5, None)), ALL_OPSETS),
            (
                2,
                ("float32", ("N", 3, 12, 10)),
                [{"N": 2}],
                (6, (4, 5), (5, 5), (1, 3), (None, 2), (12, 4)),
                ALL_OPSETS,
            ),
            (2, ("float32", (1, 3, 12, "W")), [{"W": 5}, {"W": 8}], (4, (5, 1)), (17,)),
            (3, VOLUME, VOLUMES, (1, 4, (2, None, 3), (1, 3, 1), (5, 1, 2)), (17, 18)),
            (3, ("float32", (1, 2, 6, 8, 9)), [{}], ((2, 4, 3), (4, 3, 2), (None, 5, None)), (17,)),
        )
        for function in (getattr(F, f"adaptive_{kind}_pool{rank}d"),)
        for output in outputs
    ),
    *(
        Case(
            f"global_{kind}_pool", [given], sizes=sizes, oracle=oracle, exact=False, opsets=(17, 22)
        )
        for kind, oracle in (("avg", flat_mean), ("max", flat_max))
        for given, sizes in ((LINE, LINES), (IMAGE, IMAGES), (VOLUME, VOLUMES))
    ),
    # ------------------------------------------------------------------------ refused
    Refused("MaxPool", [("float32", ("N", 3))], {"kernel_size": 2}, match="3 or 4 or 5 axes"),
    Refused(
        "MaxPool",
        [("int64", ("N", 3, "L"))],
        {"kernel_size": 2},
        code="dtype-mismatch",
        match="floating point",
    ),
    Refused(
        "MaxPool",
        [IMAGE],
        {"kernel_size": 3, "padding": 2, "dilation": 3},
        match="at most half of the kernel, but is 2 for a kernel of 3",
    ),
    Refused(
        "MaxPool",
        [("float32", ("N", 3, 2, 9))],
        {"kernel_size": 3},
        match="spans 3 along axis 2 of .* which has 2",
    ),
    Refused(
        "MaxPool",
        [("float32", ("N", 3, 1))],
        {"kernel_size": 2, "padding": 1, "dilation": 2},
        match="in the padding alone: dilation 2",
    ),
    Refused(
        "MaxPool",
        [("float32", ("N", 3, 1))],
        {"kernel_size": 3, "stride": 1, "ceil_mode": True},
        match="does not fit",
    ),
    Refused("MaxPool", [IMAGE], {"kernel_size": (2, 2, 2)}, match="has 3 numbers.* 2 spatial"),
    Refused(
        "MaxPool",
        [IMAGE],
        {"kernel_size": 2, "dilation": 4, "padding": 1, "stride": 8, "ceil_mode": True}
        | {"return_indices": True},
        code="unsupported",
        match="lie mostly in the padding",
        facts=["H >= 4", "W >= 4"],
    ),
    Refused("AvgPool", [LINE], {"kernel_size": 2, "divisor_override": 2}, match="one spatial axis"),
    Refused("AvgPool", [IMAGE], {"kernel_size": 3, "padding": 2}, match="is 2 for a kernel of 3"),
    Refused(
        "AvgPool",
        [("float32", ("N", 3, 2, 9, 9))],
        {"kernel_size": 3, "padding": 1},
        match="padding does not count",
    ),
    Refused(
        "AvgPool",
        [IMAGE],
        {"kernel_size": 2, "divisor_override": 0},
        code="invalid-attribute",
        match="greater than or equal to 1",
    ),
    *(
        entry
        for op in ("AdaptiveAvgPool", "AdaptiveMaxPool")
        for entry in (
            Refused(op, [LINE], {"output_size": (None,)}, match="wants a number"),
            Refused(op, [IMAGE], {"output_size": (3,)}, match="has 1 numbers.* 2 spatial"),
            Refused(op, [("float32", ("N", 3, 0))], {"output_size": 2}, match="must not be empty"),
            Refused(op, [IMAGE], {"output_size": 0}, code="invalid-attribute", match=""),
        )
    ),
    Refused("global_avg_pool", [("float32", ("N", 3))], match="3 or 4 or 5 axes"),
    Refused(
        "global_max_pool", [("int64", ("N", 3, "L"))], code="dtype-mismatch", match="floating point"
    ),
]
