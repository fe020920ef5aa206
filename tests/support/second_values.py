"""Emitted classes at other values of their parameters, beside the spec at those values."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from archdsl import api
from archdsl.backends.torch.generalise.classes import classes_of_blocks
from archdsl.backends.torch.template import Template
from archdsl.backends.torch.trace.trace import plain, static_names
from archdsl.diagnostics import ArchError
from archdsl.ir.lowering import Unsupported
from archdsl.ir.model import Block
from archdsl.ir.types import TensorType
from archdsl.rewrites.fuse import for_torch
from archdsl.sizes.dims import Dim
from tests.support.network_parity import lively

PROBE = "Probe0"
"""A model around the block that is compared; its one layer has the path `b`."""

MOST_WEIGHTS = 3_000_000
"""Larger instances are compared in the shapes of their weights alone."""


@dataclass(frozen=True)
class Trial:
    """A class of an emitted file, one of its parameters, and another value for that."""

    spec: str
    template: Template
    block: Block
    parameter: str
    value: Any

    @property
    def id(self) -> str:
        return f"{self.spec}:{self.template.name}.{self.parameter}={self.value}"


def other_values(value: Any) -> Iterator[Any]:
    """Values near another one, of its type."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from dict.fromkeys((2 * value, value + 1, max(1, value // 2)))
    elif isinstance(value, float):
        yield value / 2 + 0.125
    elif isinstance(value, tuple):
        for each in zip(*(tuple(other_values(item)) for item in value), strict=False):
            yield tuple(each)


def trials(spec: str, model: api.Network) -> Iterator[Trial]:
    """Every class with every parameter that a class has, at every other value."""
    fused = for_torch(model.ir)
    seen: set[int] = set()
    for key, template in classes_of_blocks(fused).items():
        if id(template) in seen:
            continue
        seen.add(id(template))
        block = fused.blocks[key]
        names = static_names(block)
        for parameter in template.parameters:
            for value in other_values(names[parameter]):
                if value != names[parameter]:
                    yield Trial(spec, template, block, parameter, value)


def written(value: Any) -> str:
    """A static value in the language."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(written, value))}]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def sized(type: TensorType, changed: Mapping[str, int]) -> TensorType:
    """A type of a block's input with other numbers for the sizes that its signature names."""

    def at(dim: Dim) -> Dim:
        if not dim.has_origin or dim.origin.symbols.isdisjoint(changed):
            return dim.without_origin()
        return dim.origin.substitute(changed)

    return TensorType(type.dtype, tuple(at(dim) for dim in type.dims), type.axes)


def probe(trial: Trial, text: str, values: Mapping[str, Any]) -> str:
    """The spec's text with a model that applies the block once, at these values."""
    block = trial.block
    named = {each.name for each in block.arguments}
    sizes = {name: value for name, value in values.items() if name not in named}
    ports = [f"{port.name}: {sized(block.type(port.value), sizes)}" for port in block.inputs]
    arguments = [
        f"{each.name}={each.value if each.kind == 'layer' else written(values[each.name])}"
        for each in block.arguments
        if each.kind != "layer" or each.value is not None
    ]
    others = [f"{port.name}={port.name}" for port in block.inputs[1:]]
    call = f"{block.name}({', '.join([*arguments, *others])})"
    signature = ", ".join(ports)
    return f"{text}\nmodel {PROBE}({signature}) {{ return {block.inputs[0].name} -> b: {call} }}\n"


def wanted(trial: Trial, path: Path, values: Mapping[str, Any]) -> api.Network | None:
    """The spec's own network at these values; None where the spec refuses them."""
    try:
        if trial.template.is_root:
            if trial.parameter not in {each.name for each in trial.block.arguments}:
                return api.load(path, trial.spec, dims={trial.parameter: trial.value})
            return api.load(path, trial.spec, **{trial.parameter: trial.value})
        text = probe(trial, path.read_text(), values)
        with tempfile.NamedTemporaryFile("w", suffix=".arch", dir=path.parent) as file:
            file.write(text)
            file.flush()
            return api.load(file.name, PROBE)
    except (ArchError, Unsupported):
        return None


def difference(trial: Trial, path: Path, scope: Mapping[str, Any]) -> str | None:
    """How the class at the other value is not what the spec is; None if it is, or is refused."""
    names = {**static_names(trial.block)}
    values = {name: plain(value) for name, value in names.items()} | {trial.parameter: trial.value}
    network = wanted(trial, path, values)
    if network is None:
        return None
    cls = scope[trial.template.name]
    names = list(inspect.signature(cls).parameters)
    given = {
        name: values[parameter]
        for name, parameter in zip(names, trial.template.parameters, strict=True)
        if parameter == trial.parameter or not trial.template.is_root
    }
    with torch.device("meta"):
        try:
            own = cls(**given)
        except Exception as problem:
            return f"cannot be built: {type(problem).__name__}: {problem}"
        its = network.to_torch(device="meta")
    prefix = "" if trial.template.is_root else "b."
    shapes = {path: tuple(t.shape) for path, t in own.state_dict().items()}
    spec = {p.removeprefix(prefix): tuple(t.shape) for p, t in its.state_dict().items()}
    if shapes != spec:
        different = [p for p in {**shapes, **spec} if shapes.get(p) != spec.get(p)]
        return f"weights {[(p, shapes.get(p), spec.get(p)) for p in different[:3]]}"
    if sum(t.numel() for t in own.state_dict().values()) > MOST_WEIGHTS:
        return None
    return _outputs(cls, given, network, prefix)


def _outputs(
    cls: type[nn.Module], given: Mapping[str, Any], network: api.Network, prefix: str
) -> str | None:
    own, its = cls(**given).eval(), network.to_torch().eval()
    weights = lively("w", own)
    own.load_state_dict(weights)
    its.load_state_dict({f"{prefix}{path}": tensor for path, tensor in weights.items()})
    for size in (12, 7, 32, 65, 224):
        inputs = [_drawn(network.ir.root.type(p.value), size) for p in network.ir.root.inputs]
        try:
            with torch.no_grad():
                expected = its(*inputs)
        except Exception:  # the spec has no such size
            continue
        try:
            with torch.no_grad():
                found = own(*inputs)
        except Exception as problem:
            return f"cannot be run: {type(problem).__name__}: {str(problem)[:100]}"
        for one, other in zip(_flat(found), _flat(expected), strict=True):
            if one.shape != other.shape or not torch.allclose(one, other, 1e-4, 1e-5, True):
                return f"outputs at {size}"
        return None
    return None


def _flat(outputs: Any) -> tuple[torch.Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _drawn(type: TensorType, size: int) -> torch.Tensor:
    symbols = {name for dim in type.dims for name in dim.symbols}
    sizes = {name: 2 if name in ("N", "B") else size for name in symbols}
    shape = [dim.evaluate(sizes) for dim in type.dims]
    generator = torch.Generator().manual_seed(sum(shape))
    if type.dtype.is_floating:
        return torch.randn(shape, generator=generator)
    if type.dtype.value == "bool":
        return torch.rand(shape, generator=generator) > 0.3
    return torch.randint(0, 2, shape, generator=generator)


def executed(network: api.Network) -> dict[str, Any]:
    """The classes of an emitted file by name."""
    scope: dict[str, Any] = {"__name__": "emitted"}
    exec(compile(network.to_source(), "emitted.py", "exec"), scope)  # noqa: S102
    return scope
