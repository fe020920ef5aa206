"""Reads safetensors files as views of the mapped file."""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from archdsl.diagnostics import GivenError
from archdsl.ir.types import DType
from archdsl.weights.dtypes import numpy_dtype

Array = np.ndarray[Any, Any]

_SAFETENSORS_TYPES: Mapping[str, DType] = {
    "F16": DType.FLOAT16,
    "BF16": DType.BFLOAT16,
    "F32": DType.FLOAT32,
    "F64": DType.FLOAT64,
    "I8": DType.INT8,
    "I16": DType.INT16,
    "I32": DType.INT32,
    "I64": DType.INT64,
    "U8": DType.UINT8,
    "BOOL": DType.BOOL,
}


class WeightsFileError(GivenError):
    """A file of weights that cannot be read; the reason follows."""


def load_safetensors(path: str | Path) -> dict[str, Array]:
    """The arrays of a file, without copying: they are read from it when they are used."""
    from safetensors import SafetensorError, safe_open

    try:
        # The library validates the header; the arrays are then views of the mapped file.
        with safe_open(str(path), framework="numpy"), Path(path).open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except SafetensorError as problem:
        raise WeightsFileError(f"{path} is not a whole safetensors file: {problem}") from problem
    except (OSError, ValueError) as problem:
        raise WeightsFileError(f"{path} cannot be read: {problem}") from problem
    length = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    return {name: _view(name, entry, content, 8 + length) for name, entry in header.items()}


def _view(name: str, entry: dict[str, Any], content: mmap.mmap, start: int) -> Array:
    dtype = _SAFETENSORS_TYPES.get(entry["dtype"])
    if dtype is None:
        raise WeightsFileError(f"{name} has the element type {entry['dtype']}, which is not known")
    shape: list[int] = entry["shape"]
    flat = np.frombuffer(
        content,
        numpy_dtype(dtype),
        count=int(np.prod(shape, dtype=np.int64)),
        offset=start + int(entry["data_offsets"][0]),
    )
    return flat.reshape(shape)
