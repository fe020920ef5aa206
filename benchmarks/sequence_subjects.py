"""Sequence models that PyTorch's libraries have too, and both ways to build and export them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import Dim

import archdsl
from tests.support.torchvision_shim import torchvision

Arrays = dict[str, np.ndarray]
HIDDEN = 256
OPSET = 20
"""torch's own default."""
TRACED = (2, 128)
"""Batch and length of what torch's export looks at; it fixes the length of recurrences to it."""

RECURRENT = """edition 2026
model {kind}(x: [B, T, {hidden}]) -> [B, T, {width}] {{
  x -> {layer}({hidden}, num_layers=2, batch_first=true, bidirectional={both})
}}
"""


class First(nn.Module):
    """A module, of whose results the first are wanted, called by the names of its inputs."""

    def __init__(self, inner: nn.Module, names: tuple[str, ...], count: int = 1) -> None:
        super().__init__()
        self.inner = inner
        self.names = names
        self.count = count

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        if self.names:
            result = self.inner(**dict(zip(self.names, inputs, strict=True)))
        else:
            result = self.inner(*inputs)
        if isinstance(result, torch.Tensor):
            return result
        return result[0] if self.count == 1 else tuple(result[at] for at in range(self.count))


@dataclass(frozen=True, slots=True)
class Subject:
    """One network in both forms: `theirs` takes the inputs in the order of `names`."""

    name: str
    network: archdsl.Network
    theirs: nn.Module
    inputs: Callable[[int, int], Arrays]
    """Inputs by their names for a batch and a length."""
    free: tuple[str, ...]
    """The names of the leading axes that are free: batch, or batch and length."""
    weights: Mapping[str, torch.Tensor]

    def export_theirs(self, path: Path) -> None:
        """What a PyTorch user runs."""
        logging.disable(logging.WARNING)
        tensors = tuple(map(torch.from_numpy, self.inputs(*TRACED).values()))
        axes = {axis: Dim(name) for axis, name in enumerate(self.free)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                self.theirs,
                tensors,
                path,
                dynamo=True,
                verbose=False,
                dynamic_shapes=((axes,) * len(tensors),),
            )

    def export_ours(self, path: Path) -> None:
        """The same by us, from memory to disk, at the opset that torch takes."""
        self.network.save_onnx(path, self.weights, opset=OPSET)

    def emitted(self) -> nn.Module:
        """The emitted module with the same weights."""
        module = self.network.to_torch(weights=self.weights)
        return module.eval().requires_grad_(requires_grad=False)


def _random(module: nn.Module) -> nn.Module:
    """For inference; what begins at zero or one is moved, so that nothing is without effect."""
    for parameter in module.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, 0.5, 0.1)
    return module.eval().requires_grad_(requires_grad=False)


def bert() -> Subject:
    """BERT base, with everything to be seen."""
    import transformers

    torch.manual_seed(0)
    module = _random(transformers.BertModel(transformers.BertConfig()))
    generator = np.random.default_rng(0)

    def inputs(batch: int, length: int) -> Arrays:
        return {
            "input_ids": generator.integers(0, 30_000, (batch, length)),
            "attention_mask": np.ones((batch, length), bool),
            "token_type_ids": np.zeros((batch, length), np.int64),
        }

    theirs = First(module, ("input_ids", "attention_mask", "token_type_ids"), 2)
    network = archdsl.load("bert_base")
    return Subject("bert_base", network, theirs, inputs, ("B", "T"), module.state_dict())


def gpt2() -> Subject:
    """GPT-2 small, without caches."""
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(use_cache=False)
    module = _random(transformers.GPT2LMHeadModel(config))
    generator = np.random.default_rng(0)

    def inputs(batch: int, length: int) -> Arrays:
        return {"input_ids": generator.integers(0, 50_000, (batch, length))}

    theirs = First(module, ("input_ids",))
    return Subject("gpt2", archdsl.load("gpt2"), theirs, inputs, ("B", "T"), module.state_dict())


def vit() -> Subject:
    """ViT-B/16; its length is that of the picture."""
    torch.manual_seed(0)
    module = _random(torchvision.models.vit_b_16())
    nn.init.normal_(module.heads.head.weight, 0.0, 0.02)
    generator = np.random.default_rng(0)

    def inputs(batch: int, length: int) -> Arrays:
        return {"image": generator.standard_normal((batch, 3, 224, 224), dtype=np.float32)}

    network = archdsl.load("vit_b_16")
    return Subject("vit_b_16", network, First(module, ()), inputs, ("N",), module.state_dict())


def recurrent(layer: str, *, bidirectional: bool) -> Subject:
    """Two layers of a recurrence, in one direction or both."""
    torch.manual_seed(0)
    kinds: dict[str, type[nn.Module]] = {"LSTM": nn.LSTM, "GRU": nn.GRU}
    settings: dict[str, Any] = {"num_layers": 2, "batch_first": True}
    module = kinds[layer](HIDDEN, HIDDEN, bidirectional=bidirectional, **settings)
    module.eval().requires_grad_(requires_grad=False)
    generator = np.random.default_rng(0)

    def inputs(batch: int, length: int) -> Arrays:
        return {"x": generator.standard_normal((batch, length, HIDDEN), dtype=np.float32)}

    text = RECURRENT.format(
        kind=layer.lower(),
        layer=layer,
        hidden=HIDDEN,
        width=HIDDEN * (1 + bidirectional),
        both=str(bidirectional).lower(),
    )
    network = archdsl.load(text)
    (prefix,) = {path.rpartition(".")[0] for path in network.to_torch().state_dict()}
    weights = {f"{prefix}.{path}": tensor for path, tensor in module.state_dict().items()}
    name = f"{'bidirectional ' * bidirectional}{layer}"
    return Subject(name, network, First(module, ()), inputs, ("B", "T"), weights)
