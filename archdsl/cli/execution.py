"""Runs a compiled network on arrays from files, and verifies an exported file."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from archdsl.api import Network, Transformation
from archdsl.atomic_files import atomic, write_bytes
from archdsl.cli import pictures
from archdsl.diagnostics import GivenError
from archdsl.runtime.run import named_inputs, output_names, run_onnx, run_torch
from archdsl.weights.fit import WeightsMismatchError, arrays_by_first_names, check
from archdsl.weights.initial import initial
from archdsl.weights.safetensors import load_safetensors
from archdsl.weights.state_dict import state

if TYPE_CHECKING:
    from archdsl.runtime.compare import Comparison

Array = np.ndarray[Any, Any]


def weights_of(network: Network, path: Path | None, seed: int) -> dict[str, Array]:
    """Weights from a file, or drawn from a seed: the same for PyTorch and for ONNX."""
    return initial(network.ir, seed) if path is None else load_safetensors(path)


def fitting_weights(network: Network, path: Path | None, seed: int) -> dict[str, Array]:
    """As `weights_of`, refused unless they are just those of the network."""
    given = weights_of(network, path, seed)
    weights = arrays_by_first_names(network.ir, state(network.ir), given)
    report = check(network.ir, weights)
    if not report.fits:
        raise WeightsMismatchError(report)
    return weights


def takes_picture(written: Sequence[str]) -> bool:
    """Whether an input is given as a picture, `name=file` or `file`."""
    return any(pictures.is_picture(text) for text in written)


def read_inputs(network: Network, written: Sequence[str]) -> dict[str, Array]:
    """Arrays from `.npy` files and pictures, as `name=file` or as the file of the only input."""
    given: dict[str, Array] = {}
    root = network.ir.root
    types = {port.name: root.type(port.value) for port in root.inputs}
    for text in written:
        name, equals, file = text.partition("=")
        if not (equals and (name in types or not Path(text).exists())):
            name, file = "", text
        port = next(iter(types)) if not name and len(types) == 1 else name
        if pictures.is_picture(file) and port in types:
            given[name] = pictures.as_input(pictures.read_picture(file), port, types[port])
        else:
            given[name] = _read_array(file)
    return named_inputs(network.ir, given)


def _read_array(path: str) -> Array:
    try:
        array: Any = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise GivenError(f"{path} is not an .npy file of numbers") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise GivenError(f"{path} holds several arrays; one .npy file for each input is needed")
    return cast(Array, array)


def run_with_torch(
    network: Network, inputs: Mapping[str, Array], weights: Mapping[str, Array]
) -> dict[str, Array]:
    """The outputs by name, computed by PyTorch."""
    module = network.to_torch(weights).eval()
    found = run_torch(module, network.ir, inputs)
    return dict(zip(output_names(network.ir), found, strict=True))


def run_with_onnx(
    network: Network, inputs: Mapping[str, Array], weights: Mapping[str, Array]
) -> dict[str, Array]:
    """The outputs by name, computed by ONNX Runtime."""
    found = run_onnx(network.to_onnx(weights).SerializeToString(), inputs)
    return dict(zip(output_names(network.ir), found, strict=True))


def verify(
    network: Network, path: str | PathLike[str], weights: Mapping[str, Array]
) -> list[Comparison]:
    """Compare an exported file, run by ONNX Runtime, with PyTorch."""
    from archdsl.runtime import compare as comparing

    return comparing.verify(path, network.ir, network.to_torch(weights))


def compare(
    network: Network, change: Transformation, weights: Mapping[str, Array]
) -> list[Comparison]:
    """Whether a network gives after a transform what it gave before, with its weights mapped."""
    from archdsl.runtime import compare as comparing

    old, new, after = network.ir, change.network.ir, mapped(change, weights)
    if find_spec("torch") is not None:
        modules = network.to_torch(weights), change.network.to_torch(after)
        return comparing.compare(old, modules[0], new, modules[1], change.where)
    files = [
        each.to_onnx(arrays, fuse=False).SerializeToString()
        for each, arrays in ((network, weights), (change.network, after))
    ]
    return comparing.compare_onnx(old, files[0], new, files[1], change.where)


def mapped(change: Transformation, weights: Mapping[str, Array]) -> dict[str, Array]:
    """The weights of the new network, of those of the old one."""
    given = {path: partial(np.asarray, array) for path, array in weights.items()}
    return {path: np.asarray(array()) for path, array in change.map.forward(given).items()}


def save_weights(path: Path, weights: Mapping[str, Array]) -> None:
    """Write arrays as a `.safetensors` file."""
    from safetensors.numpy import save as serialized

    ordered = {name: np.ascontiguousarray(array) for name, array in weights.items()}
    write_bytes(path, serialized(ordered))


def show(path: Path, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
    """Draw what was found over the picture that was given, as the network saw it."""
    for array in inputs.values():
        picture = pictures.as_picture(array)
        if picture is not None:
            pictures.save_picture(path, pictures.overlay(picture, outputs))
            return
    raise GivenError("no input is a picture that something could be drawn over")


def save(path: Path, outputs: Mapping[str, Array]) -> None:
    """Write arrays as an `.npz` file, the same bytes for the same arrays."""
    with atomic(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in outputs.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue())


def described(outputs: Mapping[str, Array]) -> dict[str, dict[str, Any]]:
    """What the outputs are like, as plain data."""
    return {name: _described(array) for name, array in outputs.items()}


def _described(array: Array) -> dict[str, Any]:
    facts: dict[str, Any] = {"dtype": array.dtype.name, "shape": list(array.shape)}
    if array.size and array.dtype != np.bool_:
        facts |= {"min": array.min().item(), "max": array.max().item()}
        facts["mean"] = array.mean(dtype=np.float64).item()
    return facts
