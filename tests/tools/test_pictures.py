"""Pictures in, prepared inside the graph as torchvision does it, and what was found drawn over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
import torch
from click.testing import CliRunner, Result
from op_parity import assert_parity
from PIL import Image
from torch.nn import functional as F
from torchvision_shim import torchvision

from archdsl import api
from archdsl.cli import main, pictures
from archdsl.diagnostics import GivenError
from archdsl.ir.types import TensorType
from archdsl.runtime.run import run_onnx

PHOTOGRAPHS = Path(sklearn.datasets.__file__).parent / "images"
SEGMENT = """\
edition 2026

model segment(image: [N, 3, H, W]) -> classes: int64[N, H, W] {
  bright = mean(image, axis=1, keepdim=true)
  return argmax(concat(full([N, 1, H, W], 0.5), bright, axis=1), axis=1)
}
"""
DETECT = """\
edition 2026

model detect(image: [N, 3, H, W]) -> boxes: [2, 4], scores: [2], labels: int64[2] {
  param place: [2, 4] = [[4.0, 6.0, 20.0, 16.0], [1.0, 1.0, 30.0, 30.0]]
  param sure: [2] = [0.9, 0.1]
  return place + 0 * sum(image), sure, arange(2)
}
"""
BYTES = """\
edition 2026

model of_bytes(photo: uint8[N, 32, 48, 3]) -> [N, 3, 32, 48] {
  return photo -> cast(float32) -> permute(0, 3, 1, 2)
}
"""


def type_of(text: str) -> TensorType:
    root = api.load(f"edition 2026\nmodel m(x: {text}) -> y: {text} {{ return x }}").ir.root
    return root.type(root.inputs[0].value)


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["run", *arguments])
    assert result.exit_code == code, result.output
    assert "this is a bug" not in result.output
    return result


# ------------------------------------------------------------------------------ inside the graph


def prepared(shorter: int, longest: int, image: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    network = api.load(
        "edition 2026\nimport std.vision (Photograph)\n"
        "model m(image: [N, 3, H, W]) -> [N, 3, H2, W2] {\n"
        f"  image -> Photograph({shorter}, {longest})\n}}"
    )
    with torch.inference_mode():
        ours = network.to_torch()(image).numpy()
    (theirs,) = run_onnx(network.to_onnx().SerializeToString(), {"image": image.numpy()})
    return ours, theirs


def cut_from_photograph(height: int, width: int) -> torch.Tensor:
    """Not noise: there ONNX Runtime's float32 places between two pixels tell in the fifth digit."""
    picture = pictures.read_picture(PHOTOGRAPHS / "china.jpg")[
        200 : 200 + height, 300 : 300 + width
    ]
    return torch.from_numpy(pictures.as_input(picture, "x", type_of("[N, 3, H, W]")))


@pytest.mark.parametrize("height,width", [(37, 53), (53, 37), (20, 90), (64, 64), (8, 8), (1, 90)])
def test_a_photograph_is_prepared_as_for_torchvisions_detectors(height: int, width: int) -> None:
    image = cut_from_photograph(height, width)
    transform = torchvision.models.detection.transform.GeneralizedRCNNTransform(
        32, 50, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], size_divisible=1
    ).eval()
    if height == 1:  # torchvision asks for a side of no length here.
        size = (1, 50)
        normal = torchvision.transforms.functional.normalize
        single, double = (
            F.interpolate(
                normal(x, transform.image_mean, transform.image_std), size, mode="bilinear"
            )
            for x in (image, image.double())
        )
    else:
        single, double = (transform([x[0]])[0].tensors for x in (image, image.double()))
    ours, theirs = prepared(32, 50, image)
    assert_parity("PyTorch", ours, single, double, exact=True)
    assert_parity("ONNX Runtime", theirs, single, double)


@pytest.mark.parametrize("height,width", [(37, 53), (53, 37), (16, 16), (5, 90)])
def test_the_shorter_side_is_as_long_as_torchvision_makes_it(height: int, width: int) -> None:
    image = torch.rand(2, 3, height, width)
    ours, theirs = prepared(24, 0, image)
    resized = torchvision.transforms.functional.resize(image, 24, antialias=False)
    assert ours.shape == theirs.shape == tuple(resized.shape)


def test_boxes_are_scaled_back_as_torchvision_does() -> None:
    network = api.load(
        "edition 2026\nimport std.detection (ScaleBoxes)\n"
        "model m(boxes: [R >= 0, 4], seen: [N, 3, H2, W2], image: [N, 3, H, W]) -> [R, 4] {\n"
        "  boxes -> ScaleBoxes(seen, image)\n}"
    )
    inputs = torch.rand(9, 4) * 100, torch.rand(1, 3, 80, 133), torch.rand(1, 3, 427, 640)
    resize_boxes = torchvision.models.detection.transform.resize_boxes
    single, double = (
        resize_boxes(x, [80, 133], [427, 640]) for x in (inputs[0], inputs[0].double())
    )
    module = network.to_torch()
    assert_parity("PyTorch", module(*inputs).numpy(), single, double)
    names = ("boxes", "seen", "image")
    given = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
    (found,) = run_onnx(network.to_onnx().SerializeToString(), given)
    assert_parity("ONNX Runtime", found, single, double)


# --------------------------------------------------------------------------------------- pictures


def test_a_picture_becomes_what_torchvision_makes_of_it() -> None:
    path = PHOTOGRAPHS / "china.jpg"
    found = pictures.as_input(pictures.read_picture(path), "x", type_of("[N, 3, H, W]"))
    with Image.open(path) as image:
        wanted = torchvision.transforms.functional.to_tensor(image)
    assert torch.equal(torch.from_numpy(found[0]), wanted)
    again = pictures.as_picture(found)
    assert again is not None
    assert np.array_equal(again, pictures.read_picture(path))


def test_a_picture_is_resized_where_the_sizes_are_fixed() -> None:
    picture = pictures.read_picture(PHOTOGRAPHS / "flower.jpg")
    for text, shape in {
        "[N, 3, 32, 48]": (1, 3, 32, 48),
        "[1, 3, H, 48]": (1, 3, len(picture), 48),
        "[N, 1, 28, 28]": (1, 1, 28, 28),
        "uint8[N, 32, 48, 3]": (1, 32, 48, 3),
    }.items():
        assert pictures.as_input(picture, "x", type_of(text)).shape == shape


@pytest.mark.parametrize(
    "text",
    ["int64[B, T]", "[N, 4, H, W]", "[2, 3, H, W]", "float64[N, 3, H, W]", "uint8[N, 3, H, W]"],
)
def test_what_is_no_picture_takes_none(text: str) -> None:
    with pytest.raises(GivenError, match="takes no picture"):
        pictures.as_input(np.zeros((4, 4, 3), np.uint8), "x", type_of(text))


def test_a_picture_is_read_as_it_was_held(tmp_path: Path) -> None:
    """Grey, transparent and turned pictures are all red, green and blue, the right way up."""
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    Image.fromarray(pixels).save(tmp_path / "grey.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # To be turned by a quarter to the right.
    Image.fromarray(pixels).convert("RGBA").save(tmp_path / "turned.png", exif=exif)
    upright = np.repeat(pixels[:, :, np.newaxis], 3, axis=2)
    assert np.array_equal(pictures.read_picture(tmp_path / "grey.png"), upright)
    turned = pictures.read_picture(tmp_path / "turned.png")
    assert np.array_equal(turned, np.rot90(upright, -1))


# ------------------------------------------------------------------------------- the command


def test_classes_are_drawn_over_the_photograph(tmp_path: Path) -> None:
    spec, shown = tmp_path / "segment.arch", tmp_path / "shown.png"
    spec.write_text(SEGMENT)
    path = PHOTOGRAPHS / "china.jpg"
    run(str(spec), "--input", str(path), "--show", str(shown))
    picture = pictures.read_picture(path)
    with Image.open(shown) as image:
        drawn = np.asarray(image)
    mean = picture.mean(axis=2) / 255
    clear = np.abs(mean - 0.5) > 1e-3
    changed = (drawn != picture).any(axis=2)
    assert 0.05 < changed.mean() < 0.95
    assert np.array_equal(changed[clear], (mean > 0.5)[clear])


@pytest.mark.parametrize("runtime", [(), ("--onnx",)])
def test_boxes_that_are_sure_are_drawn(tmp_path: Path, runtime: tuple[str, ...]) -> None:
    spec, shown, given = (tmp_path / name for name in ("detect.arch", "shown.png", "given.png"))
    spec.write_text(DETECT)
    Image.new("RGB", (40, 32)).save(given)
    run(str(spec), *runtime, "--input", f"image={given}", "--show", str(shown))
    with Image.open(shown) as image:
        drawn = np.asarray(image).any(axis=2)
    assert drawn[6, 4:21].all() and drawn[16, 4:21].all()
    assert drawn[6:17, 4].all() and drawn[6:17, 20].all()
    assert not drawn[1, 1:31].any() and not drawn[:, 1].any()


def test_bytes_enter_as_they_are(tmp_path: Path) -> None:
    spec, given, found = (tmp_path / name for name in ("bytes.arch", "given.png", "found.npz"))
    spec.write_text(BYTES)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    Image.fromarray(pixels).save(given)
    run(str(spec), "--input", str(given), "-o", str(found))
    with np.load(found) as outputs:
        assert np.array_equal(outputs["output"][0], pixels.transpose(2, 0, 1))


def test_what_cannot_be_read_or_drawn_is_told(tmp_path: Path) -> None:
    spec, broken = tmp_path / "bytes.arch", tmp_path / "broken.png"
    spec.write_text(BYTES)
    broken.write_bytes(b"\x89PNG\r\n\x1a\n, but no more")
    photograph = str(PHOTOGRAPHS / "china.jpg")
    assert "not a picture" in run(str(spec), "--input", str(broken), code=2).output
    assert (
        "can be drawn" in run("resnet18", "--input", photograph, "--show", "x.png", code=2).output
    )
    told = run(str(spec), "--input", photograph, "--show", str(tmp_path / "x.gif"), code=2).output
    assert ".png" in told
    assert "no such file" in run(str(spec), "--input", "missing.png", code=2).output.lower()
    assert not list(tmp_path.glob("x.*"))
