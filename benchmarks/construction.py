"""How long it takes to make a module, with its first weights and without."""

from __future__ import annotations

from collections.abc import Iterator

import torch

import archdsl
from benchmarks.claims import Claim, ratio_at_most
from benchmarks.measure import THREADS, interleaved, mean_ratio, per_round, progress, ratio
from benchmarks.plan import Plan
from benchmarks.subjects import torchvision_model

BAR, META_BAR = 0.7, 1.0


def claims(plan: Plan) -> Iterator[Claim]:
    """The classes of both, called; means over all classifiers have the bars."""
    torch.set_num_threads(THREADS)
    for device, bar in (("cpu", BAR), ("meta", META_BAR)):
        rounds: list[list[float]] = []
        notes: list[str] = []
        for name in plan.classifiers:
            progress(f"{name} on {device}")
            seconds = _seconds(name, device, plan)
            rounds.append(per_round(seconds["ours"], seconds["torchvision"]))
            middle = ratio(seconds["ours"], seconds["torchvision"]).middle
            notes.append(f"{name} {middle:.2f}")
        what = f"making a module on {device}: emitted / torchvision, geometric mean"
        yield ratio_at_most("construction", what, mean_ratio(rounds), bar, ", ".join(notes))


def _seconds(name: str, device: str, plan: Plan) -> dict[str, list[float]]:
    emitted = type(archdsl.load(name).to_torch(device="meta"))

    def ours() -> None:
        with torch.device(device):
            emitted()

    def theirs() -> None:
        with torch.device(device):
            torchvision_model(name)

    return interleaved({"ours": ours, "torchvision": theirs}, plan.slow_rounds)
