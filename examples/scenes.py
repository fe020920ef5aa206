"""Synthetic images: circles, squares and triangles before a noisy ground, and what they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KINDS = ("circle", "square", "triangle")
MOST = 3
LEAST_SIDE, MOST_SIDE = 14, 28
LEAST_CONTRAST = 0.3


@dataclass(frozen=True)
class Scenes:
    """Images, the class of every pixel, and a row [image, kind, x1, y1, x2, y2] for each box.

    Class 0 is the ground, and every kind has the class behind its number.
    """

    images: np.ndarray
    classes: np.ndarray
    boxes: np.ndarray


def scenes(count: int, size: int, seed: int) -> Scenes:
    """So many images of so many pixels a side; the same for the same seed."""
    generator = np.random.default_rng(seed)
    images = np.empty((count, 3, size, size), np.float32)
    classes = np.zeros((count, size, size), np.int64)
    boxes: list[np.ndarray] = []
    for image in range(count):
        images[image] = ground(generator, size)
        placed = places(generator, size)
        for x, y, side in placed:
            kind = int(generator.integers(len(KINDS)))
            covered = mask(kind, x, y, side, size)
            images[image][:, covered] = ink(generator, images[image][:, covered].mean(1))
            classes[image][covered] = kind + 1
            boxes.append(np.array([image, kind, x, y, x + side, y + side]))
        images[image] += generator.normal(0, 0.06, images[image].shape)
    return Scenes(images.clip(0, 1), classes, np.array(boxes, np.float32))


def ground(generator: np.random.Generator, size: int) -> np.ndarray:
    """A colour that changes from one corner to the other."""
    corners = generator.uniform(0.2, 0.8, (2, 3, 1, 1))
    part = np.add.outer(np.arange(size), np.arange(size)) / (2 * size - 2)
    return corners[0] * (1 - part) + corners[1] * part


def ink(generator: np.random.Generator, behind: np.ndarray) -> np.ndarray:
    """A colour that can be told from the one behind it."""
    colour = behind
    while np.abs(colour - behind).max() < LEAST_CONTRAST:
        colour = generator.uniform(0, 1, 3)
    return colour[:, np.newaxis]


def places(generator: np.random.Generator, size: int) -> list[tuple[int, int, int]]:
    """Left, top and side of one to three squares that do not overlap."""
    found: list[tuple[int, int, int]] = []
    for _ in range(generator.integers(1, MOST + 1)):
        side = int(generator.integers(LEAST_SIDE, MOST_SIDE + 1))
        x, y = (int(each) for each in generator.integers(0, size - side + 1, 2))
        apart = (
            x + side <= left or left + other <= x or y + side <= top or top + other <= y
            for left, top, other in found
        )
        if all(apart):
            found.append((x, y, side))
    return found


def mask(kind: int, x: int, y: int, side: int, size: int) -> np.ndarray:
    """The pixels whose middle lies in a shape that fills a square."""
    across = (np.arange(size) + 0.5 - x) / side - 0.5
    down = ((np.arange(size) + 0.5 - y) / side - 0.5)[:, np.newaxis]
    inside = (np.abs(across) <= 0.5) & (np.abs(down) <= 0.5)
    if KINDS[kind] == "circle":
        return across**2 + down**2 <= 0.25
    if KINDS[kind] == "triangle":
        return inside & (2 * np.abs(across) <= down + 0.5)
    return inside
