"""`python -m benchmarks [SECTION...]`: measures, and prints a table or JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from benchmarks.claims import Claim
from benchmarks.measure import progress
from benchmarks.plan import CLASSIFIERS, Plan

SECTIONS = {
    "start": "benchmarks.start",
    "export": "benchmarks.exporting",
    "graphs": "benchmarks.graphs",
    "latency": "benchmarks.latency",
    "construction": "benchmarks.construction",
    "scaling": "benchmarks.scaling",
    "sequences": "benchmarks.sequences",
    "detection": "benchmarks.detection",
}
RESULTS = Path(__file__).with_name("RESULTS.md")
REMARKS = "## Remarks"
PACKAGES = (
    "archdsl", "torch", "torchvision", "onnxscript", "onnx", "onnxruntime", "onnxslim", "onnxsim",
    "transformers",
    "pydantic", "lark",
)  # fmt: skip


@click.command()
@click.argument("sections", nargs=-1, type=click.Choice(list(SECTIONS)))
@click.option("--rounds", default=15, show_default=True, help="How often each is measured.")
@click.option("--classifier", "classifiers", multiple=True, help="Only this one; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--write", is_flag=True, help=f"Write the table to {RESULTS.name} too.")
@click.option("--inside", is_flag=True, hidden=True, help="Measure in this very process.")
def main(
    sections: tuple[str, ...],
    rounds: int,
    classifiers: tuple[str, ...],
    as_json: bool,
    write: bool,
    inside: bool,
) -> None:
    """Measure the claims of SECTIONS, or all; exits with 1 when a bar is missed."""
    chosen = sections or tuple(SECTIONS)
    plan = Plan(rounds, classifiers or CLASSIFIERS)
    if inside:
        print(json.dumps([asdict(claim) for name in chosen for claim in _told(name, plan)]))
        return
    circumstances = _circumstances(plan)
    claims = [claim for name in chosen for claim in _in_own_process(name, plan)]
    document = {**circumstances, "claims": [asdict(claim) for claim in claims]}
    print(json.dumps(document, indent=2)) if as_json else _print_table(claims)
    if write:
        _write_results(circumstances, claims)
    sys.exit(0 if all(claim.ok for claim in claims) else 1)


def _told(section: str, plan: Plan) -> Iterator[Claim]:
    """The claims of a section, each told on standard error as soon as it is known."""
    for claim in import_module(SECTIONS[section]).claims(plan):
        progress(f"{'ok' if claim.ok else 'MISSED'}  {claim.what}: {claim.measured}")
        yield claim


def _in_own_process(section: str, plan: Plan) -> list[Claim]:
    """The claims of a section, measured where no other has left threads or memory behind."""
    print(section, file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks", section, "--inside", f"--rounds={plan.rounds}"]
    command += [f"--classifier={name}" for name in plan.classifiers]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return [Claim(**claim) for claim in json.loads(done.stdout.splitlines()[-1])]


def _circumstances(plan: Plan) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
        "load": f"{os.getloadavg()[0]:.1f} when it began",
        "python": platform.python_version(),
        "versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "rounds": plan.rounds,
    }


def _processor() -> str:
    """The processor's name, where the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _print_table(claims: list[Claim]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "Claim", "Measured", "Bar", "Note")
    for claim in claims:
        mark = Text("✓", "green") if claim.ok else Text("✗", "bold red")
        table.add_row(mark, *map(Text, (claim.what, claim.measured, claim.bar, claim.note)))
    console = Console()
    console.print(table)
    missed = sum(not claim.ok for claim in claims)
    console.print(f"{len(claims) - missed} of {len(claims)} bars taken")


def _write_results(circumstances: dict[str, Any], claims: list[Claim]) -> None:
    """The table in Markdown; the remarks that a person has written below it stay."""
    before = RESULTS.read_text("utf-8") if RESULTS.exists() else ""
    remarks = before[before.find(REMARKS) :] if REMARKS in before else f"{REMARKS}\n"
    lines = ["# Measured", ""]
    lines += [f"- {name}: {value}" for name, value in circumstances.items()]
    lines += ["", "| | Claim | Measured | Bar | Note |", "|---|---|---|---|---|"]
    for claim in claims:
        mark = "✓" if claim.ok else "✗"
        cells = (mark, claim.what, claim.measured, claim.bar, claim.note)
        lines.append(f"| {' | '.join(cells)} |")
    RESULTS.write_text("\n".join([*lines, "", remarks]), "utf-8")


if __name__ == "__main__":
    main()
