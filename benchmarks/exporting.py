"""ResNet-50 with its weights to disk, and a long chain, beside torch.onnx."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import save_file
from torch import nn

import archdsl
from archdsl.weights.state_dict import state
from benchmarks.claims import Claim, times_faster
from benchmarks.measure import (
    SCRATCH,
    archdsl_command,
    command,
    interleaved,
    progress,
    ratio,
    ratio_of_least,
    timed,
)
from benchmarks.plan import Plan
from benchmarks.subjects import export_with_torch, subject, symbolic_axes

WARM_BAR, COLD_BAR, CHAIN_BAR = 40, 15, 300
LAYERS, WIDTH = 1000, 16
QUICK_ROUNDS = 5

CHAIN = f"""edition 2026
model chain(x: [N, {WIDTH}]) -> y: [N, {WIDTH}] {{
  return x -> repeat {LAYERS} {{ Linear({WIDTH}) -> relu }}
}}
"""


def claims(plan: Plan) -> Iterator[Claim]:
    """In process, as cold commands, and with many layers."""
    folder = SCRATCH / "exporting"
    folder.mkdir(parents=True, exist_ok=True)
    module = subject("resnet50")
    yield _in_process(module, folder, plan)
    yield _cold(module, folder, plan)
    yield _chain(folder, plan)


def _in_process(module: nn.Module, folder: Path, plan: Plan) -> Claim:
    progress("resnet50 in process")
    network = archdsl.load("resnet50")
    ours, theirs = folder / "ours.onnx", folder / "theirs.onnx"
    actions = {
        "ours": lambda: network.save_onnx(ours, module),
        "torch": lambda: export_with_torch(module, theirs, symbolic_axes(network)),
        "text": lambda: archdsl.load("resnet50").save_onnx(ours, module),
    }
    seconds = interleaved(actions, plan.slow_rounds, before=lambda: _empty(folder))
    found = ratio(seconds["torch"], seconds["ours"])
    what = "resnet50 from memory to disk: torch.onnx / ours"
    return times_faster("export", what, found, WARM_BAR, _noted(seconds))


def _cold(module: nn.Module, folder: Path, plan: Plan) -> Claim:
    progress("resnet50 as a cold command")
    weights = folder / "resnet50.safetensors"
    save_file({name: t.contiguous() for name, t in module.state_dict().items()}, weights)
    ours = archdsl_command(
        "export", "resnet50", "--weights", str(weights), "-o", str(folder / "cold.onnx")
    )
    theirs = [
        sys.executable,
        "-m",
        "benchmarks.torch_process",
        str(weights),
        str(folder / "t.onnx"),
    ]
    commands = {"ours": command(ours), "torch": command(theirs)}
    seconds = interleaved(commands, plan.slow_rounds, before=lambda: _empty(folder))
    found = ratio_of_least(seconds["torch"], seconds["ours"])
    what = "resnet50 to disk, fresh processes: torch / ours"
    return times_faster("export", what, found, COLD_BAR, _noted(seconds))


def _chain(folder: Path, plan: Plan) -> Claim:
    progress(f"{LAYERS} layers; torch takes half a minute a time")
    layers = [layer for _ in range(LAYERS) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    module = nn.Sequential(*layers).eval().requires_grad_(False)
    network = archdsl.load(CHAIN)
    names = state(network.ir)
    weights = dict(zip(names, module.state_dict().values(), strict=True))

    def theirs() -> None:
        torch.onnx.export(
            module,
            (torch.zeros(2, WIDTH),),
            folder / "chain.torch.onnx",
            dynamo=True,
            verbose=False,
            dynamic_shapes=({0: "N"},),
        )

    target = folder / "chain.onnx"
    quick = {
        "ours": lambda: network.save_onnx(target, weights),
        "text": lambda: archdsl.load(CHAIN).save_onnx(target, weights),
    }
    seconds: dict[str, list[float]] = {"torch": [], "ours": [], "text": []}
    for _ in range(max(1, plan.rounds // 5)):
        _empty(folder)
        seconds["torch"].append(timed(theirs))
        found = interleaved(quick, QUICK_ROUNDS, before=lambda: _empty(folder))
        for name, times in found.items():
            seconds[name].append(median(times))
    what = f"{LAYERS:,} times Linear and ReLU: torch.onnx / ours"
    found_ratio = ratio(seconds["torch"], seconds["ours"])
    return times_faster("export", what, found_ratio, CHAIN_BAR, _noted(seconds))


def _noted(seconds: dict[str, list[float]]) -> str:
    torch_seconds, ours = min(seconds["torch"]), min(seconds["ours"])
    note = f"least {torch_seconds:.2f} s and {ours:.3f} s"
    if "text" not in seconds:
        return note
    text = ratio(seconds["torch"], seconds["text"])
    return f"{note}; {text.shown('×')} from the text on"


def _empty(folder: Path) -> None:
    """Remove the last exports: freeing a hundred megabytes is no part of writing others."""
    for path in folder.glob("*.onnx*"):
        path.unlink()
