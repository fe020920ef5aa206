"""Runs a model once on arrays, with PyTorch or ONNX Runtime."""

# Neither torch nor onnxruntime says all of its types.
# pyright: basic

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np

from archdsl.diagnostics import GivenError
from archdsl.ir.model import Model, Port, Requirement
from archdsl.weights.dtypes import array_of, numpy_dtype, tensor_of

Array = np.ndarray[Any, Any]


class InputsMismatchError(GivenError):
    """The given arrays are not what the model takes; the reason follows."""


def named_inputs(model: Model, given: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays in the order of the model's inputs, checked; one may come without a name."""
    ports = model.root.inputs
    names = [port.name for port in ports]
    if list(given) == [""] and len(ports) == 1:
        given = {names[0]: given[""]}
    wrong = [name or "(no name)" for name in given if name not in names]
    missing = [name for name in names if name not in given]
    if wrong or missing:
        expected = f"{model.name} takes {', '.join(names)}"
        odd = f"; there is no {', '.join(wrong)}" if wrong else ""
        absent = f"; {', '.join(missing)} is not given" if missing else ""
        raise InputsMismatchError(expected + odd + absent)
    sizes: dict[str, int] = {}
    for port in ports:
        _check_input(model, port, given[port.name], sizes)
    for requirement in model.root.requirements:
        if not requirement.condition.evaluate(sizes):
            raise InputsMismatchError(_not_met(model, requirement, sizes))
    return {name: given[name] for name in names}


def _check_input(model: Model, port: Port, array: Array, sizes: dict[str, int]) -> None:
    """Refuse another element type or shape; remember what the symbols are."""
    expected = model.root.type(port.value)
    found = f"{array.dtype.name}[{', '.join(map(str, array.shape))}]"
    problem = f"`{port.name}` must be {expected}, but is {found}"
    if array.dtype != numpy_dtype(expected.dtype) or array.ndim != expected.rank:
        raise InputsMismatchError(problem)
    for dim, size in zip(expected.dims, array.shape, strict=True):
        if dim.symbol_name is not None and sizes.setdefault(dim.symbol_name, size) != size:
            name = dim.symbol_name
            raise InputsMismatchError(f"{problem}, while {name} is {sizes[name]} elsewhere")
        if dim.value is not None and dim.value != size:
            raise InputsMismatchError(problem)
        if size == 0 and dim.symbol_name in set(model.root.symbols) - set(model.root.empty):
            raise InputsMismatchError(f"{problem}, and {dim.symbol_name} must be at least 1")


def _not_met(model: Model, requirement: Requirement, sizes: Mapping[str, int]) -> str:
    condition = requirement.condition
    found = " and ".join(f"{name} is {sizes[name]}" for name in sorted(condition.symbols))
    return f"{model.name} requires {condition}, but {found}: {requirement.reason}"


def output_names(model: Model) -> list[str]:
    """The outputs outside training."""
    return [port.name for port in model.root.outputs if not port.training]


def run_torch(module: Callable[..., Any], model: Model, inputs: Mapping[str, Array]) -> list[Array]:
    """What a module gives for arrays, in the precision of the arrays."""
    import torch

    with torch.inference_mode():
        result = module(*map(tensor_of, inputs.values()))
    results: Sequence[Any] = result if isinstance(result, tuple) else (result,)
    return [array_of(each) for each in results[: len(output_names(model))]]


def run_torch_in_float64(
    module: Callable[..., Any], model: Model, inputs: Mapping[str, Array]
) -> list[Array]:
    """As `run_torch`, with float64 also where the module itself makes float32."""
    import torch
    from torch.overrides import TorchFunctionMode

    def widened(argument: Any) -> Any:
        return torch.float64 if argument is torch.float32 else argument

    class Widened(TorchFunctionMode):
        """Every function that is told float32 is told float64."""

        def __torch_function__(self, function, types, arguments=(), keywords=None):
            named = {name: widened(value) for name, value in (keywords or {}).items()}
            return function(*map(widened, arguments), **named)

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with Widened():
            return run_torch(module, model, inputs)
    finally:
        torch.set_default_dtype(before)


def run_onnx(source: bytes | str | PathLike[str], inputs: Mapping[str, Array]) -> list[Array]:
    """What ONNX Runtime gives for arrays, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    given = source if isinstance(source, bytes) else str(source)
    session = onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    return [np.asarray(each) for each in session.run(None, dict(inputs))]
