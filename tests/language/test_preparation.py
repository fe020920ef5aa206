"""Inputs that declare how they are prepared: what is refused, and what a network becomes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from op_parity import assert_parity
from PIL import Image
from torchvision_shim import torchvision

from archdsl import api
from archdsl.cli import main
from archdsl.diagnostics import ArchError, GivenError
from archdsl.ir.model import Model
from archdsl.runtime.run import run_onnx

HALVED = """\
block Halved(x: [N, C, H, W]) -> [N, C, H // 2, W // 2] {
  require H >= 2 and W >= 2
  x -> max_pool(2)
}
"""
DETECT = """\
edition 2026
import std.detection (ScaleBoxes)
import std.vision (Photograph)

model detect(shorter: int = 32)(image: [N, 3, H, W] from Photograph(shorter, 50))
    -> boxes: [2, 4], seen: [N, 3, H, W] {
  param place: [2, 4] = [[4.0, 6.0, 20.0, 16.0], [1.0, 1.0, 30.0, 30.0]]
  boxes = place + 0 * sum(image)
  photograph = original(image)
  if photograph != none { boxes = boxes -> ScaleBoxes(image, photograph) }
  return boxes, image
}
"""
SEGMENT = """\
edition 2026
import std.vision (Stretch)

model segment(image: [N, 3, H, W] from Stretch(30, 40)) -> classes: int64[N, H, W] {
  bright = mean(image, axis=1, keepdim=true)
  return argmax(concat(full([N, 1, H, W], 0.5), bright, axis=1), axis=1)
}
"""


def written(signature: str, body: str = "return image", blocks: str = "") -> str:
    library = "import std.vision (CenterCrop, Normalize, Photograph, Stretch)"
    return f"edition 2026\n{library}\n{blocks}\nmodel m{signature} {{\n{body}\n}}\n"


def input_types(text: str) -> list[str]:
    root = api.load(text, preprocessing=True).ir.root
    return [str(root.type(port.value)).removeprefix("float32") for port in root.inputs]


def outputs(network: api.Network, *inputs: torch.Tensor) -> tuple[list[np.ndarray], ...]:
    """What PyTorch and ONNX Runtime make of the same."""
    module = network.to_torch().eval()
    with torch.inference_mode():
        found = module(*inputs)
    names = [port.name for port in network.ir.root.inputs]
    given = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
    theirs = run_onnx(network.to_onnx(module).SerializeToString(), given)
    ours = found if isinstance(found, tuple) else (found,)
    return [x.numpy() for x in ours], list(theirs)


# ----------------------------------------------------------------------------- what is refused

WRONG = {
    "a parameter": ("(a: int from Halved)(image: [N, 3, H, W])", "bad-preparation"),
    "a number": ("(image: [N, 3, H, W] from 3)", "bad-preparation"),
    "a layer": ("(image: [N, 3, H, W] from ReLU)", "bad-preparation"),
    "weights": ("(image: [N, 3, H, W] from Conv1)", "bad-preparation"),
    "weights inside": ("(image: [N, 3, H, W] from Nested)", "bad-preparation"),
    "two inputs": ("(image: [N, 3, H, W] from Two)", "bad-preparation"),
    "two results": ("(image: [N, 3, H, W] from Twice)", "bad-preparation"),
    "a size from data": ("(image: [N, 3] from Some)", "bad-preparation"),
    "no type": ("(image: [N, 3, H, W] from Untyped)", "untyped-model-input"),
    "an unknown name": ("(image: [N, 3, H, W] from Havled)", "unknown-name"),
    "a missing argument": ("(image: [N, 3, H, W] from Photograph)", "missing-argument"),
    "another size": ("(image: [N, 3, 224, W] from Photograph(224))", "input-size-mismatch"),
    "one name for two sizes": ("(image: [N, 3, H, H] from Halved)", "input-size-mismatch"),
    "another rank": ("(image: [N, H, W] from Photograph(8))", "rank-mismatch"),
    "another element type": ("(image: int64[N, 3, H, W] from Photograph(8))", "dtype-mismatch"),
    "a window that need not fit": ("(image: [N, 3, H, W] from Unsure)", "size-too-small"),
    "what the preparation refuses": (
        "(image: [N, 3, H, W] from Normalize([0.5], [0.5]))",
        "requirement-failed",
    ),
}
BLOCKS = (
    HALVED
    + """
block Conv1(x: [N, C, H, W]) -> [N, C, H, W] { x -> Conv(C, 1) }
block Nested(x: [N, C, H, W]) -> [N, C, H, W] { x -> Conv1 }
block Two(x: [N, C, H, W], y: [N]) -> [N, C, H, W] { return x }
block Twice(x: [N, C, H, W]) -> [N, C, H, W], [N, C, H, W] { return x, x }
block Some(x: [N, C]) -> [K, C] { return x -> take(nonzero(sum(x, axis=1)) -> squeeze(1), axis=0) }
block Untyped(x) { return x }
block Unsure(x: [N, C, H, W]) -> [N, C, H - 4, W - 4] { x -> max_pool(5, stride=1) }
"""
)


@pytest.mark.parametrize("signature,code", WRONG.values(), ids=list(WRONG))
def test_what_prepares_no_input_is_refused(signature: str, code: str) -> None:
    found = api.check(written(signature, blocks=BLOCKS)).diagnostics
    assert [each.code for each in found] == [code]


def test_a_mistake_in_a_preparation_is_shown_where_that_is_declared() -> None:
    """torchvision refuses such sides as well."""
    with pytest.raises(ValueError, match="must be strictly greater"):
        torchvision.transforms.Resize(256, max_size=224)(torch.zeros(3, 300, 400))
    text = written("(image: [N, 3, H, W] from Photograph(256, 224)) -> [N, 3, H, W]")
    (problem,) = api.check(text).diagnostics
    assert problem.code == "requirement-failed"
    declared = problem.related[-1]
    assert declared.text == "reached through `Photograph(shorter=256, longest=224, crop=0)`"
    assert text[declared.span.start : declared.span.end] == "Photograph(256, 224)"


def test_only_models_have_prepared_inputs() -> None:
    text = written("(image: [N, 3, H, W])", blocks="block B(x: [N] from ReLU) { return x }")
    assert [each.code for each in api.check(text).diagnostics] == ["bad-preparation"]


@pytest.mark.parametrize(
    "question,code",
    [
        ("original(image -> relu)", "static-error"),
        ("original(image, image)", "static-error"),
        ("original(3)", "wrong-kind"),
    ],
)
def test_only_inputs_have_an_original(question: str, code: str) -> None:
    text = written(
        "(image: [N, 3, H, W])", f"if {question} != none {{ return image }}\nreturn image"
    )
    assert [each.code for each in api.check(text).diagnostics] == [code]


def test_what_only_preprocessing_has_is_checked() -> None:
    branch = "if original(image) != none { image = image -> Lunear(3) }\nreturn image"
    signature = "(image: [N, 3, H, W] from Photograph(8))"
    wrong = api.check(written(signature, branch)).diagnostics
    assert [each.code for each in wrong] == ["unknown-name"]
    assert api.check(written(signature.replace(" from Photograph(8)", ""), branch)).ok


def test_preprocessing_is_refused_where_nothing_is_declared() -> None:
    for signature in ("(image: [N, 3, H, W])", "(image: [N, 3, H, W] from none)"):
        with pytest.raises(GivenError, match="no input of `m` declares"):
            api.load(written(signature), preprocessing=True)
        assert api.load(written(signature), preprocessing=None).ir.root.inputs[0].name == "image"


# --------------------------------------------------------------------- what a network becomes


@pytest.mark.parametrize(
    "signature,types",
    [
        ("(image: [N, 3, H, W] from Photograph(8))", ["[N, 3, H, W]"]),
        ("(photos: [B, 3, 8, 8] from Photograph(8, crop=8))", ["[B, 3, H, W]"]),
        ("(image: [N, 3, H, W] from Normalize([0.5, 0.5, 0.5], [1, 1, 1]))", ["[N, 3, H, W]"]),
        ("(image: [N, 3, 7, W] from Bytes)", ["uint8[N, 7, W, 3]"]),
        (
            "(a: [N, 1, H, W] from Halved, b: [N, 1, S, T] from Halved)",
            ["[N, 1, H, W]", "[N, 1, b_H, b_W]"],
        ),
        (
            "(depth: [N, 1, H, D], from: [N, 3, H, W] from Halved)",
            ["[N, 1, from_H//2, D]", "[N, 3, from_H, W]"],
        ),
        (
            "(a: [N, 2, 4, 5] from Stretch(4, 5), b: [N, H] from none)",
            ["[N, 2, a_H, W]", "[N, H]"],
        ),
        ("(part: layer = Stretch(4, 5))(image: [N, 2, 4, 5] from part)", ["[N, 2, H, W]"]),
        ("(size: int = 4)(image: [N, 2, size, 2 * size] from Stretch(size, 8))", ["[N, 2, H, W]"]),
    ],
)
def test_the_input_is_what_the_preparation_takes(signature: str, types: list[str]) -> None:
    names = re.findall(r"[(,] ?(\w+): \w*\[", signature)
    bytes_to_image = "block Bytes(x: uint8[N, H, W, C]) -> [N, C, H, W] {\n"
    bytes_to_image += "  x -> cast(float32) -> permute(0, 3, 1, 2)\n}\n"
    text = written(signature, f"return {names[-1]}", HALVED + bytes_to_image)
    result = api.check(text)
    assert result.ok, str(result)
    assert input_types(text) == types


def test_sizes_of_what_is_given_are_fixed_by_name() -> None:
    text = written("(image: [N, 3, H, W] from Halved)", blocks=HALVED)
    root = api.load(text, preprocessing=True, dims={"N": 1, "H": 9}).ir.root
    assert str(root.type(root.inputs[0].value)) == "float32[1, 3, 9, W]"
    assert str(root.type(root.outputs[0].value)) == "float32[1, 3, 4, W//2]"
    with pytest.raises(ArchError, match="H >= 2"):
        api.load(text, preprocessing=True, dims={"H": 1})


def test_without_preprocessing_nothing_is_different() -> None:
    for text in (DETECT, SEGMENT):
        plain = api.load(re.sub(r" from \w+\([^)]*\)", "", text))
        declared = api.load(text)
        assert declared.to_source() == plain.to_source()
        assert declared.expanded() == plain.expanded()
        assert declared.to_onnx().SerializeToString() == plain.to_onnx().SerializeToString()


@pytest.mark.parametrize("text", [DETECT, SEGMENT])
def test_a_prepared_network_is_written_exactly(text: str) -> None:
    network = api.load(text, preprocessing=True)
    written = network.ir.model_dump_json()
    assert Model.model_validate_json(written).model_dump_json() == written
    flat = network.expanded()
    assert api.load(flat).expanded() == flat


@pytest.mark.parametrize("spec", ["resnet18", "fcn_resnet50", "fasterrcnn_resnet50_fpn", "yolov1"])
def test_a_prepared_network_has_the_same_weights(spec: str) -> None:
    model = None if spec in ("resnet18", "fcn_resnet50") else spec
    states = [
        api.load(spec, model, preprocessing=preprocessing).to_torch(device="meta").state_dict()
        for preprocessing in (False, True)
    ]
    shapes = [{path: tensor.shape for path, tensor in state.items()} for state in states]
    assert shapes[0] == shapes[1]


def test_strides_are_those_on_the_prepared_input() -> None:
    body = "x = image -> max_pool(2) -> max_pool(2)\n"
    body += "require stride(x) == 4 and receptive_field(x) == 4\nreturn x"
    text = written("(image: [N, 3, 32, 32] from Photograph(40, crop=32))", body)
    assert api.check(text).ok
    assert input_types(text) == ["[N, 3, H, W]"]


# ---------------------------------------------------------------------------------- computed


@pytest.mark.parametrize("height,width", [(37, 53), (53, 38), (24, 24), (90, 25), (24, 91), (9, 8)])
def test_a_classifiers_photograph_is_torchvisions(height: int, width: int) -> None:
    signature = "(image: [N, 3, H, W] from Photograph(24, crop=20))"
    network = api.load(written(signature, "return y = image"), preprocessing=True)
    image = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    preset = torchvision.transforms.Compose(
        [
            torchvision.transforms.Resize(24, antialias=False),
            torchvision.transforms.CenterCrop(20),
            torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    (ours,), (theirs,) = outputs(network, image)
    single, double = preset(image), preset(image.double())
    assert_parity("PyTorch", ours, single, double)
    assert_parity("ONNX Runtime", theirs, single, double)


@pytest.mark.parametrize("height,width", [(37, 53), (64, 48), (200, 20)])
def test_boxes_are_those_of_the_photograph(height: int, width: int) -> None:
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    transform = torchvision.models.detection.transform.GeneralizedRCNNTransform(
        32, 50, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], size_divisible=1
    ).eval()
    seen = transform([image[0]])[0].tensors
    place = torch.tensor([[4.0, 6, 20, 16], [1, 1, 30, 30]])
    resize_boxes = torchvision.models.detection.transform.resize_boxes
    scaled = [
        resize_boxes(x, list(seen.shape[2:]), [height, width]) for x in (place, place.double())
    ]
    for boxes, prepared in outputs(api.load(DETECT, preprocessing=True), image):
        assert_parity("boxes", boxes, *scaled)
        assert prepared.shape == tuple(seen.shape)
    for boxes, _ in outputs(api.load(DETECT), seen):
        assert np.array_equal(boxes, place.numpy())


# ------------------------------------------------------------------------------- the command


def run(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(each) for each in arguments])
    assert result.exit_code == code, result.output
    assert "this is a bug" not in result.output
    return result


def test_pictures_are_prepared_and_arrays_are_not(tmp_path: Path) -> None:
    spec, photo, array = (tmp_path / name for name in ("detect.arch", "photo.png", "array.npy"))
    spec.write_text(DETECT)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    Image.fromarray(pixels).save(photo)
    np.save(array, pixels.transpose(2, 0, 1)[np.newaxis].astype(np.float32) / np.float32(255))
    shapes: list[tuple[int, ...]] = []
    for arguments in ([photo], [array], [array, "--with-preprocessing"]):
        run("run", spec, "--input", *arguments, "-o", tmp_path / "found.npz")
        with np.load(tmp_path / "found.npz") as found:
            shapes.append(found["seen"].shape)
    assert shapes == [(1, 3, 32, 48), (1, 3, 60, 90), (1, 3, 32, 48)]


@pytest.mark.parametrize("runtime", [(), ("--onnx",)])
def test_what_is_found_is_drawn_over_the_photograph(
    tmp_path: Path, runtime: tuple[str, ...]
) -> None:
    spec, photo, shown = (tmp_path / name for name in ("segment.arch", "photo.png", "shown.png"))
    spec.write_text(SEGMENT)
    pixels = np.zeros((90, 80, 3), np.uint8)
    pixels[:, 40:] = 255
    Image.fromarray(pixels).save(photo)
    run("run", spec, *runtime, "--input", photo, "--show", shown)
    with Image.open(shown) as image:
        drawn = np.asarray(image)
    assert np.array_equal((drawn != pixels).any(axis=2), pixels.any(axis=2))


def test_what_is_exported_begins_with_the_preparation(tmp_path: Path) -> None:
    spec, exported = tmp_path / "detect.arch", tmp_path / "detect.onnx"
    spec.write_text(DETECT)
    run("export", spec, "--with-preprocessing", "--verify", "-o", exported)
    image = np.random.default_rng(0).random((1, 3, 64, 81), np.float32)
    boxes, seen = run_onnx(exported.read_bytes(), {"image": image})
    assert seen.shape == (1, 3, 32, 40)
    assert np.allclose(boxes[0], [4 * 81 / 40, 12, 20 * 81 / 40, 32])
    assert "Photograph(" in run("build", spec, "--with-preprocessing").output
    assert "Photograph" not in run("build", spec).output


def test_the_command_refuses_preprocessing_where_nothing_is_declared() -> None:
    told = run("build", "lenet5", "--with-preprocessing", code=2).output
    assert "no input of `lenet5` declares how it is prepared" in told
