"""Cold start: fresh processes of the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from statistics import median

from benchmarks.claims import Claim, seconds_at_most
from benchmarks.measure import archdsl_command, command, interleaved, middle
from benchmarks.plan import Plan

VERSION_BAR, CHECK_BAR = 0.12, 0.40

PACKAGES = """
import json, sys
from archdsl.cli import main
try: main()
except SystemExit: pass
print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))
"""


def claims(plan: Plan) -> Iterator[Claim]:
    """`--version` and `check resnet50`, beside the floor that the interpreter and imports set."""
    floor = [sys.executable, "-c", "import click, lark, pydantic.main"]
    seconds = interleaved(
        {
            "version": command(archdsl_command("--version")),
            "check": command(archdsl_command("check", "resnet50")),
            "floor": command(floor),
        },
        plan.rounds,
    )
    least = {name: f"least {min(found):.3f} s" for name, found in seconds.items()}
    found = middle(seconds["version"])
    yield seconds_at_most("start", "archdsl --version", found, VERSION_BAR, least["version"])
    imports = f"{median(seconds['floor']):.3f} s of it to import click, lark and pydantic"
    note = f"{least['check']}; {imports} ({least['floor']})"
    found = middle(seconds["check"])
    yield seconds_at_most("start", "archdsl check resnet50", found, CHECK_BAR, note)
    heavy = sorted(_loaded("check", "resnet50") & {"torch", "onnx", "onnxruntime", "z3", "rich"})
    measured = ", ".join(heavy) or "none"
    yield Claim("start", "torch, onnx, z3, rich imported by check", measured, "none", not heavy)


def _loaded(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PACKAGES, *arguments], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))
