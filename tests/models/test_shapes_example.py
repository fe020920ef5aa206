"""The example of shapes: what is drawn, how it is scored, and that both runtimes learn the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import shapes
import torch
from scenes import KINDS, Scenes, scenes
from torchvision_shim import torchvision

import archdsl

LOSSES: dict[str, tuple[shapes.Loss, Callable[[shapes.Model, Scenes], float], int]] = {
    "shapes_fcn": (shapes.segmentation_loss, shapes.mean_iou, 20),
    "shapes_yolo": (shapes.detection_loss, shapes.mean_precision, 40),
}


@pytest.fixture(autouse=True)
def seeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    shapes.FOLDER.mkdir(parents=True)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", LOSSES)
def test_it_learns_and_both_runtimes_score_the_same(name: str) -> None:
    loss, score, steps = LOSSES[name]
    known, unknown = scenes(64, 64, seed=1), scenes(24, 64, seed=2)
    network = archdsl.load(shapes.HERE / f"{name}.arch")
    module = network.to_torch().train()
    chosen = np.arange(16)
    with torch.no_grad():
        before = loss(module, known, chosen).item()
    module = shapes.train(module, loss, known, steps)
    with torch.no_grad():
        after = loss(module.train(), known, chosen).item()
    assert after < 0.6 * before
    runner = shapes.with_onnx(network, module.eval())
    ours = score(shapes.with_torch(module), unknown)
    assert 0 < ours < 1
    assert score(runner, unknown) == pytest.approx(ours, abs=1e-4)
    shapes.draw(network, runner, unknown)
    assert (shapes.FOLDER / f"{name}.png").stat().st_size > 1000


@pytest.mark.parametrize("size", [(64, 64), (31, 50), (8, 97)])
@pytest.mark.parametrize("name", LOSSES)
def test_images_may_be_of_any_size(name: str, size: tuple[int, int]) -> None:
    network = archdsl.load(shapes.HERE / f"{name}.arch")
    module = network.to_torch().eval().requires_grad_(False)
    image = np.random.default_rng(0).random((2, 3, *size), np.float32)
    ours = shapes.with_torch(module)(image)
    theirs = shapes.with_onnx(network, module)(image)
    for one, two in zip(ours, theirs, strict=True):
        assert one.shape == two.shape
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-5 * np.abs(one).max(initial=0))


def test_scenes_are_the_same_for_a_seed_and_boxes_are_tight() -> None:
    drawn, again = scenes(40, 64, seed=3), scenes(40, 64, seed=3)
    assert np.array_equal(drawn.images, again.images)
    assert np.array_equal(drawn.boxes, again.boxes)
    assert not np.array_equal(drawn.images, scenes(40, 64, seed=4).images)
    shares: dict[int, list[float]] = {kind: [] for kind in range(len(KINDS))}
    for image, kind, left, top, right, bottom in drawn.boxes.astype(int):
        inside = drawn.classes[image, top:bottom, left:right] == kind + 1
        assert inside.any(0).all() and inside.any(1)[1:].all()
        shares[kind].append(inside.mean())
    covered = [np.mean(shares[kind]) for kind in range(len(KINDS))]
    assert covered == pytest.approx([np.pi / 4, 1, 1 / 2], abs=0.02)
    filled = sum((drawn.classes[int(box[0])] == box[1] + 1).any() for box in drawn.boxes)
    assert filled == len(drawn.boxes)


def test_precision_is_averaged_as_pascal_voc_does() -> None:
    """Found, missed, found twice, found: at recalls of 1/3 and 2/3 the best precisions beyond."""
    truth = np.array([[0, 0, 0, 0, 10, 10], [1, 0, 0, 0, 10, 10], [1, 0, 30, 30, 40, 40]], float)
    boxes = np.array([[0, 0, 10, 9], [50, 50, 60, 60], [0, 0, 10, 10], [1, 0, 10, 10]], float)
    scores, images = np.array([0.9, 0.8, 0.7, 0.6]), np.array([0, 0, 0, 1])
    found = shapes.average_precision(boxes, scores, images, truth)
    assert found == pytest.approx((1 + 2 / 4) / 3)
    assert shapes.average_precision(boxes[:0], scores[:0], images[:0], truth) == 0


def test_overlaps_are_those_of_torchvision() -> None:
    generator = np.random.default_rng(0)
    low = generator.random((20, 2)) * 50
    boxes = np.concatenate([low, low + 1 + generator.random((20, 2)) * 50], axis=1)
    wanted = torchvision.ops.box_iou(torch.from_numpy(boxes[:1]), torch.from_numpy(boxes))[0]
    np.testing.assert_allclose(shapes.overlaps(boxes[0], boxes), wanted, rtol=1e-12)
