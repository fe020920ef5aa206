"""How things are measured on a machine that others use too."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean, median

THREADS = 2
RESAMPLES = 2000
SCRATCH = Path("build") / "benchmarks"


@dataclass(frozen=True, slots=True)
class Middle:
    """The median of what the rounds gave, with its 95 % bootstrap interval."""

    middle: float
    low: float
    high: float

    def shown(self, unit: str) -> str:
        """The number with its unit, and the interval if there is one."""
        if self.low == self.high:
            return f"{self.middle:.3g}{unit}"
        return f"{self.middle:.3g}{unit} [{self.low:.3g}, {self.high:.3g}]"


def ratio(above: Sequence[float], below: Sequence[float]) -> Middle:
    """How the rounds of one compare with the rounds of the other."""
    return middle([a / b for a, b in zip(above, below, strict=True)])


def ratio_of_least(above: Sequence[float], below: Sequence[float]) -> Middle:
    """For fresh processes: the quickest run of each, which is the least disturbed."""
    least = min(above) / min(below)
    return Middle(least, least, least)


def mean_ratio(ratios: Sequence[Sequence[float]]) -> Middle:
    """The geometric mean over subjects of their per-round ratios, which are paired by round."""
    return middle([geometric_mean(rounds) for rounds in zip(*ratios, strict=True)])


def per_round(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """The ratio of each round."""
    return [a / b for a, b in zip(above, below, strict=True)]


def middle(values: Sequence[float]) -> Middle:
    """The median of the rounds."""
    generator = random.Random(0)
    resampled = sorted(median(generator.choices(values, k=len(values))) for _ in range(RESAMPLES))
    low, high = resampled[RESAMPLES // 40], resampled[-RESAMPLES // 40]
    return Middle(median(values), low, high)


def interleaved(
    actions: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    repeats: int = 1,
    before: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds of each action in each round, after one warm-up, the order rotating.

    With `repeats`, an action runs so often in a round, and the quickest counts. What is to be
    done before each is not timed.
    """
    for action in actions.values():
        action()
    names = list(actions)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            times: list[float] = []
            for _ in range(repeats):
                before()
                times.append(timed(actions[name]))
            seconds[name].append(min(times))
        names = [*names[1:], names[0]]
    return seconds


def timed(action: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def command(arguments: Sequence[str]) -> Callable[[], object]:
    """A command in a fresh process, compiled bytecode at hand as it is after an installation."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ, PYTHONPYCACHEPREFIX=str((SCRATCH / "bytecode").resolve()))
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def run() -> None:
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")

    return run


def python(module: str, *arguments: str) -> list[str]:
    """The command line of a module."""
    return [sys.executable, "-m", module, *arguments]


def archdsl_command(*arguments: str) -> list[str]:
    """The command line as a user types it."""
    return [str(Path(sys.executable).with_name("archdsl")), *arguments]


def progress(what: str) -> None:
    """Say on standard error what is being measured."""
    print(f"  {what}", file=sys.stderr, flush=True)
