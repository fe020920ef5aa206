"""Small models whose emitted source is looked at, and what every source must keep to."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from typing import Any

import pytest
import torch

from archdsl.backends.torch.generalise import classes as torch_classes
from archdsl.backends.torch.generalise.cases import Mismatch
from archdsl.compiler import Compilation
from archdsl.ir.model import Model
from archdsl.source import Source

SCENARIOS: dict[str, str] = {
    "carried_loop": """
block Layer(growth: int)(x: [N, C, H, W]) { x -> conv: Conv(growth, 3, padding=1) -> relu }
block Dense(layers: int, growth: int)(x: [N, C, H, W]) {
  for i in 0..layers { x = concat(x, x -> layer{i + 1}: Layer(growth), axis=C) }
  return x
}
model net(image: [N, 3, H, W]) {
  image -> a: Dense(3, 4) -> b: Dense(5, 2) -> c: Dense(1, 3)
}
""",
    "branches": """
block Unit(width: int, stride: int = 1, gated: bool = false)(x: [N, C, H, W]) {
  y = x -> conv: Conv(width, 3, stride=stride, padding=1)
  if gated { y = y * (y -> gate: Conv(width, 1) -> sigmoid) } else { y = relu(y) }
  if stride == 1 and C == width { y = x + y }
  return y
}
model net(image: [N, 3, H, W]) {
  image -> a: Unit(8) -> b: Unit(8, gated=true) -> c: Unit(16, stride=2) -> d: Unit(16)
        -> e: Unit(16, 2, true)
}
""",
    "skip_kept_over_a_branch": """
block Unit(width: int, project: bool)(x: [N, C, H, W]) {
  h = x
  if project { h = x -> proj: Conv(width, 1) }
  y = h -> conv: Conv(width, 3, padding=1)
  return concat(x, h + y, axis=C)
}
model net(image: [N, 3, H, W]) { image -> a: Unit(8, true) -> b: Unit(11, false) }
""",
    "repeats": """
block Unit(width: int)(x: [N, C, H, W]) { x -> Conv(width, 3, padding=1) -> BatchNorm -> ReLU }
block Stage(width: int, depth: int)(x: [N, C, H, W]) {
  x -> body: repeat depth { Unit(width) } -> tail: Conv(width, 1)
}
model net(image: [N, 3, H, W]) {
  image -> a: Stage(4, 1) -> b: Stage(4, 4) -> c: Stage(6, 3) -> repeat 3 { Unit(5) }
        -> d: repeat 20 { Conv(5, 1) }
}
""",
    "shared": """
model net(image: [N, 3, H, W]) {
  step = Conv(3, 3, padding=1)
  x = image -> step -> relu -> step
  return x -> again: repeat 4 share { Conv(3, 1) }
}
""",
    "scope_with_functions": """
model net(image: [N, 3, H, W]) {
  x = image -> features: { Conv(4, 3) -> relu -> Conv(5, 3) -> MaxPool(2) -> last: Conv(6, 1) }
  return x -> head: { global_avg_pool -> flatten -> Linear(7) -> Dropout(0.1) -> tanh -> Linear(2) }
}
""",
    "own_weights": """
block Scale(start: float)(x: [N, C, H, W]) {
  param gamma: [C, 1, 1] = normal(std=0.02)
  param beta: [C, 1, 1] = zeros
  buffer mask: [C, 1, 1] = ones
  return x * gamma * mask + beta
}
model net(image: [N, 3, H, W]) { image -> a: Scale(0.5) -> Conv(5, 1) -> b: Scale(1.0) }
""",
    "tied_weights": """
model net(tokens: int64[B, T]) {
  param temperature: [1] = constant(2.0)
  h = tokens -> embedding: Embedding(11, 8) -> norm: LayerNorm
  return linear(h, embedding.weight) * temperature
}
""",
    "run_time_sizes": """
model net(x: [B, T, 6]) {
  y = x -> reshape(B, T * 2, 3)
  return y * T + B
}
""",
    "several": """
block Cell(hidden: int)(x: [B, I], h: [B, hidden]) -> [B, hidden], [B, hidden] {
  z = concat(x, h, axis=1)
  new = z -> candidate: Linear(hidden) -> tanh
  gate = z -> gate: Linear(hidden) -> sigmoid
  return gate * new, new
}
model net(x: [B, 5], y: [B, 7]) -> first: [B, 7], second: [B, 7], training extra: [B, 2] {
  cell = Cell(7)
  a, b = cell(x, y)
  other = Cell(7)
  c, d = other(x, a)
  return first = a + c, second = b * d, training extra = d -> aux: Linear(2)
}
""",
    "initialised": """
block Unit(width: int)(x: [N, C, H, W]) {
  x -> conv: Conv(width, 3, weight_init=kaiming_normal(mode="fan_out", nonlinearity="relu"),
                  bias_init=zeros) -> BatchNorm
}
model net(image: [N, 3, H, W]) {
  image -> body: { Conv(4, 1, weight_init=normal(std=0.5)) -> Unit(5) -> Unit(6) }
        -> many: repeat 4 { Conv(6, 1, bias_init=constant(0.25)) }
}
""",
    "bilinear": """
model net(image: [N, 3, H, W]) {
  image -> up: ConvTranspose(3, 4, stride=2, padding=1, weight_init=bilinear, bias=false)
        -> each: ConvTranspose(3, 3, groups=3, weight_init=bilinear)
}
""",
    "names": """
block forward(self: int)(class_: [N, C, H, W]) {
  class_ -> zero_grad: Conv(self, 1) -> eval: BatchNorm
}
block Bare(lambda_: int)(x: [N, C, H, W]) {
  param register_buffer: [C, 1, 1] = ones
  x * register_buffer -> children: { Conv(lambda_, 1) -> relu -> keys: Conv(lambda_, 1) }
}
model torch(nn: [N, 3, H, W]) {
  nn -> forward: forward(4) -> __init__: Conv(3, 1) -> F: Bare(4) -> __private: Bare(5)
     -> _modules: Conv(5, 1) -> l: Conv(2, 1)
}
""",
    "formulas": """
block Scaled(width: int, gain: float, kind: str)(x: [N, C, H, W]) -> [N, width, H, W] {
  param w: [width, C, 3, 3] = normal(std=rsqrt(C * 9))
  x = conv(x, w, padding=1) * gain -> Conv(width, 1, bias_init=gain / 2)
  if kind == "sharp" { x = x -> relu } else { x = x -> sigmoid }
  return x -> mask(_3 <= _2 and (_3 < 3 or (_2 - _3 + 1) // 4 <= 1 and (_2 - _3 + 1) % 4 < 2),
                   fill=0.0)
}
model net(depth: int = 3)(x: [N, 3, H, W]) {
  for i in 0..depth {
    kind = if i == depth - 1 then "last" else if i % 2 == 0 then "sharp" else "soft"
    x = x -> layer{i}: Scaled(4 * (i + 1), 1 / (2 * depth) ** 2, kind)
  }
  return x
}""",
}

SHAPES: dict[str, list[tuple[int, ...]]] = {
    "tied_weights": [(2, 5)],
    "run_time_sizes": [(2, 4, 6)],
    "several": [(3, 5), (3, 7)],
}


@cache
def compiled(name: str) -> Model:
    return model_of(f"edition 2026\n{SCENARIOS[name]}")


def model_of(text: str) -> Model:
    compilation = Compilation(Source("test.arch", text))
    model = compilation.model
    assert model is not None, [item.message for item in compilation.diagnostics]
    return model


def example(name: str) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(7)
    shapes = SHAPES.get(name, [(2, 3, 9, 8)])
    if compiled(name).root.type(compiled(name).root.inputs[0].value).dtype.is_integer:
        return tuple(torch.randint(0, 11, shape, generator=generator) for shape in shapes)
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)


def outputs(result: Any) -> list[torch.Tensor]:
    results = result if isinstance(result, tuple) else (result,)
    return [tensor for tensor in results if tensor is not None]


def assert_same(one: Any, other: Any) -> None:
    for mine, theirs in zip(outputs(one), outputs(other), strict=True):
        assert torch.equal(mine, theirs)


def run_ruff(*arguments: str, text: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "ruff",
        *arguments,
        "--isolated",
        "--stdin-filename",
        "a.py",
        "-",
    ]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def assert_tidy(source: str) -> None:
    formatted = run_ruff("format", "--line-length", "100", text=source)
    assert formatted.stdout == source
    checked = run_ruff("check", text=source)
    assert checked.returncode == 0, checked.stdout


def emitted_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write every block just as it was expanded, from here on."""
    verified = torch_classes._verified

    def expanded_only(traces: Any, wanted: Any) -> Any:
        if not wanted.expanded:
            raise Mismatch("for the test")
        return verified(traces, wanted)

    monkeypatch.setattr(torch_classes, "_verified", expanded_only)
