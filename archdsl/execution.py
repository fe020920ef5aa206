"""Running a compiled network on arrays from files, and verifying an exported file."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from archdsl.api import Network
from archdsl.backends.running import named_inputs, output_names, run_onnx, run_torch
from archdsl.backends.weights import initial, load_safetensors
from archdsl.diagnostics import GivenError
from archdsl.files import atomic

if TYPE_CHECKING:
    from archdsl.backends.verify import Comparison

Array = np.ndarray[Any, Any]


def weights_of(network: Network, path: Path | None, seed: int) -> dict[str, Array]:
    """Weights from a file, or drawn from a seed: the same for PyTorch and for ONNX."""
    return initial(network.ir, seed) if path is None else load_safetensors(path)


def read_inputs(network: Network, written: Sequence[str]) -> dict[str, Array]:
    """Arrays from `.npy` files, given as `name=file` or as the file of the only input."""
    given: dict[str, Array] = {}
    names = [port.name for port in network.ir.root.inputs]
    for text in written:
        name, equals, file = text.partition("=")
        if not (equals and (name in names or not Path(text).exists())):
            name, file = "", text
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
    from archdsl.backends import verify as comparing

    return comparing.verify(path, network.ir, network.to_torch(weights))


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
