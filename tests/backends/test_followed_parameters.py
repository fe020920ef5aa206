"""Whoever edits a parameter of an emitted class gets the network that the spec has for it."""

from __future__ import annotations

import inspect

import pytest
import torch
from network_parity import namespace
from torch import nn

from archdsl import api
from archdsl.backends.torch.source import root_class
from archdsl.resources import shipped_models

NAMES = [
    *("alexnet", "bert_base", "dalle_vae_decoder", "dalle_vae_encoder", "densenet121", "fast_rcnn"),
    *("faster_rcnn", "fasterrcnn_resnet50_fpn", "fcn8s", "fcn_resnet50", "googlenet", "gpt2"),
    *("gru_lm", "latent_rnn_lm", "lstm_lm_builtin", "llama_small", "markov_lm", "mobilenet_v2"),
    *("resnet18", "seq2seq_attention", "sppnet", "squeezenet1_0", "t5_small", "transformer_base"),
    *("unet", "vgg11", "vit_b_32", "yolov1", "yolov3"),
]
REFUSED = {("vit_b_32", "patch"), ("llama_small", "groups")}
"""What cannot be twice as much with all else as it is."""


def emitted(network: api.Network) -> type[nn.Module]:
    source = network.to_source()
    return namespace(source)[root_class(source)]


def integers(root: type[nn.Module]) -> dict[str, int]:
    """The parameters that are integers, with what they are in the emitted model."""
    parameters = inspect.signature(root).parameters.values()
    return {p.name: p.default for p in parameters if type(p.default) is int}


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {path: tuple(tensor.shape) for path, tensor in module.state_dict().items()}


def assert_followed(spec: str, given: dict[str, int], root: type[nn.Module]) -> None:
    wanted = api.load(spec, **given).to_torch(device="meta")
    with torch.device("meta"):
        assert shapes(root(**given)) == shapes(wanted), given


@pytest.mark.parametrize("name", NAMES)
def test_shipped_models_follow_their_parameters(name: str) -> None:
    assert name in shipped_models()
    root = emitted(api.load(name))
    given = integers(root)
    for parameter, value in given.items():
        if (name, parameter) not in REFUSED:
            assert_followed(name, {**given, parameter: 2 * value}, root)


FOLLOWED = {
    "powers of a loop's variable": """
  for i in 0..3 { x = x -> a{i}: Conv(n * 2 ** i, 1) }
  return x -> out: Conv(n, 1)""",
    "a width that leaves its loop": """
  for i in 0..2 { x = x -> a{i}: Conv(16 * n // 2 ** i, 1) }
  return x -> b: Conv(3, 1) -> c: Conv(3 * n, 1)""",
    "a loop as long as the parameter": """
  x = x -> stem: Conv(8, 1)
  for i in 0..n { x = x -> a{i}: Conv(8, 1) }
  return x -> out: Conv(n, 1)""",
    "a distance": """
  return x -> a: Conv(abs(n - 4) + 1, 1) -> out: Conv(n, 1)""",
    "what a weight is filled with": """
  buffer shift: [n, 1, 1] = constant(n)
  param scale: [n, 1, 1] = constant(1 / n)
  return (x -> out: Conv(n, 1)) * scale + shift""",
    "a choice between formulas": """
  width = if n == 2 then 3 * n - 1 else n
  return x -> a: Conv(width, 1) -> out: Conv(n, 1)""",
}
VANISHED = {
    "a line through two passes": """
  x = x -> stem: Conv(4, 1)
  for i in 0..n { x = x -> a{i}: Conv(8, 1) }
  return x -> out: Conv(n, 1)""",
    "passes that differ by a condition": """
  x = x -> stem: Conv(4, 1)
  for i in 0..n {
    if i % 2 == 0 { x = x -> a{i}: Conv(4, 1) } else { x = x -> a{i}: Linear(4) }
  }
  return x -> out: Conv(n, 1)""",
}


def written(body: str) -> tuple[str, type[nn.Module]]:
    text = f"edition 2026\nmodel net(n: int = 2)(x: [N, 3, 4, 4]) {{{body}\n}}"
    return text, emitted(api.load(text))


@pytest.mark.parametrize("case", FOLLOWED)
def test_widths_follow(case: str) -> None:
    text, root = written(FOLLOWED[case])
    assert integers(root) == {"n": 2}
    for value in (1, 3, 6):
        assert_followed(text, {"n": value}, root)


@pytest.mark.parametrize("case", VANISHED)
def test_what_not_everything_follows_is_no_parameter(case: str) -> None:
    text, root = written(VANISHED[case])
    assert integers(root) == {}
    assert_followed(text, {}, root)
