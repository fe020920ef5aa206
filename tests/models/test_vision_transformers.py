"""The vision transformer beside torchvision's, the original transformer beside torch's layers."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from network_parity import assert_agrees, assert_lively, exported, filled, lively, run_source
from torch import nn
from torchvision_shim import torchvision

import archdsl
from archdsl.backends.onnx.export import export
from archdsl.compiler import Setting, compile_text
from archdsl.diagnostics import Diagnostic
from archdsl.resources import shipped_models

FIGURES = {
    "vit_b_16": (86_567_656, 17.564),
    "vit_b_32": (88_224_232, 4.409),
    "vit_l_16": (304_326_632, 61.555),
}


def vit(**settings: Setting) -> archdsl.Network:
    return archdsl.load("vit", "VisionTransformer", **settings)


def torchvision_vit(
    size: int, patch: int, depth: int, heads: int, width: int, classes: int
) -> nn.Module:
    return torchvision.models.VisionTransformer(
        size, patch, depth, heads, width, 4 * width, num_classes=classes
    )


def described(state: dict[str, torch.Tensor]) -> list[tuple[str, tuple[int, ...], torch.dtype]]:
    return [(path, tuple(tensor.shape), tensor.dtype) for path, tensor in state.items()]


def spread(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tokens and places as large as what they stand beside, so that a wrong one shows."""
    return {
        path: torch.randn_like(tensor) if path.endswith(("token", "embedding")) else tensor
        for path, tensor in state.items()
    }


# ---------------------------------------------------------------------------- vision transformers


@pytest.mark.parametrize("name", FIGURES)
def test_vit_has_the_published_figures_and_the_weights_of_torchvision(name: str) -> None:
    network = archdsl.load(name)
    assert network.summary().total.parameters == FIGURES[name][0]
    ours = network.to_torch(device="meta")
    with torch.device("meta"):
        theirs = torchvision.models.get_model(name)
    meta = torchvision.models.get_model_weights(name).IMAGENET1K_V1.meta
    assert sum(tensor.numel() for tensor in ours.parameters()) == meta["num_params"]
    assert described(ours.state_dict()) == described(theirs.state_dict())


@pytest.mark.parametrize("name", FIGURES)
def test_vit_multiplies_as_often_as_published(name: str) -> None:
    text = shipped_models()[name].read_text("utf-8")
    (stated,) = re.findall(rf"model {name} =.*?macs\(N=1\) == ([\d_]+)", text, re.DOTALL)
    meta = torchvision.models.get_model_weights(name).IMAGENET1K_V1.meta
    assert round(int(stated) / 1e9, 3) == meta["_ops"] == FIGURES[name][1]


@pytest.mark.parametrize(
    ("size", "patch", "depth", "heads", "width", "classes"),
    [(32, 8, 3, 4, 64, 11), (48, 16, 2, 2, 48, 5), (7, 7, 1, 1, 8, 3)],
)
def test_vit_is_torchvisions(
    size: int, patch: int, depth: int, heads: int, width: int, classes: int, tmp_path: Path
) -> None:
    sizes = {"size": size, "patch": patch, "depth": depth, "heads": heads, "width": width}
    check_vit(
        vit(**sizes, classes=classes),
        torchvision_vit(size, patch, depth, heads, width, classes),
        [(batch, 3, size, size) for batch in (1, 2, 5)],
        tmp_path,
    )


def test_vit_at_full_size_is_torchvisions(tmp_path: Path) -> None:
    with torch.device("meta"):
        reference = torchvision.models.vit_b_32()
    check_vit(archdsl.load("vit_b_32"), reference, [(2, 3, 224, 224)], tmp_path)


def check_vit(
    network: archdsl.Network, reference: nn.Module, shapes: list[tuple[int, ...]], path: Path
) -> None:
    """Live module, emitted source and torchvision have the same bits; ONNX Runtime agrees."""
    live = network.to_torch(device="meta")
    weights = spread(lively("vit", live))
    emitted = filled(run_source(network.to_source()), weights)
    filled(live, weights)
    filled(reference, weights)
    session = exported(network.ir, weights, path / "vit.onnx")
    images = [torch.randn(shape) for shape in shapes]
    singles: list[torch.Tensor] = []
    with torch.inference_mode():
        for image in images:
            singles.append(live(image))
            assert_lively(singles[-1])
            assert torch.equal(emitted(image), singles[-1])
            assert torch.equal(reference(image), singles[-1])
        reference.double()
        for image, single in zip(images, singles, strict=True):
            (found,) = session.run(None, {"image": image.numpy()})
            assert_agrees(torch.from_numpy(found), single, reference(image.double()))


def test_vit_trains_as_torchvisions() -> None:
    network = vit(size=16, patch=8, depth=2, heads=2, width=16, classes=4)
    reference = torchvision_vit(16, 8, 2, 2, 16, 4)
    weights = spread(lively("vit", reference))
    ours = network.to_torch(weights).train()
    reference.load_state_dict(weights)
    image = torch.randn(3, 3, 16, 16)
    for module in (ours, reference.train()):
        module(image).square().sum().backward()
    theirs = dict(reference.named_parameters())
    for path, tensor in ours.named_parameters():
        assert tensor.grad is not None and tensor.grad.abs().max() > 0, path
        assert torch.equal(tensor.grad, theirs[path].grad), path


def test_a_fresh_vit_begins_as_torchvisions() -> None:
    """What torchvision begins with zeros is zero, and the rest has its spread."""
    torch.manual_seed(0)
    settings = {"size": 64, "patch": 8, "depth": 1, "heads": 4, "width": 512}
    ours = vit(**settings).to_torch().state_dict()
    theirs = torchvision_vit(64, 8, 1, 4, 512, 1000).state_dict()
    for path, tensor in theirs.items():
        expected = tensor.std().item() if tensor.numel() > 1 else 0.0
        assert math.isclose(ours[path].std().item(), expected, rel_tol=0.15), path
        assert math.isclose(ours[path].mean().item(), tensor.mean().item(), abs_tol=0.02), path


def findings(change: tuple[str, str]) -> list[Diagnostic]:
    text = shipped_models()["vit_b_16"].read_text("utf-8")
    assert change[0] in text
    return list(compile_text(text.replace(*change), "vit.arch", "vit_b_16").check())


def test_an_image_that_does_not_split_into_patches_is_refused() -> None:
    (finding,) = findings(("size: int = 224", "size: int = 225"))
    assert finding.code == "requirement-failed"
    assert finding.message == "an image of 225 does not split into patches of 16"


def test_an_image_of_any_size_is_refused() -> None:
    """The table of places has as many rows as the image has patches."""
    (finding,) = findings(("[N, 3, size, size]", "[N, 3, H, W]"))
    assert finding.code == "input-size-mismatch"
    assert finding.message == (
        "axis 1 of input `x` of `Encoder` must be `places` = 197, but is (H//16)*(W//16) + 1"
    )


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    (finding,) = findings(("depth=12, heads=12, width=768", "depth=12, heads=11, width=768"))
    assert finding.code == "shape-mismatch"
    assert finding.message.endswith("does not split into 11 heads")


def test_vit_keeps_the_batch_symbolic() -> None:
    graph = export(archdsl.load("vit_b_16").ir, None).graph
    (image,), (logits,) = graph.input, graph.output
    assert [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim] == [
        "N",
        3,
        224,
        224,
    ]
    assert [d.dim_param or d.dim_value for d in logits.type.tensor_type.shape.dim] == ["N", 1000]


# ------------------------------------------------------------------------ the original transformer

SMALL: dict[str, Setting] = {"width": 32, "heads": 4, "inner": 48, "depth": 2, "vocabulary": 23}


class Original(nn.Module):
    """Vaswani et al. 2017 of torch's own layers, and the formulas of section 3.5 place by place."""

    def __init__(self, width: int, heads: int, inner: int, depth: int, vocabulary: int) -> None:
        super().__init__()
        sizes = (width, heads, inner, 0.0)
        self.embedding = nn.Embedding(vocabulary, width)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(*sizes, batch_first=True), depth, enable_nested_tensor=False
        )
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(*sizes, batch_first=True), depth
        )

    def embedded(self, tokens: torch.Tensor) -> torch.Tensor:
        words = self.embedding(tokens)
        length, width = words.shape[1:]
        places = torch.empty(length, width, dtype=torch.float64)
        for place in range(length):
            for i in range(width // 2):
                angle = place / 10_000 ** (2 * i / width)
                places[place, 2 * i], places[place, 2 * i + 1] = math.sin(angle), math.cos(angle)
        return words * math.sqrt(width) + places.to(words.dtype)

    def forward(
        self, source: torch.Tensor, target: torch.Tensor, padding: torch.Tensor
    ) -> torch.Tensor:
        memory = self.encoder(self.embedded(source), src_key_padding_mask=padding)
        later = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).triu(1)
        y = self.decoder(
            self.embedded(target), memory, tgt_mask=later, memory_key_padding_mask=padding
        )
        return y @ self.embedding.weight.T


def batch(sizes: tuple[int, int, int]) -> dict[str, torch.Tensor]:
    """Sources of every length from the whole down to a single word."""
    count, source, target = sizes
    generator = torch.Generator().manual_seed(sum(sizes))
    lengths = torch.arange(source, source - count, -1).clamp(min=1)
    return {
        "source": torch.randint(0, 23, (count, source), generator=generator),
        "target": torch.randint(0, 23, (count, target), generator=generator),
        "padding": torch.arange(source) >= lengths[:, None],
    }


SIZES = [(1, 1, 1), (3, 5, 4), (2, 9, 1), (4, 3, 13)]


@pytest.fixture
def sequential_attention() -> Any:
    """torch's layers as they are written, not the fused kernels of its encoder."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(before)


@pytest.mark.usefixtures("sequential_attention")
@pytest.mark.parametrize("bias", [False, True])
def test_the_transformer_is_that_of_torchs_layers(bias: bool, tmp_path: Path) -> None:
    network = archdsl.load("transformer", "Transformer", **SMALL, bias=bias)
    live = network.to_torch(device="meta")
    weights = lively("transformer", live)
    filled(live, weights)
    emitted = filled(run_source(network.to_source()), weights)
    reference = Original(**SMALL)  # pyright: ignore[reportArgumentType]
    absent = reference.load_state_dict(weights, strict=bias)
    assert not absent.unexpected_keys
    assert all(re.search(r"attn\.(in|out)_proj[._]bias$", path) for path in absent.missing_keys)
    reference.load_state_dict(
        {path: torch.zeros_like(reference.get_parameter(path)) for path in absent.missing_keys},
        strict=False,
    )
    reference.eval()
    session = exported(network.ir, weights, tmp_path / "transformer.onnx")
    with torch.inference_mode():
        singles = [live(**batch(sizes)) for sizes in SIZES]
        for sizes, single in zip(SIZES, singles, strict=True):
            assert_lively(single)
            assert torch.equal(emitted(**batch(sizes)), single)
        reference.double()
        for sizes, single in zip(SIZES, singles, strict=True):
            inputs = batch(sizes)
            exact = reference(**inputs)
            found = session.run(None, {name: value.numpy() for name, value in inputs.items()})[0]
            assert_agrees(torch.from_numpy(found), single, exact)


def test_a_target_place_sees_no_later_one_and_no_padding() -> None:
    network = archdsl.load("transformer", "Transformer", **SMALL)
    live = filled(network.to_torch(device="meta"), lively("t", network.to_torch(device="meta")))
    inputs = batch((3, 5, 6))
    with torch.inference_mode():
        before = live(**inputs)
        for place in range(6):
            target = inputs["target"].clone()
            target[:, place:] = (target[:, place:] + 1) % 23
            after = live(**{**inputs, "target": target})
            assert torch.equal(after[:, :place], before[:, :place])
            assert not torch.equal(after[:, place], before[:, place])
        hidden = torch.where(inputs["padding"], (inputs["source"] + 1) % 23, inputs["source"])
        assert not torch.equal(hidden, inputs["source"])
        assert torch.equal(live(**{**inputs, "source": hidden}), before)


@pytest.mark.parametrize(
    ("name", "millions", "parameters"),
    [("transformer_base", 65, 63_045_632), ("transformer_big", 213, 214_171_648)],
)
def test_the_transformers_have_about_as_many_weights_as_in_the_papers_table(
    name: str, millions: int, parameters: int
) -> None:
    module = archdsl.load(name).to_torch(device="meta")
    assert sum(tensor.numel() for tensor in module.parameters()) == parameters
    assert abs(parameters / 1e6 / millions - 1) < 0.035


def test_the_transformers_graph_has_every_size_open(tmp_path: Path) -> None:
    network = archdsl.load("transformer", "Transformer", **SMALL)
    network.save_onnx(tmp_path / "t.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "t.onnx")
    assert [entry.shape for entry in session.get_inputs()] == [["B", "S"], ["B", "T"], ["B", "S"]]
    assert [entry.shape for entry in session.get_outputs()] == [["B", "T", 23]]
