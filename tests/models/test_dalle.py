"""DALL-E: its discrete VAE beside OpenAI's definition, its transformer beside dense masks."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from network_parity import assert_agrees, assert_lively, exported, filled, lively, run_source
from torch import nn
from torch.nn import functional as F

import archdsl
from archdsl.compiler import Setting, compile_text
from archdsl.resources import shipped_models


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


# ------------------------------------------------------------------------------- the discrete VAE


class Convolution(nn.Module):
    """A convolution as OpenAI's, with its names, its padding and its beginning."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        std = 1 / math.sqrt(inputs * size**2)
        self.w = nn.Parameter(torch.randn(outputs, inputs, size, size) * std)
        self.b = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.w, self.b, padding=self.w.shape[-1] // 2)


class Residual(nn.Module):
    """Four convolutions behind rectifiers, weighted, beside the identity or a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, sizes: list[int], gain: float) -> None:
        super().__init__()
        self.gain = gain
        self.id_path = Convolution(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        widths = [inputs, outputs // 4, outputs // 4, outputs // 4, outputs]
        self.res_path = nn.Module()
        for i, ((before, after), size) in enumerate(zip(pairwise(widths), sizes, strict=True), 1):
            self.res_path.add_module(f"conv_{i}", Convolution(before, after, size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for layer in self.res_path.children():
            y = layer(F.relu(y))
        return self.id_path(x) + self.gain * y


class Half(nn.Module):
    """Encoder or decoder: four groups of residual blocks, and how the size changes between them."""

    def __init__(
        self, inputs: int, first: tuple[int, int], widths: list[int], sizes: list[int], outputs: int
    ) -> None:
        super().__init__()
        self.halves = widths[0] < widths[-1]
        self.blocks = nn.Module()
        self.blocks.input = Convolution(inputs, *first)
        before = first[0]
        for group, width in enumerate(widths, 1):
            blocks = nn.Module()
            blocks.block_1 = Residual(before, width, sizes, 1 / 64)
            blocks.block_2 = Residual(width, width, sizes, 1 / 64)
            self.blocks.add_module(f"group_{group}", blocks)
            before = width
        self.blocks.output = nn.Module()
        self.blocks.output.conv = Convolution(before, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks.input(x)
        for group in (1, 2, 3, 4):
            blocks = self.blocks.get_submodule(f"group_{group}")
            x = blocks.block_2(blocks.block_1(x))
            if group < 4:
                x = F.max_pool2d(x, 2) if self.halves else self.doubled(x)
        return self.blocks.output.conv(F.relu(x))

    def doubled(self, x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def vae_encoder(hidden: int, vocabulary: int) -> Half:
    widths = [hidden, 2 * hidden, 4 * hidden, 8 * hidden]
    return Half(3, (hidden, 7), widths, [3, 3, 3, 1], vocabulary)


def vae_decoder(initial: int, hidden: int, vocabulary: int) -> Half:
    widths = [8 * hidden, 4 * hidden, 2 * hidden, hidden]
    return Half(vocabulary, (initial, 1), widths, [1, 3, 3, 3], 6)


def described(state: dict[str, torch.Tensor]) -> list[tuple[str, tuple[int, ...]]]:
    return [(path, tuple(tensor.shape)) for path, tensor in state.items()]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("dalle_vae_encoder", 53_786_240), ("dalle_vae_decoder", 43_829_766)],
)
def test_the_vae_has_openais_weights(name: str, parameters: int) -> None:
    ours = archdsl.load(name).to_torch(device="meta")
    with torch.device("meta"):
        theirs = vae_encoder(256, 8192) if name.endswith("encoder") else vae_decoder(128, 256, 8192)
    assert sum(tensor.numel() for tensor in ours.parameters()) == parameters
    assert described(ours.state_dict()) == described(theirs.state_dict())


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_the_vae_is_openais(part: str, tmp_path: Path) -> None:
    if part == "encoder":
        network = archdsl.load("dalle_vae_encoder", "DalleVaeEncoder", hidden=16, vocabulary=21)
        reference = vae_encoder(16, 21)
        inputs = [torch.rand(size) for size in [(1, 3, 8, 8), (2, 3, 16, 24), (1, 3, 33, 15)]]
    else:
        network = archdsl.load(
            "dalle_vae_decoder", "DalleVaeDecoder", initial=8, hidden=16, vocabulary=21
        )
        reference = vae_decoder(8, 16, 21)
        inputs = [torch.rand(size) for size in [(1, 21, 1, 1), (2, 21, 2, 3)]]
    live = network.to_torch(device="meta")
    # The residual paths are weighted by 1/64: with weights this large they still tell.
    weights = {path: 2 * tensor for path, tensor in lively(part, live).items()}
    filled(live, weights)
    emitted = filled(run_source(network.to_source()), weights)
    filled(reference, weights)
    session = exported(network.ir, weights, tmp_path / "vae.onnx")
    (port,) = network.ir.root.inputs
    with torch.inference_mode():
        singles = [live(x) for x in inputs]
        for x, single in zip(inputs, singles, strict=True):
            assert_lively(single)
            assert torch.equal(emitted(x), single)
            assert torch.equal(reference(x), single)
        reference.double()
        for x, single in zip(inputs, singles, strict=True):
            (found,) = session.run(None, {port.name: x.numpy()})
            assert_agrees(torch.from_numpy(found), single, reference(x.double()))


def test_the_vae_begins_as_openais() -> None:
    state = archdsl.load("dalle_vae_encoder", "DalleVaeEncoder", hidden=64).to_torch().state_dict()
    for path, tensor in state.items():
        if path.endswith(".b"):
            assert not tensor.any()
        else:
            spread = tensor.std().item() * math.sqrt(math.prod(tensor.shape[1:]))
            assert math.isclose(spread, 1, rel_tol=0.05), path


# ------------------------------------------------------------------------------------- the masks

PATTERNS = ("row", "column", "square")


def kept(pattern: str, text: int, side: int, kernel: int, codes: int) -> torch.Tensor:
    """What the spec's block lets every place see."""
    spec = shipped_models()["dalle"]
    source = (
        spec.read_text("utf-8")
        + f"""
model masked(scores: [B, H, T, S]) -> [B, H, T, S] {{
  scores -> Visible("{pattern}", {text}, {side}, {kernel})
}}
"""
    )
    places = text + codes
    masked = archdsl.load(source, "masked").to_torch()(torch.zeros(1, 1, places, places))
    hidden = torch.finfo(torch.float32).min
    assert ((masked == 0) | (masked == hidden)).all()
    return masked[0, 0] == 0


def sees(pattern: str, text: int, side: int, kernel: int, query: int, key: int) -> bool:
    """Figure 11 of Ramesh et al. 2021 in words, for one place and another."""
    if key > query:
        return False
    if key < text:
        return True
    if pattern == "row":
        # The codes before it in reading order, back to the one in the row above.
        return key in range(query - side, query + 1)
    if pattern == "column":
        return key in range(query, text - 1, -side)
    # The rows of a kernel around it, each written out in reading order.
    half = kernel // 2
    around = {
        query + down * side + right
        for down in range(-half, half + 1)
        for right in range(-half, half + 1)
    }
    return key in around


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(
    ("text", "side", "kernel", "codes"), [(6, 4, 3, 16), (1, 5, 5, 25), (3, 7, 1, 31), (9, 3, 3, 1)]
)
def test_masks_are_those_of_figure_11(
    pattern: str, text: int, side: int, kernel: int, codes: int
) -> None:
    found = kept(pattern, text, side, kernel, codes)
    for query in range(text + codes):
        for key in range(text + codes):
            wanted = sees(pattern, text, side, kernel, query, key)
            assert bool(found[query, key]) is wanted, (query, key)


def test_masks_of_the_figure_have_its_numbers_of_keys() -> None:
    """Six words and 4 x 4 codes: five codes a row, the column above, five of nine in a square."""
    rows, columns, squares = (kept(pattern, 6, 4, 3, 16)[6:, 6:].sum(1) for pattern in PATTERNS)
    assert rows.tolist() == [1, 2, 3, 4] + [5] * 12
    assert columns.tolist() == [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4
    assert squares.tolist() == [1, 2, 2, 3, 4] + [5] * 11


def test_masks_of_the_papers_size() -> None:
    """256 words, 32 x 32 codes, an 11 x 11 kernel: place by place, by numbers of keys."""
    for pattern, most in (("row", 33), ("column", 32), ("square", 61)):
        found = kept(pattern, 256, 32, 11, 1024)
        assert torch.equal(found[:256], torch.ones(256, 1280, dtype=torch.bool).tril())
        assert found[256:, :256].all()
        assert found[256:, 256:].sum(1).max() == most
        for query in (256, 257, 300, 511, 767, 1023, 1279):
            wanted = [sees(pattern, 256, 32, 11, query, key) for key in range(1280)]
            assert found[query].tolist() == wanted


# -------------------------------------------------------------------------------- the transformer


class Reference(nn.Module):
    """The small transformer in plain torch, its masks written out place by place."""

    def __init__(
        self, heads: int, width: int, depth: int, side: int, kernel: int, length: int,
        words: int, codes: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.heads, self.side, self.kernel, self.length = heads, side, kernel, length
        self.text = nn.ParameterDict(
            {
                "places": torch.randn(length, width),
                "paddings": torch.randn(length, width),
            }
        )
        self.image = nn.ParameterDict(
            {"rows": torch.randn(side, 1, width), "columns": torch.randn(side, width)}
        )
        self.words = nn.Embedding(words, width)
        self.codes = nn.Embedding(codes, width)
        layer = {
            "ln_1": lambda: nn.LayerNorm(width),
            "attn.c_attn": lambda: nn.Linear(width, 3 * width),
            "attn.c_proj": lambda: nn.Linear(width, width),
            "ln_2": lambda: nn.LayerNorm(width),
            "mlp.c_fc": lambda: nn.Linear(width, 4 * width),
            "mlp.c_proj": lambda: nn.Linear(4 * width, width),
        }
        self.h = nn.ModuleList(
            nn.ModuleDict({name.replace(".", "_"): make() for name, make in layer.items()})
            for _ in range(depth)
        )
        self.ln_f = nn.LayerNorm(width)
        self.text_head = nn.Linear(width, words, bias=False)
        self.image_head = nn.Linear(width, codes, bias=False)

    def load(self, weights: dict[str, torch.Tensor]) -> None:
        """Take weights under the spec's names."""
        renamed = {
            path.replace("text.tokens", "words")
            .replace("image.tokens", "codes")
            .replace("attn.c", "attn_c")
            .replace("mlp.c", "mlp_c"): tensor
            for path, tensor in weights.items()
        }
        self.load_state_dict(renamed, strict=True)

    def pattern(self, layer: int) -> str:
        """That of a layer counted from 1 (appendix B.1): "row, column, row, row", a last square."""
        if layer == len(self.h):
            return "square"
        return "column" if (layer - 2) % 4 == 0 else "row"

    def forward(
        self, text: torch.Tensor, padding: torch.Tensor, image: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        captions = self.words(text)
        for sample, place in padding.nonzero().tolist():
            captions[sample, place] = self.text["paddings"][place]
        codes = self.codes(image).clone()
        for place in range(image.shape[1]):
            row, column = divmod(place, self.side)
            codes[:, place] += self.image["rows"][row, 0] + self.image["columns"][column]
        x = torch.cat([captions + self.text["places"], codes], 1)
        for number, layer in enumerate(self.h, 1):
            assert isinstance(layer, nn.ModuleDict)
            x = self.layer(layer, self.pattern(number), x)
        x = self.ln_f(x)
        return self.text_head(x[:, : self.length - 1]), self.image_head(x[:, self.length - 1 :])

    def layer(self, layer: nn.ModuleDict, pattern: str, x: torch.Tensor) -> torch.Tensor:
        places, width = x.shape[1:]
        mask = torch.tensor(
            [
                [sees(pattern, self.length, self.side, self.kernel, i, j) for j in range(places)]
                for i in range(places)
            ]
        )
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in layer["attn_c_attn"](layer["ln_1"](x)).split(width, 2)
        )
        scores = q @ k.transpose(2, 3) / math.sqrt(width // self.heads)
        means = scores.masked_fill(~mask, -math.inf).softmax(-1) @ v
        x = x + layer["attn_c_proj"](means.transpose(1, 2).flatten(2))
        return x + layer["mlp_c_proj"](F.gelu(layer["mlp_c_fc"](layer["ln_2"](x))))


SMALL: dict[str, int] = {
    "heads": 4, "width": 32, "depth": 7, "side": 4, "kernel": 3, "length": 6, "words": 19,
    "codes": 13,
}  # fmt: skip


def small(**changes: Setting) -> archdsl.Network:
    return archdsl.load("dalle", "Dalle", **{**SMALL, **changes})


def weights_of(network: archdsl.Network) -> dict[str, torch.Tensor]:
    """Tables and places as large as each other; everything else so that it tells."""
    state = lively("dalle", network.to_torch(device="meta"))
    tables = ("places", "paddings", "rows", "columns", "tokens.weight")
    return {
        path: torch.randn_like(tensor) if path.endswith(tables) else tensor
        for path, tensor in state.items()
    }


def batch(count: int, codes: int) -> dict[str, torch.Tensor]:
    """Captions of every length from all places to one word, and the codes of as many images."""
    lengths = torch.arange(6, 6 - count, -1).clamp(min=1)
    return {
        "text": torch.randint(0, SMALL["words"], (count, 6)),
        "padding": torch.arange(6) >= lengths[:, None],
        "image": torch.randint(0, SMALL["codes"], (count, codes)),
    }


def test_the_small_transformer_is_the_one_with_dense_masks(tmp_path: Path) -> None:
    network = small()
    weights = weights_of(network)
    live = filled(network.to_torch(device="meta"), weights)
    emitted = filled(run_source(network.to_source()), weights)
    reference = Reference(**SMALL).eval()
    reference.load(weights)
    session = exported(network.ir, weights, tmp_path / "dalle.onnx")
    batches = [batch(count, codes) for count, codes in [(1, 1), (2, 16), (3, 5), (1, 9)]]
    with torch.inference_mode():
        singles = [live(**inputs) for inputs in batches]
        for inputs, single in zip(batches, singles, strict=True):
            assert single._fields == ("text_logits", "image_logits")
            for mine, other in zip(single, emitted(**inputs), strict=True):
                assert_lively(mine)
                assert torch.equal(mine, other)
        reference.double()
        for inputs, single in zip(batches, singles, strict=True):
            found = session.run(None, {name: value.numpy() for name, value in inputs.items()})
            for ours, mine, exact in zip(found, single, reference(**inputs), strict=True):
                assert_agrees(torch.from_numpy(ours), mine, exact)


def test_no_place_sees_a_later_one() -> None:
    network = small()
    live = filled(network.to_torch(device="meta"), weights_of(network))
    inputs = batch(1, 16)
    with torch.inference_mode():
        before = told(live(**inputs))
        for place in range(6 + 16):
            changed = {name: value.clone() for name, value in inputs.items()}
            name, index = ("text", place) if place < 6 else ("image", place - 6)
            changed[name][:, index] = (changed[name][:, index] + 1) % 13
            after = told(live(**changed))
            assert all(map(torch.equal, after[:place], before[:place]))
            assert not torch.equal(after[place], before[place])


def told(outputs: Any) -> list[torch.Tensor]:
    """What is told at every place, in order."""
    return [*outputs.text_logits[0], *outputs.image_logits[0]]


def test_a_padding_has_a_vector_of_its_own_at_every_place() -> None:
    network = small()
    live = filled(network.to_torch(device="meta"), weights_of(network))
    inputs = batch(3, 4)
    other = torch.where(inputs["padding"], (inputs["text"] + 1) % SMALL["words"], inputs["text"])
    assert not torch.equal(other, inputs["text"])
    with torch.inference_mode():
        before = live(**inputs)
        for mine, theirs in zip(live(**{**inputs, "text": other}), before, strict=True):
            assert torch.equal(mine, theirs)
        unpadded = live(**{**inputs, "padding": torch.zeros_like(inputs["padding"])})
    assert not torch.equal(unpadded.image_logits[1], before.image_logits[1])


def test_twelve_billion_parameters_without_any_of_them() -> None:
    network = archdsl.load("dalle", "dalle")
    width, depth = 62 * 64, 64
    layer = 12 * width**2 + 13 * width
    tables = (16_384 + 2 * 256 + 8192 + 2 * 32) * width
    heads = 2 * width + (16_384 + 8192) * width
    module = network.to_torch(device="meta")
    assert sum(tensor.numel() for tensor in module.parameters()) == depth * layer + tables + heads
    assert network.summary().total.parameters == 12_292_808_448


def findings(change: tuple[str, str], model: str = "dalle_small") -> list[Any]:
    text = shipped_models()["dalle_small"].read_text("utf-8")
    assert change[0] in text
    return list(compile_text(text.replace(*change), "dalle.arch", model).check())


def test_a_kernel_that_is_wider_than_the_image_is_refused() -> None:
    finding, *_ = findings(("side=8, kernel=5", "side=8, kernel=9"))
    assert finding.code == "requirement-failed"
    assert finding.message == "a kernel of 9 does not fit rows of 8"


def test_more_codes_than_an_image_has_are_refused() -> None:
    """The table of places ends where the image does."""
    finding, *_ = findings(("require P <= side ** 2,", "require P <= side ** 2 + 1,"))
    assert "P" in finding.message
    with pytest.raises(archdsl.ArchError, match="an image has 64 codes"):
        archdsl.load("dalle_small", dims={"P": 65})
