"""ONNX Runtime on our export beside torch's, and emitted modules beside torchvision's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

import archdsl
from benchmarks.claims import Claim, ratio_at_most
from benchmarks.measure import SCRATCH, THREADS, interleaved, progress, ratio
from benchmarks.plan import Plan
from benchmarks.subjects import IMAGE, both_exports, image, run, session, subject

ORT_BAR, EAGER_BAR = 1.03, 1.02
TOLERANCE = 1e-3


def claims(plan: Plan) -> Iterator[Claim]:
    """One picture, by every classifier."""
    for name in plan.classifiers:
        progress(f"{name} in ONNX Runtime")
        yield _in_onnxruntime(name, plan)
    torch.set_num_threads(THREADS)
    for name in plan.classifiers:
        progress(f"{name} in PyTorch")
        yield _in_torch(name, plan)


def _in_onnxruntime(name: str, plan: Plan) -> Claim:
    theirs, ours = (session(path) for path in both_exports(name, SCRATCH / "latency"))
    for path in (SCRATCH / "latency").iterdir():
        path.unlink()
    picture = image()
    expected, found = run(theirs, picture), run(ours, picture)
    if not np.allclose(expected, found, rtol=TOLERANCE, atol=TOLERANCE * np.abs(expected).max()):
        raise AssertionError(f"{name}: the two exports do not compute the same")
    seconds = interleaved(
        {"ours": lambda: run(ours, picture), "torch": lambda: run(theirs, picture)},
        plan.rounds,
        repeats=5,
    )
    what = f"{name} in ONNX Runtime: ours / torch's export"
    note = f"least {1000 * min(seconds['ours']):.1f} ms"
    found_ratio = ratio(seconds["ours"], seconds["torch"])
    return ratio_at_most("latency", what, found_ratio, ORT_BAR, note)


def _in_torch(name: str, plan: Plan) -> Claim:
    theirs = subject(name)
    ours = archdsl.load(name).to_torch(weights=theirs).eval().requires_grad_(False)
    picture = torch.from_numpy(image())
    assert picture.shape == IMAGE
    if not torch.equal(theirs(picture), ours(picture)):
        raise AssertionError(f"{name}: the two modules do not compute the same")
    seconds = interleaved(
        {"ours": lambda: ours(picture), "torchvision": lambda: theirs(picture)},
        plan.rounds,
        repeats=5,
    )
    what = f"{name} in PyTorch: emitted / torchvision"
    note = f"least {1000 * min(seconds['ours']):.1f} ms"
    found_ratio = ratio(seconds["ours"], seconds["torchvision"])
    return ratio_at_most("latency", what, found_ratio, EAGER_BAR, note)
