"""A language model on real text: trained on Python's documentation, exported, and made to write."""

from __future__ import annotations

import builtins
import inspect
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text
from torch import nn
from torch.nn import functional as F

import archdsl

FOLDER = Path("build") / "demo"
STEPS, BATCH, LENGTH = 300, 32, 64
REQUIRED_BITS = 2.5
WRITTEN, SHARPNESS = 160, 2.0
PROMPT = "Return "

console = Console(highlight=False)

Model = Callable[[np.ndarray], np.ndarray]
"""From the characters so far to the logits of the next one."""
Choice = Callable[[np.ndarray], int]


def main() -> int:
    """Everything `make characters` shows; the exit code is 1 when something is not as promised."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # So small a network has no work for two.
    network = archdsl.load("lstm_lm")
    headline("lstm_lm: the gates written out, proved for every batch size and length")
    console.print(network.summary())
    seen, unseen = text_of_python()
    module = network.to_torch()
    before = bits(module, unseen)
    train(module, seen)
    after = bits(module, unseen)
    learned = judge(
        after <= REQUIRED_BITS < before,
        f"characters that were held out cost {before:.2f} bits each before, {after:.2f} after",
    )
    stepping = network.stepping()
    for path in stepping.save_onnx(FOLDER / "lstm_lm.onnx", weights=module):
        judge(True, f"{path} has the trained weights, {path.stat().st_size:,} bytes")
    same = [compare(name, choose, module, stepping) for name, choose in choices()]
    return 0 if learned and all(same) else 1


# ------------------------------------------------------------------------------------- the text


def text_of_python() -> tuple[torch.Tensor, torch.Tensor]:
    """What Python says of its built-in functions and types, as codes of ASCII; a tenth held out."""
    told = dict.fromkeys(text for text in documentation() if text.isascii())
    codes = torch.tensor(list("\n\n".join(told).encode("ascii")))
    held_out = len(codes) // 10
    return codes[:-held_out], codes[-held_out:]


def documentation() -> Iterator[str]:
    """Documentation strings in order of the names, those of methods behind their type's."""
    for _, value in sorted(vars(builtins).items()):
        yield inspect.getdoc(value) or ""
        members = sorted(vars(value).items()) if isinstance(value, type) else []
        yield from (inspect.getdoc(member) or "" for _, member in members if callable(member))


# ------------------------------------------------------------------------------------- training


def train(module: nn.Module, codes: torch.Tensor) -> None:
    """Adam on pieces of the text, each character from those before it in its piece."""
    headline(f"trained on {len(codes):,} characters of Python's own documentation")
    optimiser = torch.optim.AdamW(module.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 8e-3, total_steps=STEPS)
    module.train()
    shown = TextColumn("{task.fields[bits]:.2f} bits a character")
    with Progress(BarColumn(), shown, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("", total=STEPS, bits=math.log2(128))
        for _ in range(STEPS):
            starts = torch.randint(len(codes) - LENGTH, (BATCH, 1))
            loss = loss_of(module, codes[starts + torch.arange(LENGTH + 1)])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            progress.update(task, advance=1, bits=loss.item() / math.log(2))
    module.eval()


def loss_of(module: nn.Module, pieces: torch.Tensor) -> torch.Tensor:
    """The mean cost of each character but the first of a piece."""
    logits = module(pieces[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), pieces[:, 1:].flatten())


def bits(module: nn.Module, codes: torch.Tensor) -> float:
    """Bits that a character of this text costs, told from up to 255 before it."""
    pieces = codes[: len(codes) // 256 * 256].unflatten(0, (-1, 256))
    with torch.no_grad():
        return loss_of(module, pieces).item() / math.log(2)


# -------------------------------------------------------------------------------------- writing


def choices() -> Iterator[tuple[str, Callable[[], Choice]]]:
    """Two ways to choose the next character: the likeliest, or at random from one seed."""
    yield "always the likeliest", lambda: lambda logits: int(logits.argmax())
    yield "drawn from seed 0", lambda: drawn(np.random.default_rng(0))


def drawn(generator: np.random.Generator) -> Choice:
    """A choice by chance, likelier ones preferred."""

    def choose(logits: np.ndarray) -> int:
        scores = SHARPNESS * logits.astype(np.float64)
        weights = np.exp(scores - scores.max()).cumsum()
        return int(np.searchsorted(weights, generator.random() * weights[-1], side="right"))

    return choose


def write(model: Model, choose: Choice) -> str:
    """The prompt and what the model writes behind it, one character after the other."""
    codes = list(PROMPT.encode("ascii"))
    for _ in range(WRITTEN):
        codes.append(choose(model(np.array([codes]))))
    return bytes(codes).decode("ascii")


def with_torch(module: nn.Module) -> Model:
    """The emitted module, which reads everything again for each character."""

    def run(codes: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return module(torch.from_numpy(codes))[0, -1].numpy()

    return run


def with_onnx(stepping: archdsl.Stepping) -> Model:
    """The exported files in ONNX Runtime: the prompt at once, then a step for each character."""
    (_, prefill_path), (_, step_path) = stepping.parts(FOLDER / "lstm_lm.onnx")
    prefill, step = session(prefill_path), session(step_path)
    states: dict[str, np.ndarray] = {}

    def run(codes: np.ndarray) -> np.ndarray:
        runner, given = (step, codes[:, -1:]) if states else (prefill, codes)
        names = [output.name for output in runner.get_outputs()]
        found = dict(zip(names, runner.run(None, {"tokens": given, **states}), strict=True))
        states.update({past: found[present] for past, present in stepping.states.items()})
        return found["logits"][0, -1]

    return run


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def compare(
    name: str, choice: Callable[[], Choice], module: nn.Module, stepping: archdsl.Stepping
) -> bool:
    """What PyTorch and ONNX Runtime write, and whether it is the same."""
    headline(f"what it writes, {name}")
    text = write(with_torch(module), choice())
    console.print(Panel(Text(text), expand=False))
    other = write(with_onnx(stepping), choice())
    return judge(other == text, "ONNX Runtime writes the same, step by step, to the letter")


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
