"""Suppression of boxes, as it is defined: greedily, one box after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from op_harness import Case, Given, Refused

SIZES = [{"R": 40}, {"R": 1}, {"R": 0}, {"R": 700}]
BATCHES = [
    {"N": 2, "C": 3, "R": 30},
    {"N": 1, "C": 1, "R": 0},
    {"N": 1, "C": 2, "R": 1},
    {"N": 2, "C": 5, "R": 300},
]


def overlap(one: Any, others: Any) -> Any:
    """Intersection over union of a box with others, in the precision of the corners."""
    low, high = np.minimum(one[:2], one[2:]), np.maximum(one[:2], one[2:])
    lows = np.minimum(others[:, :2], others[:, 2:])
    highs = np.maximum(others[:, :2], others[:, 2:])
    common = np.maximum(np.minimum(high, highs) - np.maximum(low, lows), 0).prod(1)
    union = (high - low).prod() + (highs - lows).prod(1) - common
    return np.divide(common, union, out=np.zeros_like(common), where=common > 0)


def suppress(
    boxes: Any, scores: Any, iou_threshold: float, score_threshold: float, most: int | None
) -> list[int]:
    """The published algorithm: take the best box that is left, strike out what it overlaps."""
    left = [place for place in range(len(scores)) if scores[place] > score_threshold]
    left.sort(key=lambda place: (-scores[place], place))
    kept: list[int] = []
    while left and (most is None or len(kept) < most):
        best = left.pop(0)
        kept.append(best)
        near = overlap(boxes[best], boxes[left]) > boxes.dtype.type(iou_threshold)
        left = [place for place, is_near in zip(left, near, strict=True) if not is_near]
    return kept


def nms(iou_threshold: float, score_threshold: float = -np.inf) -> Any:
    def oracle(boxes: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        found = suppress(boxes.numpy(), scores.numpy(), iou_threshold, score_threshold, None)
        return torch.tensor(found, dtype=torch.int64)

    return oracle


def non_max_suppression(
    iou_threshold: float, score_threshold: float = -np.inf, most: int | None = None
) -> Any:
    def oracle(boxes: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        rows = [
            [image, kind, place]
            for image in range(scores.shape[0])
            for kind in range(scores.shape[1])
            for place in suppress(
                boxes[image].numpy(),
                scores[image, kind].numpy(),
                iou_threshold,
                score_threshold,
                most,
            )
        ]
        return torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)

    return oracle


def corners(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Boxes of whole pixels, so that overlaps tie; some without area, some outside, some turned."""
    boxes = generator.integers(-20, 40, shape)
    boxes[..., ::7, 2:] = boxes[..., ::7, :2]
    boxes[..., 1::11, 2] = boxes[..., 1::11, 0]
    return boxes


def tied(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Scores of which many are equal, some NaN, some infinite."""
    scores = np.round(generator.random(shape), 1)
    scores[..., 3::17] = np.nan
    scores[..., 5::19] = -np.inf
    scores[..., 6::23] = np.inf
    return scores


ONE: list[Given] = [("float32", ("R", 4)), ("float32", ("R",))]
MANY: list[Given] = [("float32", ("N", "R", 4)), ("float32", ("N", "C", "R"))]

CASES: list[Case | Refused] = [
    *(
        Case(
            "nms",
            ONE,
            {"iou_threshold": threshold},
            sizes=SIZES,
            oracle=nms(threshold),
            values=(corners, tied),
            opsets=(17, 21, 23),
        )
        for threshold in (0.0, 0.25, 0.3, 0.5, 0.7, 1.0)
    ),
    Case(
        "nms",
        ONE,
        {"iou_threshold": 0.5, "score_threshold": 0.3},
        sizes=SIZES,
        oracle=nms(0.5, 0.3),
        values=(corners, tied),
    ),
    Case(
        "nms",
        [("float32", (2, 4)), ("float32", (2,))],
        {"iou_threshold": 0.5},
        sizes=[{}],
        oracle=nms(0.5),
        values=(corners, lambda generator, shape: np.full(shape, np.nan)),
    ),
    *(
        Case(
            "non_max_suppression",
            MANY,
            {"iou_threshold": 0.3, **settings},
            sizes=BATCHES,
            oracle=non_max_suppression(0.3, **settings),
            values=(corners, tied),
            opsets=(17, 21),
        )
        for settings in (
            {},
            {"most": 1},
            {"most": 4},
            {"most": 1000},
            {"score_threshold": 0.45},
            {"score_threshold": 0.45, "most": 2},
        )
    ),
    Refused(
        "nms",
        [("float32", ("R", 5)), ("float32", ("R",))],
        {"iou_threshold": 0.5},
        match=r"must be \[R, 4\], but are float32\[R, 5\].*slice",
    ),
    Refused(
        "nms",
        [("float32", ("R", 6)), ("float32", ("R",))],
        {"iou_threshold": 0.5},
        match=r"must be \[R, 4\], but are float32\[R, 6\].*x1, y1",
    ),
    Refused(
        "nms",
        [("float32", ("R", 4)), ("float32", ("Q",))],
        {"iou_threshold": 0.5},
        match=r"R boxes, float32\[R, 4\], but Q scores, float32\[Q\]",
    ),
    Refused(
        "nms",
        [("float32", ("R", 4)), ("float32", ("R", 3))],
        {"iou_threshold": 0.5},
        match="one score for each box",
    ),
    Refused(
        "nms",
        [("int64", ("R", 4)), ("float32", ("R",))],
        {"iou_threshold": 0.5},
        code="dtype-mismatch",
        match="the boxes must be floating point",
    ),
    Refused(
        "nms",
        [("float64", ("R", 4)), ("float32", ("R",))],
        {"iou_threshold": 0.5},
        code="dtype-mismatch",
        match="of one element type",
    ),
    Refused(
        "nms",
        [("float64", ("R", 4)), ("float64", ("R",))],
        {"iou_threshold": 0.5},
        code="unsupported",
        match="float32 only",
    ),
    Refused("nms", ONE, {"iou_threshold": 1.5}, code="invalid-attribute", match="iou_threshold"),
    Refused(
        "non_max_suppression",
        [("float32", ("N", "R", 4)), ("float32", ("M", 3, "R"))],
        {"iou_threshold": 0.5},
        match="boxes for N images.*scores for M",
    ),
    Refused(
        "non_max_suppression",
        [("float32", ("N", "R", 4)), ("float32", ("N", "R"))],
        {"iou_threshold": 0.5},
        match=r"scores \[N, C, R\]",
    ),
    Refused(
        "non_max_suppression",
        [("float32", ("N", "R", 4)), ("float32", ("N", "R", 3))],
        {"iou_threshold": 0.5},
        match="there are R boxes.*but 3 scores",
    ),
]
