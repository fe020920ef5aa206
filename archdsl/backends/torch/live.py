"""The live module: the emitted source executed, checked against the IR, and filled with weights."""

from __future__ import annotations

import hashlib
import linecache
import sys
from collections.abc import Hashable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from archdsl.backends.python.naming import identifier
from archdsl.backends.torch.source import emit, root_class
from archdsl.diagnostics import InternalError
from archdsl.ir.model import Model
from archdsl.ir.types import DType
from archdsl.weights.dtypes import numpy_dtype, tensor_of
from archdsl.weights.fit import WeightsMismatchError, by_first_names, compare
from archdsl.weights.state_dict import known_shape, second_names, state

if TYPE_CHECKING:
    import torch
    from torch import nn

Weights = "Mapping[str, Any] | str | Path"
"""Arrays or tensors by their path in the state dict, or a `.safetensors` file."""


def load(
    model: Model,
    weights: Mapping[str, Any] | str | Path | None = None,
    device: str | torch.device | None = None,
) -> nn.Module:
    """The model as a module, with these weights, or begun as its layers begin."""
    import torch

    source = emit(model)
    root = _root(model.name, source)
    if weights is None:
        network = _constructed(root, device)
        _check(model, network)
        return network
    tensors = by_first_names(model, state(model), _tensors(weights), _place, _are_equal)
    network = _constructed(root, "meta")
    _check(model, network)
    _check_given(model, tensors)
    network.to_empty(device=torch.get_default_device() if device is None else device)
    others = second_names(model)
    _tie(network, others)
    tied = {other: tensors[path] for other, path in others.items()}
    network.load_state_dict({**tensors, **tied}, strict=True)
    return network


def _constructed(root: type[nn.Module], device: str | torch.device | None) -> nn.Module:
    import torch

    if device is None:
        return root()
    with torch.device(device):
        return root()


def _tie(network: nn.Module, second_names: Mapping[str, str]) -> None:
    """Make tied weights one again, which `to_empty` parts."""
    for other, path in second_names.items():
        (owner, name), (first, own) = _taken_apart(other), _taken_apart(path)
        setattr(network.get_submodule(owner), name, getattr(network.get_submodule(first), own))


def _taken_apart(path: str) -> tuple[str, str]:
    owner, _, name = path.rpartition(".")
    return owner, name


# ------------------------------------------------------------------------------------ execution


def _root(name: str, source: str) -> type[nn.Module]:
    """The class that is the model; the same source is executed once."""
    digest = hashlib.sha256(source.encode()).hexdigest()[:12]
    module_name = f"archdsl.generated.{identifier(name)}_{digest}"
    module = sys.modules.get(module_name)
    if module is None:
        module = _execute(module_name, source)
    return getattr(module, root_class(source))


def _execute(module_name: str, source: str) -> ModuleType:
    """Run the source as a module that tracebacks, `inspect` and pickle can find."""
    file = f"<{module_name}>"
    module = ModuleType(module_name)
    module.__file__ = file
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    sys.modules[module_name] = module
    try:
        exec(compile(source, file, "exec"), module.__dict__)  # noqa: S102
    except Exception as problem:
        del sys.modules[module_name]
        raise InternalError(f"the emitted source does not run: {problem}") from problem
    _make_portable(getattr(module, root_class(source)), module_name, source)
    return module


def _make_portable(root: type[nn.Module], module_name: str, source: str) -> None:
    """Let pickles carry the source, so that another process can read them."""

    def reduce(self: nn.Module, protocol: Any) -> Any:
        plain = object.__reduce_ex__(self, protocol)
        if type(self) is not root:
            return plain
        return restore, (module_name, source), *plain[2:]

    root.__reduce_ex__ = reduce


def restore(module_name: str, source: str) -> nn.Module:
    """An empty module of the class in the source, for pickle to fill."""
    module = sys.modules.get(module_name) or _execute(module_name, source)
    root = getattr(module, root_class(source))
    return root.__new__(root)


# -------------------------------------------------------------------------------------- weights


def _check(model: Model, network: nn.Module) -> None:
    """Compare the state dict with the model's; a difference is the compiler's fault."""
    expected = {
        path: (known_shape(path, weight.dims), f"torch.{weight.dtype.value}")
        for path, weight in state(model).items()
    }
    expected |= {other: expected[path] for other, path in second_names(model).items()}
    found = {
        path: (tuple(tensor.shape), str(tensor.dtype))
        for path, tensor in network.state_dict(keep_vars=True).items()
    }
    if found == expected:
        return
    paths = [path for path in {**expected, **found} if expected.get(path) != found.get(path)]
    path = paths[0]
    raise InternalError(
        f"the emitted source of {model.name} has other weights than the model:"
        f" {path} is {found.get(path)}, not {expected.get(path)}"
    )


def _tensors(weights: Mapping[str, Any] | str | Path) -> dict[str, torch.Tensor]:
    import torch

    if isinstance(weights, Mapping):
        return {
            name: value if isinstance(value, torch.Tensor) else tensor_of(value)
            for name, value in weights.items()
        }
    from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]

    return load_file(weights)


def _place(tensor: torch.Tensor) -> Hashable:
    """Where the numbers of a tensor lie; one without numbers lies nowhere."""
    where = tensor.data_ptr() or object()
    return where, tensor.shape, tensor.stride(), tensor.dtype


def _are_equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    import torch

    return one.dtype == other.dtype and (one.is_meta or torch.equal(one, other))


def _check_given(model: Model, tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse weights that do not fit, with a report of all differences."""
    stand_ins = {name: _stand_in(tensor) for name, tensor in tensors.items()}
    report = compare(state(model), stand_ins)
    if not report.fits:
        raise WeightsMismatchError(report)


def _stand_in(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """An array of the same shape and element type, without its numbers."""
    name = str(tensor.dtype).removeprefix("torch.")
    dtype = numpy_dtype(DType(name)) if name in set(DType) else np.dtype(object)
    return np.broadcast_to(np.zeros((), dtype), tuple(tensor.shape))
