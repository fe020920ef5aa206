"""Writes ONNX files: weights are streamed, and an interrupted write leaves nothing behind.

A model file is written as protobuf lays it out, field by field, so that no second copy of the
weights is made; the bytes are those of protobuf's own serializer.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import zip_longest
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto

from archdsl.atomic_files import atomic
from archdsl.backends.onnx.protobuf import ELEMENT_TYPES
from archdsl.diagnostics import GivenError
from archdsl.ir.types import DType
from archdsl.weights.dtypes import numpy_dtype

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int], None]

LARGEST_FILE = 2**31 - 1
"""What protobuf can hold in one message."""

LEAST_EXTERNAL = 1024
"""Smaller weights stay in the model, where shape inference can see them."""

ALIGNMENT = 4096
"""Runtimes map weights into memory, which begins at whole pages."""

WORTH_A_THREAD = 64 * 1024
"""Bytes from which on a weight is computed beside the writing."""

WORTH_FLUSHING = 16 * 1024 * 1024
"""Bytes after which the disk is put to work."""

_GRAPH_FIELD = ModelProto.DESCRIPTOR.fields_by_name["graph"].number
_INITIALIZER_FIELD = GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
_NAME_FIELD = TensorProto.DESCRIPTOR.fields_by_name["name"].number
_RAW_DATA_FIELD = TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number


@dataclass(frozen=True, slots=True)
class Initializer:
    """A weight that is yet to be computed or read: its path, what it is, and how to get it."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    array: Callable[[], Array]

    size: int = field(init=False)
    """How many bytes it has."""

    def __post_init__(self) -> None:
        size = numpy_dtype(self.dtype).itemsize * prod(self.shape)
        object.__setattr__(self, "size", size)

    def bytes(self) -> memoryview:
        """Its elements, as they stand in a file."""
        array = np.ascontiguousarray(self.array()).reshape(-1)
        return array.view(np.uint8).data

    def header(self) -> TensorProto:
        """The tensor without its elements."""
        return TensorProto(name=self.name, dims=self.shape, data_type=ELEMENT_TYPES[self.dtype])


def attach(model: ModelProto, initializers: Sequence[Initializer]) -> None:
    """Put the weights into the model, after the constants of the graph."""
    for initializer in initializers:
        tensor = initializer.header()
        tensor.raw_data = bytes(initializer.bytes())
        model.graph.initializer.append(tensor)


def write(
    path: str | os.PathLike[str],
    model: ModelProto,
    initializers: Sequence[Initializer],
    *,
    external: bool,
    progress: Progress | None,
) -> None:
    """Write a model and its weights; beside it when wanted, or when one file cannot hold them."""
    target = Path(path).resolve()
    size = sum([initializer.size for initializer in initializers])
    _demand_space(target, size)
    meter = _Meter(size, progress)
    beside = external and any(i.size >= LEAST_EXTERNAL for i in initializers)
    if beside or _whole_size(model, initializers) > LARGEST_FILE:
        data = _write_data(target, model, initializers, meter)
        _write_model(target, model, (), meter)
        _remove_old_data(target, data)
    else:
        _write_model(target, model, initializers, meter)
        _remove_old_data(target, None)


def _demand_space(target: Path, size: int) -> None:
    """Refuse at once what the disk cannot hold, before weights are drawn for hours."""
    with suppress(OSError):
        free = shutil.disk_usage(target.parent).free
        if size > free:
            raise GivenError(
                f"the weights take {size:,} bytes, but only {free:,} are free beside {target}"
            )


class _Meter:
    """Tells how far the writing is."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done, self._total, self._progress = 0, total, progress

    def add(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)


class _Flushing:
    """Brings what is written to the disk while more is computed, so that the end comes sooner."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._waiting = file, 0
        self._worker = ThreadPoolExecutor(1)

    def __enter__(self) -> _Flushing:
        return self

    def __exit__(self, *problem: object) -> None:
        self._worker.shutdown(cancel_futures=True)

    def add(self, count: int) -> None:
        """So many more bytes are written."""
        self._waiting += count
        if self._waiting >= WORTH_FLUSHING:
            self._waiting = 0
            self._file.flush()
            self._worker.submit(os.fsync, self._file.fileno())


def _whole_size(model: ModelProto, initializers: Sequence[Initializer]) -> int:
    """An upper bound of the size of one file with everything in it."""
    weights = sum([i.size + 4 * len(i.name) + 10 * len(i.shape) + 64 for i in initializers])
    return model.ByteSize() + weights + 64


def _contents(initializers: Sequence[Initializer]) -> Generator[memoryview]:
    """What each weight has in the file; the next is computed while one is written."""
    with ThreadPoolExecutor(1) as worker:
        ahead: Future[memoryview] | None = None
        for current, following in zip_longest(initializers, initializers[1:]):
            content = current.bytes() if ahead is None else ahead.result()
            ahead = None
            if following is not None and following.size >= WORTH_A_THREAD:
                ahead = worker.submit(following.bytes)
            yield content


# ----------------------------------------------------------------------------------- the model


def _write_model(
    target: Path, model: ModelProto, initializers: Sequence[Initializer], meter: _Meter
) -> None:
    """Write the model with these weights after its own constants; the message is used up."""
    graph_head, graph_tail = _cut_after(model.graph, _INITIALIZER_FIELD)
    headers = [_tensor_header(initializer) for initializer in initializers]
    size = len(graph_head) + len(graph_tail)
    size += sum(len(h) + i.size for h, i in zip(headers, initializers, strict=True))
    model.ClearField("graph")
    head, tail = _cut_after(model, _GRAPH_FIELD)
    with atomic(target) as file, _Flushing(file) as flushing:
        file.write(head + _length_prefix(_GRAPH_FIELD, size) + graph_head)
        for header, content in zip(headers, _contents(initializers), strict=True):
            file.write(header)
            file.write(content)
            meter.add(content.nbytes)
            flushing.add(content.nbytes)
        file.write(graph_tail + tail)


def _cut_after(message: ModelProto | GraphProto, number: int) -> tuple[bytes, bytes]:
    """The serialized fields up to a number, and those after it; the former are cleared."""
    whole = message.SerializeToString(deterministic=True)
    for filled, _ in message.ListFields():
        if filled.number <= number:
            message.ClearField(filled.name)
    end = len(whole) - message.ByteSize()
    return whole[:end], whole[end:]


def _tensor_header(initializer: Initializer) -> bytes:
    """Everything of an initializer that stands before its elements."""
    name = initializer.name.encode()
    header = _dims_and_type(initializer.shape, initializer.dtype)
    header += _length_prefix(_NAME_FIELD, len(name)) + name
    header += _length_prefix(_RAW_DATA_FIELD, initializer.size)
    return _length_prefix(_INITIALIZER_FIELD, len(header) + initializer.size) + header


@lru_cache
def _dims_and_type(shape: tuple[int, ...], dtype: DType) -> bytes:
    tensor = TensorProto(dims=shape, data_type=ELEMENT_TYPES[dtype])
    return tensor.SerializeToString(deterministic=True)


@lru_cache
def _length_prefix(field: int, size: int) -> bytes:
    """The tag and the length of a protobuf field that has a length."""
    result = bytearray([field << 3 | 2])
    while size > 127:
        result.append(size & 127 | 128)
        size >>= 7
    result.append(size)
    return bytes(result)


# ------------------------------------------------------------------------------ data beside it


def _write_data(
    target: Path, model: ModelProto, initializers: Sequence[Initializer], meter: _Meter
) -> Path:
    """Write the weights to a file of their own, and refer to them from the model.

    The file is named after its content, so that the old model keeps its old data until the new
    model takes its name.
    """
    staged = target.with_name(f".{target.name}.{secrets.token_hex(8)}.data")
    tensors: list[TensorProto] = []
    try:
        with atomic(staged) as file:
            digest = _fill_data(file, initializers, tensors, meter)
        data = target.with_name(f"{target.name}.{digest}.data")
        staged.replace(data)
    except BaseException:
        with suppress(OSError):
            staged.unlink()
        raise
    for tensor in tensors:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = data.name
    model.graph.initializer.extend(tensors)
    return data


def _fill_data(
    file: BinaryIO,
    initializers: Sequence[Initializer],
    tensors: list[TensorProto],
    meter: _Meter,
) -> str:
    """Write the larger weights, each at the start of a page; gives the digest of the content."""
    digest = hashlib.sha256()
    offset = 0
    for initializer, content in zip(initializers, _contents(initializers), strict=True):
        tensor = initializer.header()
        tensors.append(tensor)
        if content.nbytes < LEAST_EXTERNAL:
            tensor.raw_data = bytes(content)
            continue
        gap = bytes(-offset % ALIGNMENT)
        tensor.data_location = TensorProto.EXTERNAL
        place = {"location": "", "offset": offset + len(gap), "length": content.nbytes}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        for piece in (gap, content):
            file.write(piece)
            digest.update(piece)
        offset += len(gap) + content.nbytes
        meter.add(content.nbytes)
    return digest.hexdigest()[:16]


def _remove_old_data(target: Path, current: Path | None) -> None:
    """Remove what earlier exports to the same model file have left beside it."""
    ours = re.compile(re.escape(target.name) + r"\.[0-9a-f]{16}\.data")
    for path in target.parent.iterdir():
        if ours.fullmatch(path.name) and path != current:
            with suppress(OSError):
                path.unlink()
