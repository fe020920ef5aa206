"""Recurrences and Transformers beside PyTorch's libraries: emitted modules, exports, latencies."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from benchmarks.claims import Claim, at_most, ratio_at_most, times_faster
from benchmarks.measure import SCRATCH, THREADS, interleaved, progress, ratio
from benchmarks.plan import Plan
from benchmarks.sequence_subjects import Arrays, Subject, bert, gpt2, recurrent, vit
from benchmarks.subjects import node_count, session

EAGER_BAR, EXPORT_BAR, NODES_BAR = 1.02, 10, 0.65
LONG_BAR, SHORT_BAR, LSTM_BAR = 1.00, 0.92, 0.95
LONG, SHORT = 128, 8
TOLERANCE = 1e-3
PROMPTS, DECODED, SAMPLES, DECODING_BAR = (1, 512), 128, 4, 10
LARGE = ("dalle", "llama_7b")
LARGE_SECONDS, LARGE_MEGABYTES, LOOKS = 1.0, 300, 3

BOTH_LENGTHS = {LONG: LONG_BAR, SHORT: SHORT_BAR}
Session = Any

TRANSFORMERS: tuple[tuple[Callable[[], Subject], dict[int, float]], ...] = (
    (bert, BOTH_LENGTHS),
    (gpt2, BOTH_LENGTHS),
    (vit, {LONG: LONG_BAR}),
)
"""Each with its bars in ONNX Runtime by length (a picture has the length that it has)."""


def claims(plan: Plan) -> Iterator[Claim]:
    """Emitted modules first, then graphs, then what a large model costs to look at."""
    torch.set_num_threads(THREADS)
    for layer in ("LSTM", "GRU"):
        yield _eager(recurrent(layer, bidirectional=False), plan)
    for make, bars in TRANSFORMERS:
        subject = make()
        yield _eager(subject, plan)
        yield from _exported(subject, plan, bars)
    yield from _exported(recurrent("LSTM", bidirectional=True), plan, {LONG: LSTM_BAR})
    yield from _decoding(plan)
    for name in LARGE:
        yield from _looked_at(name)


def _eager(subject: Subject, plan: Plan) -> Claim:
    progress(f"{subject.name} in PyTorch")
    ours = subject.emitted()
    given = tuple(map(torch.from_numpy, subject.inputs(1, LONG).values()))
    expected, found = _first(subject.theirs(*given)), _first(ours(*given))
    _demand_close(subject.name, expected.numpy(), found.numpy())
    seconds = interleaved(
        {"ours": lambda: ours(*given), "theirs": lambda: subject.theirs(*given)},
        plan.rounds,
        repeats=5,
    )
    what = f"{subject.name} in PyTorch: emitted / library's"
    note = f"least {1000 * min(seconds['ours']):.1f} ms"
    found_ratio = ratio(seconds["ours"], seconds["theirs"])
    return ratio_at_most("sequences", what, found_ratio, EAGER_BAR, note)


def _decoding(plan: Plan) -> Iterator[Claim]:
    """A cached step beside running all of the prefix again, at some of the lengths."""
    progress("gpt2 step by step")
    folder = SCRATCH / "decoding"
    folder.mkdir(parents=True, exist_ok=True)
    subject = gpt2()
    stepping = subject.network.stepping()
    subject.export_ours(folder / "whole.onnx")
    _, step_path = stepping.save_onnx(folder / "gpt2.onnx", weights=subject.weights)
    whole, step = session(folder / "whole.onnx"), session(step_path)
    for prompt in PROMPTS:
        lengths = [prompt + DECODED * place // SAMPLES for place in range(1, SAMPLES + 1)]
        times = [_one_more(subject, whole, step, length, plan) for length in lengths]
        sums = {
            name: [sum(rounds) for rounds in zip(*(each[name] for each in times), strict=True)]
            for name in ("whole", "step")
        }
        what = f"gpt2, {DECODED} tokens after {prompt}: the prefix again / cached step"
        note = f"at {SAMPLES} of the lengths, {1000 * min(sums['step']) / SAMPLES:.0f} ms a step"
        found = ratio(sums["whole"], sums["step"])
        yield times_faster("sequences", what, found, DECODING_BAR, note)
    _empty(folder)


def _one_more(
    subject: Subject, whole: Session, step: Session, length: int, plan: Plan
) -> dict[str, list[float]]:
    """Seconds for the token at that length, both ways."""
    tokens = subject.inputs(1, length)["input_ids"]
    cache = np.random.default_rng(0).standard_normal((1, 12, length - 1, 64), dtype=np.float32)
    given = {port.name: cache for port in step.get_inputs()} | {"input_ids": tokens[:, -1:]}
    actions = {
        "whole": lambda: whole.run(None, {"input_ids": tokens}),
        "step": lambda: step.run(None, given),
    }
    return interleaved(actions, plan.slow_rounds)


def _first(result: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    return result if isinstance(result, torch.Tensor) else result[0]


def _exported(subject: Subject, plan: Plan, bars: dict[int, float]) -> Iterator[Claim]:
    progress(f"{subject.name} exported; torch takes its time")
    folder = SCRATCH / "sequences"
    folder.mkdir(parents=True, exist_ok=True)
    ours, theirs = folder / "ours.onnx", folder / "theirs.onnx"
    seconds = interleaved(
        {
            "ours": lambda: subject.export_ours(ours),
            "torch": lambda: subject.export_theirs(theirs),
        },
        max(2, plan.slow_rounds // 2),
        before=lambda: _empty(folder),
    )
    subject.export_ours(ours)
    subject.export_theirs(theirs)
    what = f"{subject.name} from memory to disk: torch.onnx / ours"
    note = f"least {min(seconds['torch']):.1f} s and {min(seconds['ours']):.2f} s"
    yield times_faster(
        "sequences", what, ratio(seconds["torch"], seconds["ours"]), EXPORT_BAR, note
    )
    yield _nodes(subject, ours, theirs)
    for length, bar in bars.items():
        yield _latency(subject, ours, theirs, length, bar, plan)
    _empty(folder)


def _nodes(subject: Subject, ours: Path, theirs: Path) -> Claim:
    counts = [
        node_count(onnx.load(path, load_external_data=False).graph) for path in (ours, theirs)
    ]
    what = f"{subject.name}: nodes, ours / torch's"
    note = f"{counts[0]} and {counts[1]}"
    return at_most("sequences", what, counts[0] / counts[1], NODES_BAR, "x", note)


def _latency(
    subject: Subject, ours: Path, theirs: Path, length: int, bar: float, plan: Plan
) -> Claim:
    progress(f"{subject.name} in ONNX Runtime at length {length}")
    sessions = {"ours": session(ours), "torch": session(theirs)}
    given = subject.inputs(1, length)
    results = {name: _run(opened, given) for name, opened in sessions.items()}
    _demand_close(subject.name, results["torch"], results["ours"])
    seconds = interleaved(
        {name: lambda opened=opened: _run(opened, given) for name, opened in sessions.items()},
        plan.rounds,
        repeats=10,
    )
    what = f"{subject.name} in ONNX Runtime, length {length}: ours / torch's export"
    note = f"least {1000 * min(seconds['ours']):.2f} ms"
    return ratio_at_most("sequences", what, ratio(seconds["ours"], seconds["torch"]), bar, note)


def _run(opened: Session, given: Arrays) -> np.ndarray:
    """The first output, the inputs given in their order (exporters name them differently)."""
    names = [port.name for port in opened.get_inputs()]
    return opened.run(None, dict(zip(names, given.values(), strict=True)))[0]


def _demand_close(name: str, expected: np.ndarray, found: np.ndarray) -> None:
    if not np.allclose(expected, found, rtol=TOLERANCE, atol=TOLERANCE * np.abs(expected).max()):
        raise AssertionError(f"{name}: the two do not compute the same")


def _looked_at(name: str) -> Iterator[Claim]:
    """A large model checked and summarised in fresh processes, no weight ever made."""
    for what in ("check", "summary"):
        progress(f"{what} {name}")
        command = [sys.executable, "-m", "benchmarks.compile_process", what, name]
        runs = range(LOOKS)
        done = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in runs]
        found = [json.loads(one.stdout) for one in done]
        seconds, megabytes = (min(one[key] for one in found) for key in ("seconds", "megabytes"))
        yield at_most("sequences", f"{what} {name}", seconds, LARGE_SECONDS, "s")
        yield at_most("sequences", f"{what} {name}: memory", megabytes, LARGE_MEGABYTES, "MB")


def _empty(folder: Path) -> None:
    for path in folder.glob("*.onnx*"):
        path.unlink()
