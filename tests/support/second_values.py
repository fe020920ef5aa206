"""Emitted classes at other values of their parameters, beside the spec at those values."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from network_parity import as_tuple, lively

from archdsl import api
from archdsl.backends.torch.generalise.classes import classes_of_blocks
from archdsl.backends.torch.template import Template
from archdsl.backends.torch.trace.trace import static_names
from archdsl.diagnostics import ArchError
from archdsl.ir.literals import literal
from archdsl.ir.lowering import Unsupported
from archdsl.ir.model import Block
from archdsl.ir.types import TensorType
from archdsl.resources import library_blocks
from archdsl.rewrites.fuse import for_torch
from archdsl.sizes.dims import Dim

PROBE = "Probe0"
"""A model around the block that is compared; its one layer has the path `b`."""

SIZES = (12, 7, 32, 65, 224)
"""What symbols are tried as until the spec takes one."""

MOST_WEIGHTS = 10_000_000
"""Larger instances are compared in the shapes of their weights alone."""


@dataclass(frozen=True)
class Trial:
    """A class of an emitted file, one of its parameters, and a value for that."""

    model: str
    template: Template
    block: Block
    parameter: str
    value: Any

    @property
    def id(self) -> str:
        return f"{self.template.name}.{self.parameter}={self.value}"

    @property
    def is_own(self) -> bool:
        """Whether the value is the one that the class was written for."""
        return self.values == static_names(self.block)

    @property
    def values(self) -> dict[str, Any]:
        """Every name of the block with its value, that of the parameter changed."""
        return static_names(self.block) | {self.parameter: self.value}


def other_values(value: Any) -> Iterator[Any]:
    """Values near another one, of its type."""
    match value:
        case bool():
            yield not value
        case int():
            yield from (2 * value, value + 1, max(1, value // 2))
        case float():
            yield value / 2 + 0.125
        case tuple():
            yield from zip(*(tuple(other_values(item)) for item in value), strict=False)
        case _:
            pass


def trials(network: api.Network) -> Iterator[Trial]:
    """Every class with every parameter, at its own value and at every other."""
    model = for_torch(network.ir)
    blocks: dict[int, tuple[Template, Block]] = {}
    for key, template in classes_of_blocks(model).items():
        blocks.setdefault(id(template), (template, model.blocks[key]))
    for template, block in blocks.values():
        for parameter in template.parameters:
            own = static_names(block)[parameter]
            for value in dict.fromkeys((own, *other_values(own))):
                yield Trial(model.name, template, block, parameter, value)


def probe(trial: Trial, text: str) -> str:
    """The spec's text and a model that applies the block once, at the trial's values."""
    block, values = trial.block, trial.values
    parameters = {each.name for each in block.arguments}
    sizes = {name: value for name, value in values.items() if name not in parameters}
    symbols = {name: Dim.symbol(name.capitalize()) for name in block.symbols}

    def declared(type: TensorType) -> TensorType:
        dims = (
            dim.origin.substitute(sizes)
            if dim.has_origin and not dim.origin.symbols.isdisjoint(sizes)
            else dim.substitute(symbols)
            for dim in type.dims
        )
        return TensorType(type.dtype, tuple(dims), type.axes)

    ports = ", ".join(f"{port.name}: {declared(block.type(port.value))}" for port in block.inputs)
    arguments = [
        f"{each.name}={each.value if each.kind == 'layer' else literal(values[each.name])}"
        for each in block.arguments
        if each.kind != "layer" or each.value is not None
    ]
    arguments += [f"{port.name}={port.name}" for port in block.inputs[1:]]
    call = f"{block.name}({', '.join(arguments)})"
    library = library_blocks().get(block.name)
    if library is not None and not re.search(rf"\b{block.name}\b", text):
        text = text.replace("edition 2026\n", f"edition 2026\nimport {library} ({block.name})\n", 1)
    return f"{text}\nmodel {PROBE}({ports}) {{ return {block.inputs[0].name} -> b: {call} }}\n"


def specified(trial: Trial, spec: Path, folder: Path) -> api.Network | None:
    """The spec's own network at the trial's values, at the first size that it takes or at none."""
    is_argument = trial.parameter in {each.name for each in trial.block.arguments}
    changed = {trial.parameter: trial.value}
    path, name, settings, fixed = spec, trial.model, changed, dict[str, int]()
    if not is_argument:
        settings, fixed = fixed, changed
    if not trial.template.is_root:
        path, name, settings, fixed = folder / "probe.arch", PROBE, {}, {}
        path.write_text(probe(trial, spec.read_text("utf-8")), "utf-8")
    symbols = [
        name if trial.template.is_root else name.capitalize() for name in trial.block.symbols
    ]
    for dims in (*sizes_of(symbols), dict[str, int]()):
        try:
            return api.load(path, name, dims={**dims, **fixed}, **settings)
        except (ArchError, Unsupported):
            continue
    return None


def sizes_of(symbols: Sequence[str]) -> Iterator[dict[str, int]]:
    """A size for every symbol; batches are of two. All are equal, or each is less than the last."""
    for less in (0, 5):
        for size in SIZES[2 * (less > 0) :]:
            sizes = {symbol: size - less * place for place, symbol in enumerate(symbols)}
            yield {symbol: 2 if symbol in ("N", "B") else max(1, s) for symbol, s in sizes.items()}


def difference(trial: Trial, network: api.Network, classes: Mapping[str, Any]) -> str | None:
    """How the emitted class at the trial's values is not what the spec is."""
    cls = classes[trial.template.name]
    names = zip(inspect.signature(cls).parameters, trial.template.parameters, strict=True)
    values = {
        name: trial.values[parameter]
        for name, parameter in names
        if parameter == trial.parameter or not trial.template.is_root
    }
    try:
        with torch.device("meta"):
            own = cls(**values)
    except Exception as problem:  # the class is wrong, in whatever way
        return f"cannot be built: {problem}"
    prefix = "" if trial.template.is_root else "b."
    shapes = {f"{prefix}{path}": tuple(t.shape) for path, t in own.state_dict().items()}
    wanted = {
        path: tuple(t.shape) for path, t in network.to_torch(device="meta").state_dict().items()
    }
    unlike = [path for path in {**shapes, **wanted} if shapes.get(path) != wanted.get(path)]
    if unlike:
        return f"weights {[(path, shapes.get(path), wanted.get(path)) for path in unlike[:3]]}"
    if sum(map(prod, wanted.values())) > MOST_WEIGHTS:
        return None
    return output_difference(cls(**values).eval(), network, prefix)


def output_difference(own: torch.nn.Module, network: api.Network, prefix: str) -> str | None:
    """How the outputs for one input differ, with the same weights on both sides."""
    weights = lively("second values", own)
    own.load_state_dict(weights)
    its = network.to_torch().eval()
    its.load_state_dict({f"{prefix}{path}": tensor for path, tensor in weights.items()})
    inputs, wanted = run(its, network)
    with torch.no_grad():
        try:
            found = as_tuple(own(*inputs))
        except Exception as problem:  # the class is wrong, in whatever way
            return f"cannot be run: {problem}"
    pairs = zip(found, wanted, strict=True)
    if all(a.shape == b.shape and torch.allclose(a, b, 1e-4, 1e-5, True) for a, b in pairs):
        return None
    return "outputs"


def run(
    module: torch.nn.Module, network: api.Network
) -> tuple[list[torch.Tensor], tuple[torch.Tensor, ...]]:
    """Inputs of the first size that the network runs at, and its outputs."""
    root = network.ir.root
    for sizes in sizes_of(root.symbols):
        inputs = [drawn(root.type(port.value), sizes) for port in root.inputs]
        try:
            with torch.no_grad():
                return inputs, as_tuple(module(*inputs))
        except (RuntimeError, IndexError):
            continue
    raise AssertionError(f"{network.ir.name} runs at no size")


def drawn(type: TensorType, sizes: Mapping[str, int]) -> torch.Tensor:
    """An input; integers are few, so that they can index anything."""
    shape = [dim.evaluate(sizes) for dim in type.dims]
    generator = torch.Generator().manual_seed(sum(shape))
    if type.dtype.is_floating:
        return torch.randn(shape, generator=generator)
    return torch.randint(0, 2, shape, generator=generator).to(getattr(torch, type.dtype.value))
