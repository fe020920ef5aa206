"""One compilation in a process of its own: `check` or `export`, and a file; prints JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from archdsl import api
from archdsl.backends import onnx_export  # noqa: F401  (importing is measured elsewhere)
from archdsl.limits import Limits

BOUNDLESS = Limits(file_bytes=2**30, expansion_steps=2**40, expanded_nodes=2**40)


def peak_megabytes() -> float:
    """The most memory that this process has held."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel does not say how much memory was used")


def main(what: str, path: Path) -> None:
    """Compile once, and say what it took."""
    began = time.perf_counter()
    if what == "check":
        result = api.check(path, limits=BOUNDLESS)
        assert result.ok, str(result)
    else:
        api.load(path, limits=BOUNDLESS).save_onnx(path.with_suffix(".onnx"))
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "megabytes": peak_megabytes()}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
