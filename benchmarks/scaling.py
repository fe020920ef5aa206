"""How time and memory grow with the length of a text."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from benchmarks.claims import Claim, at_most, ratio_at_most
from benchmarks.measure import SCRATCH, progress, ratio
from benchmarks.plan import Plan

SIZES = (1_000, 10_000, 100_000)
DECADE_BAR, SECONDS_BAR, MEGABYTES_BAR = 11, 60, 1000


def claims(plan: Plan) -> Iterator[Claim]:
    """Full compilations in fresh processes."""
    folder = SCRATCH / "scaling"
    folder.mkdir(parents=True, exist_ok=True)
    paths = {size: _written(folder, size) for size in SIZES}
    seconds: dict[int, list[float]] = {size: [] for size in SIZES}
    for number in range(max(3, plan.rounds // 5)):
        progress(f"round {number + 1}: {SIZES[-1]:,} layers take most of a minute")
        for size in SIZES:
            often = range(min(3, SIZES[-1] // size))
            found = [_measured("export", paths[size])["seconds"] for _ in often]
            seconds[size].append(min(found))
    for small, large in pairwise(SIZES):
        note = f"least {min(seconds[small]):.2f} s and {min(seconds[large]):.2f} s"
        what = f"text to ONNX, {large:,} / {small:,} distinct layers"
        yield ratio_at_most(
            "scaling", what, ratio(seconds[large], seconds[small]), DECADE_BAR, note
        )
    progress(f"{SIZES[-1]:,} layers checked")
    checked = _measured("check", paths[SIZES[-1]])
    what = f"checking {SIZES[-1]:,} distinct layers"
    yield at_most("scaling", what, checked["seconds"], SECONDS_BAR, "s")
    yield at_most("scaling", "memory for it", checked["megabytes"], MEGABYTES_BAR, "MB")


def _written(folder: Path, layers: int) -> Path:
    """A text in which every layer stands apart, and no two neighbours are alike."""
    widths = [8 + (7 * index) % 25 for index in range(layers)]
    lines = "\n".join(f"  x = x -> Linear({width})" for width in widths)
    path = folder / f"layers_{layers}.arch"
    path.write_text(
        f"edition 2026\nmodel long(x: [N, 8]) -> [N, {widths[-1]}] {{\n{lines}\n  return x\n}}\n"
    )
    return path


def _measured(what: str, path: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.compile_process", what, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)
