"""Reads photographs into arrays and draws detections: everything that needs Pillow."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archdsl.atomic_files import write_bytes
from archdsl.diagnostics import GivenError
from archdsl.ir.types import DType, TensorType

if TYPE_CHECKING:
    from PIL.Image import Image

Array = np.ndarray[Any, Any]

SUFFIXES = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
LEAST_SCORE = 0.5
_GOLDEN = 0.618034


def is_picture(path: str | Path) -> bool:
    """Whether a file is a picture, by its name."""
    return Path(path).suffix.lower() in SUFFIXES


def read_picture(path: str | Path) -> Array:
    """Red, green and blue of every pixel, uint8[H, W, 3], turned as it was photographed."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            upright = ImageOps.exif_transpose(file)
            return np.asarray(upright.convert("RGB"))
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        raise GivenError(f"{path} is not a picture that can be read") from error


def as_input(picture: Array, name: str, expected: TensorType) -> Array:
    """A picture as an input takes it: float32[N, 3, H, W] from 0 to 1, with one channel in grey, or
    uint8[N, H, W, 3] as it is. Where the sizes are fixed it is resized."""
    dims = [dim.value for dim in expected.dims]
    batch, *rest = dims if len(dims) == 4 else [0, 0, 0, 0]
    fits = batch in (None, 1)
    if fits and expected.dtype is DType.UINT8 and rest[2] == 3:
        return _resized(picture, rest[0], rest[1])[np.newaxis].copy()
    if fits and expected.dtype is DType.FLOAT32 and rest[0] in (1, 3):
        pixels = _resized(picture, rest[1], rest[2])
        pixels = pixels if rest[0] == 3 else _grey(pixels)
        planes = pixels.transpose(2, 0, 1)[np.newaxis]
        return np.ascontiguousarray(planes).astype(np.float32) / np.float32(255)
    raise GivenError(
        f"`{name}` is {expected} and takes no picture; "
        "float32[N, 3, H, W], float32[N, 1, H, W] and uint8[N, H, W, 3] do"
    )


def _resized(picture: Array, height: int | None, width: int | None) -> Array:
    """The picture in these sizes; None leaves one as it is."""
    from PIL import Image

    old_height, old_width, _ = picture.shape
    size = width or old_width, height or old_height
    if size == (old_width, old_height):
        return picture
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))


def _grey(picture: Array) -> Array:
    from PIL import Image

    return np.asarray(Image.fromarray(picture).convert("L"))[:, :, np.newaxis]


def as_picture(given: Array) -> Array | None:
    """An input as a picture again, None if it is not of the kind that `as_input` makes."""
    if given.ndim != 4 or len(given) != 1:
        return None
    if given.dtype == np.uint8 and given.shape[3] == 3:
        return given[0]
    if given.dtype != np.float32 or given.shape[1] not in (1, 3):
        return None
    pixels = (given[0].transpose(1, 2, 0) * 255).round().clip(0, 255).astype(np.uint8)
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def overlay(picture: Array, outputs: Mapping[str, Array]) -> Image:
    """What was found for one picture, over it: `boxes` [K, 4] in parts of it, with `scores` and
    `labels` where there are any, or a map of classes, the first of which is background."""
    drawn = _class_map(outputs)
    if "boxes" in outputs and outputs["boxes"].ndim == 2 and outputs["boxes"].shape[1] == 4:
        return _with_boxes(picture, outputs)
    if drawn is not None:
        return _with_classes(picture, drawn)
    raise GivenError(
        f"nothing of {', '.join(outputs)} can be drawn; "
        "`boxes` [K, 4] can, and classes [1, H, W] or their scores [1, C, H, W]"
    )


def _class_map(outputs: Mapping[str, Array]) -> Array | None:
    """The class of every place, from the first output that tells it."""
    for array in outputs.values():
        if array.ndim == 4 and len(array) == 1 and array.shape[1] > 1:
            return array[0].argmax(0)
        if array.ndim == 3 and len(array) == 1 and np.issubdtype(array.dtype, np.integer):
            return array[0]
    return None


def _with_classes(picture: Array, classes: Array) -> Image:
    """Every class but the first in a colour of its own, as a veil."""
    from PIL import Image

    height, width, _ = picture.shape
    rows = [place * classes.shape[0] // height for place in range(height)]
    columns = [place * classes.shape[1] // width for place in range(width)]
    shown = classes[rows][:, columns]
    colours = np.array([colour(each) for each in range(int(shown.max(initial=0)) + 1)])
    veiled = (picture * 0.4 + colours[shown] * 0.6).astype(np.uint8)
    return Image.fromarray(np.where(shown[:, :, np.newaxis] > 0, veiled, picture))


def _with_boxes(picture: Array, outputs: Mapping[str, Array]) -> Image:
    """The boxes that are sure enough, each with its class and score."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(max(10, max(image.size) // 50))
    width = max(1, max(image.size) // 300)
    boxes = outputs["boxes"]
    scores = outputs.get("scores", np.ones(len(boxes)))
    labels = outputs.get("labels", np.zeros(len(boxes), np.int64))
    for box, score, label in sorted(
        zip(boxes, scores, labels, strict=True), key=lambda one: one[1]
    ):
        left, top, right, bottom = box.tolist()
        if score >= LEAST_SCORE and left <= right and top <= bottom:
            ink = colour(int(label) + 1)
            pen.rectangle((left, top, right, bottom), outline=ink, width=width)
            text, corner = f"{label}: {score:.2f}", (left + width, top + width)
            pen.rectangle(pen.textbbox(corner, text, font), fill=ink)
            pen.text(corner, text, "black", font)
    return image


def colour(number: int) -> tuple[int, int, int]:
    """A colour for a class, far from those of its neighbours."""
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def save_picture(path: Path, image: Image) -> None:
    """Write a picture, in the format that its name says."""
    content = BytesIO()
    image.save(content, SUFFIXES[path.suffix.lower()])
    write_bytes(path, content.getvalue())
