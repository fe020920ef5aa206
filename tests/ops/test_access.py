"""Strides, offsets and receptive fields beside what gradients really reach."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
import torch

from archdsl.backends.torch.live import load
from archdsl.compiler import Compilation, compile_text
from archdsl.ir.access import Field, Reach
from archdsl.ir.model import Model
from archdsl.ir.receptive_field import Blocks, Values
from archdsl.resources import shipped_models

LENGTH = 97


def model_of(body: str, extra: str = "") -> Model:
    """A model of one line of L places, and what is done with them."""
    text = f"""edition 2026
{extra}
model probe(x: [N, 1, {LENGTH}]) -> [N, D, M] {{
  {body}
}}
"""
    compilation = compile_text(text)
    diagnostics = compilation.check()
    assert not list(diagnostics), list(diagnostics)
    assert compilation.model is not None
    return compilation.model


def reach_of(model: Model) -> Reach:
    """What the compiler says of the output along the line."""
    block = model.root
    traces = Values.of_block(Blocks(model.blocks), block).traces(block.outputs[0].value)
    assert isinstance(traces[2], dict), traces[2]
    return traces[2][0, 2]


def really_seen(model: Model) -> list[tuple[int, int] | None]:
    """The first and last place of the input that each place of the output changes with.

    All weights are one and every place is tried alone, so that nothing cancels out.
    """
    module = load(model).double().eval()
    for parameter in module.parameters():
        torch.nn.init.ones_(parameter)
    line = torch.rand(LENGTH, dtype=torch.float64) + 1
    nudges = 100 * torch.eye(LENGTH, dtype=torch.float64)
    batch = torch.cat([line[None], line + nudges, line - nudges])[:, None]
    with torch.no_grad():
        results = module(batch)
    apart = (results[1:] - results[:1]).abs().amax(1) > 1e-9
    changed = apart[:LENGTH] | apart[LENGTH:]
    columns = [changed[:, place].nonzero().flatten().tolist() for place in range(results.shape[2])]
    return [(min(column), max(column)) if column else None for column in columns]


def assert_true(model: Model) -> None:
    """What is said is what is seen: wherever no border cuts anything off."""
    reach, seen = reach_of(model), really_seen(model)
    field = reach.field
    assert field is not None
    assert reach.stride == Fraction(field.step, len(field.spans))
    compared = 0
    for place, found in enumerate(seen):
        first, last = field.span(place)
        if first >= MARGIN and last < LENGTH - MARGIN:
            assert found == (first, last), (place, found, (first, last))
            compared += 1
        elif found is not None and first >= 0 and last < LENGTH:
            assert first <= found[0] <= found[1] <= last
    assert compared >= 2


MARGIN = 12
"""So far from a border its padding no longer changes what is seen inside."""

CHAINS = [
    "x -> Conv(2, 3)",
    "x -> Conv(2, 3, padding=1) -> Conv(2, 3, padding=1)",
    "x -> Conv(2, 5, stride=2, padding=2, bias=false) -> relu",
    "x -> Conv(2, 3, dilation=2) -> AvgPool(2)",
    "x -> max_pool(3, stride=2, padding=1) -> max_pool(2, ceil_mode=true)",
    "x -> Conv(2, 4, stride=3, padding=1) -> Conv(2, 3, stride=2)",
    'x -> Conv(2, 5, dilation=2, padding="same")',
    "x -> ConvTranspose(2, 4, stride=2, padding=1)",
    "x -> ConvTranspose(2, 3, stride=2) -> Conv(2, 3)",
    "x -> ConvTranspose(2, 7, stride=3, padding=2, output_padding=1)",
    "x -> ConvTranspose(2, 3, dilation=2) -> avg_pool(2)",
    "x -> AvgPool(2) -> ConvTranspose(2, 2, stride=2) -> Conv(2, 3, padding=1)",
    "x -> avg_pool(4) -> ConvTranspose(2, 8, stride=4, padding=2)",
    "x -> interpolate(scale_factor=2.0)",
    'x -> Conv(2, 3) -> interpolate(scale_factor=2.0, mode="linear") -> Conv(2, 3)',
    'x -> interpolate(scale_factor=3.0, mode="linear")',
    'x -> interpolate(scale_factor=1.5, mode="linear")',
    'x -> interpolate(scale_factor=0.5, mode="linear")',
    'x -> interpolate(scale_factor=2.5, mode="nearest-exact")',
    f'x -> interpolate([{2 * LENGTH}], mode="linear")',
    "x -> pad([3, 5]) -> Conv(2, 3)",
    "x -> slice(axis=2, start=7) -> Conv(2, 3, stride=2)",
    "x -> slice(axis=2, start=3, step=2)",
    "x -> pad([-2, 1]) -> relu -> avg_pool(2)",
    "x -> permute(2, 0, 1) -> transpose(0, 2) -> transpose(0, 1) -> avg_pool(3)",
    "x -> unsqueeze(1) -> squeeze(1) -> Conv(2, 3)",
    "x -> add { a: Conv(2, 3, padding=1); b: Conv(2, 1) }",
    "x -> concat(axis=1) { a: Conv(2, 7, padding=3); b: Conv(2, 3, padding=1) } -> avg_pool(2)",
    "x -> add { a: Conv(1, 5, padding=4); b: { pad([2, 2]) -> Conv(1, 1) } }",
    "x -> BatchNorm -> Dropout -> Conv(2, 3, groups=1) -> PReLU -> silu",
    "max_unpool(x -> max_pool(2, return_indices=true), 2)",
    "x -> adaptive_avg_pool(97) -> Conv(2, 3)",
]


@pytest.mark.parametrize("body", CHAINS)
def test_a_chain_sees_what_is_said(body: str) -> None:
    assert_true(model_of(body))


STEPS = (
    "Conv(2, {k}, stride={s}, padding={p})",
    "Conv(2, {k}, dilation=2)",
    "ConvTranspose(2, {k}, stride=2, padding={p})",
    "avg_pool({k}, stride={s})",
    'interpolate(scale_factor=2.0, mode="linear")',
    "pad([{p}, {k}])",
    "relu",
)


@pytest.mark.parametrize("seed", range(60))
def test_a_random_chain_sees_what_is_said(seed: int) -> None:
    draw = random.Random(seed)
    steps = [
        draw.choice(STEPS).format(k=draw.randint(2, 4), s=draw.randint(1, 2), p=draw.randint(0, 1))
        for _ in range(draw.randint(1, 4))
    ]
    assert_true(model_of(" -> ".join(["x", *steps])))


BLOCK = """
block Down(width: int)(x: [N, C, L]) {
  x -> conv: Conv(width, 3, padding=1) -> relu -> max_pool(2)
}
"""


def test_blocks_are_seen_through() -> None:
    model = model_of("x -> Down(2) -> Down(2) -> Conv(2, 3)", BLOCK)
    assert_true(model)
    assert reach_of(model).stride == 4


# ------------------------------------------------------------------------------- in the language


def expect(text: str, *expectations: str) -> list[str]:
    """The codes of what is wrong when these are expected of a text's `model probe`."""
    told = "\n".join(f"  expect {condition}" for condition in expectations)
    return [d.code for d in compile_text(text.replace("EXPECT", told)).check()]


PYRAMID = """edition 2026
block Step(width: int)(x: [N, C, H, W]) {
  x -> Conv(width, 3, padding=1) -> relu -> MaxPool(2)
}
model probe(image: [N, 3, H, W]) -> [N, 8, H2, W2] {
  require H >= 64 and W >= 64
  a = image -> Step(8)
  b = a -> Step(8)
  wide = b -> Conv(8, [1, 3], stride=[1, 2])
  all = b + (b -> global_avg_pool)
  up = b -> ConvTranspose(8, 8, stride=stride(b))
  flat = b -> flatten(2)
  mixed = concat(b, b -> pad([1, 1, 1, 1]) -> avg_pool(3, stride=1), axis=1)
EXPECT
  return b
}
"""


def test_functions_of_the_language() -> None:
    assert not expect(
        PYRAMID,
        "stride(image) == 1 and offset(image) == 0 and receptive_field(image) == 1",
        "stride(a) == 2 and offset(a) == 0.5 and receptive_field(a) == 4",
        "stride(b) == 4 and offset(b) == 1.5 and receptive_field(b) == 10",
        "stride(wide, axis=H) == 4 and stride(wide, W) == 8 and stride(wide, -1) == 8",
        "stride(all) == 4 and offset(all) == 1.5 and receptive_field(all, H) == H",
        "stride(up) == 1 and offset(up) == -2 and alignment(up, image) == 2",
        "receptive_field(up) == 14",
        "receptive_field(mixed) == 18 and offset(mixed) == 1.5",
        "stride(image, axis=N) == 1",
    )


@pytest.mark.parametrize(
    ("asked", "code", "words"),
    [
        ("stride(wide)", "unknown-stride", "4 along axis 2, 8 along axis 3"),
        ("receptive_field(all)", "unknown-stride", "H along axis 2, W along axis 3"),
        ("stride(flat)", "unknown-stride", "`flatten` does not keep this axis in its places"),
        ("stride(image -> global_avg_pool)", "unknown-stride", "same at all places"),
        ("alignment(a, b)", "unknown-stride", "2 places of the input here, but 4 there"),
        ("alignment(image, up)", "unknown-stride", "begins 2 places before the first"),
        ("stride(image, axis=K)", "unknown-axis", "`K` names no axis"),
        ("stride(image, width=2)", "unknown-argument", "width"),
        ("stride()", "static-error", "does not take 0 arguments"),
        ("stride(3)", "wrong-kind", "expected a tensor"),
        ("stride(image -> flatten)", "unknown-stride", "no spatial axes"),
        ("stride(zeros(1, 1, 4))", "unknown-stride", "depends on no input"),
    ],
)
def test_what_is_not_known_is_refused(asked: str, code: str, words: str) -> None:
    text = PYRAMID.replace("EXPECT", f"  s = {asked}").replace("return b", "return b * s")
    (finding, *_) = compile_text(text).check()
    assert finding.code == code, finding
    assert words in finding.message, finding.message


def test_two_small_convolutions_see_what_a_larger_one_sees() -> None:
    """Simonyan and Zisserman 2014, section 2.3: with 18/25 of the weights."""
    two = model_of("x -> Conv(1, 3, padding=1) -> Conv(1, 3, padding=1)")
    one = model_of("x -> Conv(1, 5, padding=2)")
    assert reach_of(two) == reach_of(one)


@pytest.mark.parametrize(
    ("name", "stride", "field"),
    [
        ("fcn32s", 32, 404),
        ("vgg16", 32, 212),
        ("resnet50", 32, 427),
        ("resnet101", 32, 971),
        ("alexnet", 32, 195),
    ],
)
def test_receptive_fields_of_known_models(name: str, stride: int, field: int) -> None:
    """As published by Araujo, Norris and Sim 2019 (without rounding), and by Long et al. 2015."""
    model = Compilation(shipped_models()[name], model=name).model
    assert model is not None
    values = Values.of_block(Blocks(model.blocks), model.root)
    found = {
        (reach.stride, reach.field.size)
        for value, own in enumerate(model.root.values)
        if own.type.rank == 4
        for trace in values.traces(value)[2:3]
        if isinstance(trace, dict)
        for reach in trace.values()
        if reach.field is not None
    }
    assert max(size for at, size in found if at == stride) == field


def test_what_is_too_intricate_is_not_told() -> None:
    fine = Reach.scaled(Field(4095, tuple((i, i) for i in range(4096))))
    assert fine.over(Reach.scaled(Field(4093, tuple((i, i) for i in range(4094))))) is None
