"""How clean the graphs are: nothing here depends on the clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import onnxsim
import onnxslim

from benchmarks.claims import Claim, at_most
from benchmarks.measure import SCRATCH, progress
from benchmarks.plan import Plan
from benchmarks.subjects import both_exports, graph_bytes, node_count, session

BYTES_BAR = 0.2


def claims(plan: Plan) -> Iterator[Claim]:
    """What cleaners find to remove, and how the graphs compare with torch's."""
    for name in plan.classifiers:
        progress(name)
        theirs, ours = both_exports(name, SCRATCH / "graphs")
        yield _cleaners(name, ours)
        yield from _beside_torch(name, theirs, ours)
        for path in (SCRATCH / "graphs").iterdir():
            path.unlink()


def _cleaners(name: str, path: Path) -> Claim:
    model = onnx.load(path)
    before = node_count(model.graph)
    removed = {
        "onnxslim": before - node_count(onnxslim.slim(onnx.load(path)).graph),
        "onnxsim": before - node_count(onnxsim.simplify(model)[0].graph),
        "ONNX Runtime basic": before - optimized_count(path, "BASIC"),
    }
    note = ", ".join(f"{cleaner} {count}" for cleaner, count in removed.items() if count)
    worst = max(removed.values())
    return at_most("graphs", f"{name}: removed by cleaners", worst, 0, "nodes", note)


def _beside_torch(name: str, theirs: Path, ours: Path) -> Iterator[Claim]:
    theirs_graph, ours_graph = (
        onnx.load(p, load_external_data=False).graph for p in (theirs, ours)
    )
    emitted, bar = node_count(ours_graph), node_count(theirs_graph)
    yield at_most("graphs", f"{name}: nodes, torch's as bar", emitted, bar, "nodes")
    optimized, optimized_bar = optimized_count(ours, "ALL"), optimized_count(theirs, "ALL")
    what = f"{name}: nodes after ONNX Runtime's full optimisation, torch's as bar"
    yield at_most("graphs", what, optimized, optimized_bar, "nodes")
    sizes = graph_bytes(ours), graph_bytes(theirs)
    note = f"{sizes[0]:,} and {sizes[1]:,} bytes"
    what = f"{name}: bytes without weights, ours / torch's"
    yield at_most("graphs", what, sizes[0] / sizes[1], BYTES_BAR, "x", note)


def optimized_count(path: Path, level: str) -> int:
    """The nodes that ONNX Runtime leaves at a level of optimisation."""
    optimized = path.with_suffix(".optimized.onnx")
    session(path, level, optimized)
    count = node_count(onnx.load(optimized, load_external_data=False).graph)
    for left in optimized.parent.glob(f"{optimized.name}*"):
        left.unlink()
    return count
