"""Segmentation and detection on synthetic shapes: trained, exported, scored and drawn."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from scenes import KINDS, Scenes, scenes
from sklearn.metrics import jaccard_score
from torch import Tensor, nn
from torch.nn import functional as F

import archdsl
from archdsl.cli import pictures

HERE = Path(__file__).parent
FOLDER = Path("build") / "demo"
SIZE, TRAINED, HELD_OUT, BATCH = 64, 2000, 200, 16
STEPS = {"shapes_fcn": 600, "shapes_yolo": 400}
REQUIRED = {"shapes_fcn": 0.9, "shapes_yolo": 0.8}
CELL, USUAL = 8, 20.0
SHOWN, ENLARGED = 8, 4

console = Console(highlight=False)

Outputs = Sequence[np.ndarray]
Model = Callable[[np.ndarray], Outputs]
Loss = Callable[[nn.Module, Scenes, np.ndarray], Tensor]


def main() -> int:
    """Everything `make shapes` shows; the exit code is 1 when something is not as promised."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # So small networks have no work for two.
    known, unknown = scenes(TRAINED, SIZE, seed=1), scenes(HELD_OUT, SIZE, seed=2)
    table = Table("model", "score", "at least", "PyTorch", "ONNX Runtime")
    told = {
        "shapes_fcn": (segmentation_loss, mean_iou, "mean IoU"),
        "shapes_yolo": (detection_loss, mean_precision, "mAP@0.5"),
    }
    right: list[bool] = []
    for name, (loss, score, what) in told.items():
        network = archdsl.load(HERE / f"{name}.arch")
        console.rule(f"[bold]{name}", align="left")
        console.print(network.summary(1, dims={"N": 1, "H": SIZE, "W": SIZE}))
        module = train(network.to_torch(), loss, known, STEPS[name])
        runner = with_onnx(network, module)
        ours, theirs = score(with_torch(module), unknown), score(runner, unknown)
        table.add_row(name, what, f"{REQUIRED[name]}", f"{ours:.4f}", f"{theirs:.4f}")
        right.append(ours >= REQUIRED[name] and abs(ours - theirs) < 1e-4)
        draw(network, runner, unknown)
    console.print(table)
    return 0 if all(right) else 1


# ------------------------------------------------------------------------------------- training


def train(module: nn.Module, loss: Loss, known: Scenes, steps: int) -> nn.Module:
    """Adam with a falling learning rate."""
    optimiser = torch.optim.AdamW(module.parameters(), 4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    generator = np.random.default_rng(0)
    module.train()
    shown = TextColumn("loss {task.fields[loss]:.3f}")
    with Progress(BarColumn(), shown, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("", total=steps, loss=float("nan"))
        for _ in range(steps):
            chosen = generator.choice(len(known.images), BATCH, replace=False)
            found = loss(module, known, chosen)
            optimiser.zero_grad()
            found.backward()
            optimiser.step()
            schedule.step()
            progress.update(task, advance=1, loss=found.item())
    return module.eval().requires_grad_(False)


def segmentation_loss(module: nn.Module, known: Scenes, chosen: np.ndarray) -> Tensor:
    """How unlikely the true class of each pixel is."""
    score = module(torch.from_numpy(known.images[chosen]))
    return F.cross_entropy(score, torch.from_numpy(known.classes[chosen]))


def detection_loss(module: nn.Module, known: Scenes, chosen: np.ndarray) -> Tensor:
    """Whether a cell holds the middle of a box, and, where it does, of which kind and where."""
    told = module(torch.from_numpy(known.images[chosen])).told
    kinds, sure, middle, size = told.split((len(KINDS), 1, 2, 2), dim=3)
    owned = [boxes_of(known, image) for image in chosen]
    images = torch.arange(len(chosen)).repeat_interleave(torch.tensor([len(o) for o in owned]))
    boxes = torch.from_numpy(np.concatenate(owned))
    low, high = boxes[:, 2:].chunk(2, dim=1)
    place = (low + high) / 2 / CELL
    column, row = place.long().unbind(1)
    cell = images, row, column
    here = torch.zeros_like(sure[..., 0])
    here[cell] = 1
    return (
        F.binary_cross_entropy_with_logits(sure[..., 0], here, reduction="sum") / len(boxes)
        + F.cross_entropy(kinds[cell], boxes[:, 1].long())
        + 5 * F.mse_loss(torch.sigmoid(middle[cell]), place.frac())
        + 5 * F.mse_loss(size[cell], torch.log((high - low) / USUAL))
    )


def boxes_of(known: Scenes, image: int) -> np.ndarray:
    return known.boxes[known.boxes[:, 0] == image]


# -------------------------------------------------------------------------------------- running


def with_torch(module: nn.Module) -> Model:
    """The emitted module."""

    def run(images: np.ndarray) -> Outputs:
        found = module(torch.from_numpy(images))
        several = found if isinstance(found, tuple) else (found,)
        return [each.numpy() for each in several if each is not None]

    return run


def with_onnx(network: archdsl.Network, module: nn.Module) -> Model:
    """The exported file with the trained weights, in ONNX Runtime."""
    path = FOLDER / f"{network.ir.name}.onnx"
    network.save_onnx(path, weights=module)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"image": images})


# -------------------------------------------------------------------------------------- scoring


def mean_iou(model: Model, unknown: Scenes) -> float:
    """Intersection over union of what is found and what is true, the mean of all classes."""
    (score,) = model(unknown.images)
    return float(jaccard_score(unknown.classes.ravel(), score.argmax(1).ravel(), average="macro"))


def mean_precision(model: Model, unknown: Scenes) -> float:
    """The mean over the kinds of the average precision, as PASCAL VOC has it since 2010."""
    boxes, scores, labels, images = model(unknown.images)
    return float(
        np.mean(
            [
                average_precision(
                    boxes[labels == kind],
                    scores[labels == kind],
                    images[labels == kind],
                    unknown.boxes[unknown.boxes[:, 1] == kind],
                )
                for kind in range(len(KINDS))
            ]
        )
    )


def average_precision(
    boxes: np.ndarray, scores: np.ndarray, images: np.ndarray, truth: np.ndarray
) -> float:
    """The area under precision over recall; each true box is found once, by the best that fits."""
    taken = np.zeros(len(truth), bool)
    hits: list[bool] = []
    for place in np.argsort(-scores, kind="stable"):
        fit = np.where(truth[:, 0] == images[place], overlaps(boxes[place], truth[:, 2:]), 0.0)
        best = int(fit.argmax())
        hits.append(bool(fit[best] >= 0.5 and not taken[best]))
        taken[best] |= hits[-1]
    found = np.cumsum(hits)
    precision = found / np.arange(1, len(hits) + 1)
    best_beyond = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best_beyond[np.array(hits, bool)].sum() / len(truth))


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of a box with each of others."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = sides.clip(0).prod(1)
    areas = (others[:, 2:] - others[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return common / (areas - common)


# -------------------------------------------------------------------------------------- drawing


def draw(network: archdsl.Network, model: Model, unknown: Scenes) -> None:
    """What ONNX Runtime finds in the first images that were held out, one beside the other."""
    names = [port.name for port in network.ir.root.outputs]
    columns: list[np.ndarray] = []
    for image in unknown.images[:SHOWN]:
        large = image.repeat(ENLARGED, axis=1).repeat(ENLARGED, axis=2)
        picture = pictures.as_picture(large[np.newaxis])
        found = dict(zip(names, model(image[np.newaxis]), strict=False))
        if "boxes" in found:
            found["boxes"] = ENLARGED * found["boxes"]
        columns.append(np.concatenate([picture, pictures.overlay(picture, found)]))
    path = FOLDER / f"{network.ir.name}.png"
    pictures.save_picture(path, Image.fromarray(np.concatenate(columns, axis=1)))
    console.print(f"{path} shows what it finds")


if __name__ == "__main__":
    sys.exit(main())
