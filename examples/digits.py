"""The main job on real input: prove, compile, train, export and run a digit classifier."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional as F

import archdsl
from archdsl.resources import specs_folder

FOLDER = Path("build") / "demo"
EPOCHS, BATCH = 15, 32
REQUIRED_ACCURACY = 0.97
SHOWN = 4

console = Console(highlight=False)


def main() -> int:
    """Everything `make demo` shows; the exit code is 1 when something is not as promised."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # So small a network has no work for two.
    network = prove("lenet5")
    train_x, test_x, train_y, test_y = digits()
    module = train(network.to_torch(), train_x, train_y)
    expected = module(test_x).argmax(1)
    right = int((expected == test_y).sum())
    learned = judge(
        right >= REQUIRED_ACCURACY * len(test_y),
        f"{right} of {len(test_y)} held-out digits are read correctly, {right / len(test_y):.1%}",
    )
    found = predict_with_onnx(network, module, test_x)
    show(test_x, found)
    same = int((found == expected.numpy()).sum())
    agreed = judge(
        same == len(test_y),
        f"ONNX Runtime predicts the same as PyTorch for {same} of {len(test_y)} held-out digits",
    )
    compile_resnet()
    return 0 if learned and agreed else 1


def prove(name: str) -> archdsl.Network:
    """Check a shipped spec and write its PyTorch source."""
    headline(f"{name}: the architecture, its shapes proved for every batch size")
    text = (specs_folder() / f"{name}.arch").read_text("utf-8")
    definition = text[text.index("\nmodel ") : text.index("\n}") + 2].strip()
    console.print(Panel(Text(definition), title=f"specs/{name}.arch", expand=False))
    network = archdsl.load(name)
    console.print(network.summary(dims={"N": 1}))
    path = FOLDER / f"{name}.py"
    path.write_text(network.to_source(), encoding="utf-8")
    judge(True, f"{path} is plain PyTorch")
    return network


def digits() -> tuple[torch.Tensor, ...]:
    """Handwritten digits, enlarged to 28 x 28; a third is held out."""
    data = load_digits()
    small = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
    large = F.interpolate(small, size=(28, 28), mode="bilinear", align_corners=False)
    labels = torch.tensor(data.target)
    order = np.arange(len(labels))
    train, test = train_test_split(order, test_size=1 / 3, stratify=data.target, random_state=0)
    return large[train], large[test], labels[train], labels[test]


def train(module: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    """A short training with Adam and a falling learning rate."""
    headline(f"trained on {len(labels)} handwritten digits")
    optimiser = torch.optim.AdamW(module.parameters(), 2e-3)
    steps = EPOCHS * -(-len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=steps)
    module.train()
    loss_shown = TextColumn("loss {task.fields[loss]:.3f}")
    columns = (TextColumn("{task.description}"), BarColumn(), loss_shown, TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=steps, loss=float("nan"))
        for epoch in range(EPOCHS):
            progress.update(task, description=f"epoch {epoch + 1:>2} of {EPOCHS}")
            for batch in torch.randperm(len(labels)).split(BATCH):
                loss = F.cross_entropy(module(shifted(images[batch])), labels[batch])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                progress.update(task, advance=1, loss=loss.item())
    return module.eval().requires_grad_(False)


def shifted(images: torch.Tensor) -> torch.Tensor:
    """The images moved by up to two pixels, as handwriting is."""
    right, down = torch.randint(-2, 3, (2,)).tolist()
    return images.roll((down, right), (2, 3))


def predict_with_onnx(
    network: archdsl.Network, module: nn.Module, images: torch.Tensor
) -> np.ndarray:
    """Export with the trained weights and run the file with ONNX Runtime."""
    headline("exported to ONNX with the trained weights")
    path = FOLDER / f"{network.ir.name}.onnx"
    network.save_onnx(path, weights=module)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    judge(True, f"{path} has {path.stat().st_size:,} bytes")
    return np.asarray(logits).argmax(1)


def show(images: torch.Tensor, predictions: np.ndarray) -> None:
    """The first of the digits, and what ONNX Runtime takes them for."""
    pictures = F.avg_pool2d(images[:SHOWN], 2)[:, 0] > 0.5
    panels = [
        Panel(drawn(picture), title=str(digit), expand=False)
        for picture, digit in zip(pictures.tolist(), predictions, strict=False)
    ]
    console.print(Columns(panels, padding=0))


def drawn(picture: list[list[bool]]) -> str:
    """A picture in characters, two rows of it in a line."""
    pairs = zip(picture[::2], picture[1::2], strict=True)
    return "\n".join(
        "".join(" ▄▀█"[2 * upper + lower] for upper, lower in zip(*rows, strict=True))
        for rows in pairs
    )


def compile_resnet() -> None:
    """A larger model, to source and to ONNX."""
    headline("resnet50: to PyTorch source and to ONNX, of every image size")
    began = time.perf_counter()
    network = archdsl.load("resnet50")
    source, path = FOLDER / "resnet50.py", FOLDER / "resnet50.onnx"
    source.write_text(network.to_source(), encoding="utf-8")
    network.save_onnx(path)
    took = time.perf_counter() - began
    console.print(network.summary(dims={"N": 1, "H": 224, "W": 224}))
    judge(True, f"{source} and {path} ({path.stat().st_size:,} bytes) took {took:.1f} s")


def headline(text: str) -> None:
    """A line that begins a part."""
    console.print()
    console.rule(f"[bold]{text}", align="left")


def judge(holds: bool, text: str) -> bool:
    """A result, and whether it is the one that was promised."""
    console.print(f"[green]✓[/green] {text}" if holds else f"[red]✗[/red] {text}")
    return holds


if __name__ == "__main__":
    sys.exit(main())
