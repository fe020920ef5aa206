"""Pooling of regions, as it is defined: cell by cell, with loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from op_harness import Case, Given, Refused

MAP: Given = ("float32", ("N", 3, "H", "W"))
REGIONS: Given = ("float32", ("R", 5))
SIZES = [
    {"N": 2, "H": 9, "W": 12, "R": 7},
    {"N": 1, "H": 1, "W": 3, "R": 1},
    {"N": 1, "H": 5, "W": 4, "R": 0},
    {"N": 3, "H": 16, "W": 10, "R": 60},
]


def regions(images: int) -> Any:
    """Regions of all kinds: within, across the edge, outside, without area, turned."""

    def draw(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        count = shape[0]
        corners = np.round(generator.uniform(-12.0, 40.0, (count, 2, 2)) * 4) / 4
        corners = np.sort(corners, 1).reshape(count, 4)
        corners[2::7, 2:] = corners[2::7, :2]
        corners[3::11] += 100.0
        corners[5::13] = corners[5::13][:, [2, 3, 0, 1]]
        return np.concatenate((generator.integers(0, images, (count, 1)), corners), 1)

    return draw


def rounded(value: float) -> int:
    """As C rounds: halves away from zero."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def roi_pool(height: int, width: int, scale: float) -> Any:
    def oracle(x: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        features, rows, columns = x.numpy(), x.shape[2], x.shape[3]
        real = features.dtype.type
        result = np.zeros((len(rois), x.shape[1], height, width), features.dtype)
        for place, (image, *corners) in enumerate(rois.numpy()):
            left, top, right, bottom = (rounded(float(c * real(scale))) for c in corners)
            step_y = real(max(bottom - top + 1, 1)) / real(height)
            step_x = real(max(right - left + 1, 1)) / real(width)
            for i in range(height):
                for j in range(width):
                    y = [int(np.floor(real(i) * step_y)), int(np.ceil(real(i + 1) * step_y))]
                    x_ = [int(np.floor(real(j) * step_x)), int(np.ceil(real(j + 1) * step_x))]
                    y = [min(max(edge + top, 0), rows) for edge in y]
                    x_ = [min(max(edge + left, 0), columns) for edge in x_]
                    cell = features[int(image), :, y[0] : y[1], x_[0] : x_[1]]
                    if cell.size:
                        result[place, :, i, j] = cell.max((1, 2))
        return torch.from_numpy(result)

    return oracle


def sample(features: Any, y: Any, x: Any) -> Any:
    """Bilinear, 0 further than one feature outside."""
    _, rows, columns = features.shape
    real = features.dtype.type
    if y < -1 or y > rows or x < -1 or x > columns:
        return features[:, 0, 0] * real(0)
    y, x = max(y, real(0)), max(x, real(0))
    top, left = min(int(y), rows - 1), min(int(x), columns - 1)
    bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
    down = real(0) if top == rows - 1 else y - real(top)
    across = real(0) if left == columns - 1 else x - real(left)
    above = features[:, top, left] * (1 - across) + features[:, top, right] * across
    below = features[:, bottom, left] * (1 - across) + features[:, bottom, right] * across
    return above * (1 - down) + below * down


def roi_align(height: int, width: int, scale: float, ratio: int = 0, aligned: bool = False) -> Any:
    def oracle(x: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        features = x.numpy()
        real = features.dtype.type
        result = np.zeros((len(rois), x.shape[1], height, width), features.dtype)
        for place, (image, *corners) in enumerate(rois.numpy()):
            shift = real(0.5 if aligned else 0.0)
            left, top, right, bottom = (c * real(scale) - shift for c in corners)
            tall, wide = bottom - top, right - left
            if not aligned:
                tall, wide = max(tall, real(1)), max(wide, real(1))
            step_y, step_x = tall / real(height), wide / real(width)
            down = ratio or int(np.ceil(step_y))
            across = ratio or int(np.ceil(step_x))
            for i in range(height):
                for j in range(width):
                    for a in range(down):
                        for b in range(across):
                            y = top + real(i) * step_y + real(a + 0.5) * step_y / real(down)
                            x_ = left + real(j) * step_x + real(b + 0.5) * step_x / real(across)
                            result[place, :, i, j] += sample(features[int(image)], y, x_)
            if down > 0 and across > 0:
                result[place] /= real(down * across)
        return torch.from_numpy(result)

    return oracle


def pooled(op: str, settings: dict[str, Any], oracle: Any, sizes: Any = None, **more: Any) -> Case:
    return Case(
        op,
        [MAP, REGIONS],
        settings,
        sizes=sizes or SIZES,
        oracle=oracle,
        values=(None, regions(1)),
        **more,
    )


CASES: list[Case | Refused] = [
    *(
        pooled(
            "roi_pool",
            {"output_size": size, "spatial_scale": scale},
            roi_pool(*(size if isinstance(size, tuple) else (size, size)), scale),
            opsets=(17, 21),
        )
        for size, scale in ((2, 1.0), ((3, 2), 0.25), ((7, 7), 0.0625), (1, 0.5))
    ),
    Case(
        "roi_pool",
        [("float64", ("N", 2, "H", "W")), ("float64", ("R", 5))],
        {"output_size": 2, "spatial_scale": 0.25},
        sizes=SIZES,
        oracle=roi_pool(2, 2, 0.25),
        values=(lambda generator, shape: generator.integers(-9, 9, shape), regions(1)),
    ),
    *(
        pooled(
            "roi_align",
            {"output_size": size, "spatial_scale": scale, **more},
            roi_align(
                *(size if isinstance(size, tuple) else (size, size)),
                scale,
                more.get("sampling_ratio", 0),
                more.get("aligned", False),
            ),
            exact=False,
            opsets=(17, 21),
        )
        for size, scale in ((2, 1.0), ((3, 2), 0.25))
        for more in (
            {},
            {"sampling_ratio": 1},
            {"sampling_ratio": 2},
            {"aligned": True},
            {"sampling_ratio": 3, "aligned": True},
        )
    ),
    *(
        Case(
            op,
            [("float32", (3, 2, "H", "W")), REGIONS],
            {"output_size": 2, "spatial_scale": 0.25},
            sizes=[{"H": 7, "W": 9, "R": 12}],
            oracle=oracle(2, 2, 0.25),
            values=(None, regions(3)),
            exact=op == "roi_pool",
        )
        for op, oracle in (("roi_pool", roi_pool), ("roi_align", roi_align))
    ),
    Refused(
        "roi_pool",
        [MAP, ("float32", ("R", 4))],
        {"output_size": 7},
        match=r"must be \[R, 5\].*but are float32\[R, 4\].*number of its image",
    ),
    Refused("roi_align", [("float32", ("N", 3, "H")), REGIONS], {"output_size": 7}, match="4 axes"),
    Refused(
        "roi_align",
        [MAP, ("float64", ("R", 5))],
        {"output_size": 7},
        code="dtype-mismatch",
        match=r"cast\(float32\)",
    ),
    Refused(
        "roi_align",
        [MAP, REGIONS],
        {"output_size": 7},
        code="unsupported",
        opset=22,
        match="opset 21 or lower",
    ),
    Refused(
        "roi_pool",
        [MAP, REGIONS],
        {"output_size": 7},
        code="unsupported",
        opset=22,
        match="opset 21 or lower",
    ),
    Refused(
        "roi_pool",
        [MAP, REGIONS],
        {"output_size": 7, "spatial_scale": 0.0},
        code="invalid-attribute",
        match="spatial_scale",
    ),
]
