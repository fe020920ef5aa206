"""One compilation in a process of its own: what to do, and with which spec; prints JSON."""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from pathlib import Path

from archdsl import api
from archdsl.limits import Limits

BOUNDLESS = Limits(file_bytes=2**30, expansion_steps=2**40, expanded_nodes=2**40)


def peak_megabytes() -> float:
    """The most memory that this process has held."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel does not say how much memory was used")


def main(what: str, spec: str) -> None:
    """Compile once, and say what it took."""
    if what == "export":
        import_module("archdsl.backends.onnx.export")  # loading onnx is measured elsewhere
    began = time.perf_counter()
    match what:
        case "check":
            result = api.check(spec, limits=BOUNDLESS)
            assert result.ok, str(result)
        case "summary":
            print(api.load(spec).summary(), file=sys.stderr)
        case "export":
            path = Path(spec).with_suffix(".onnx")
            api.load(spec, limits=BOUNDLESS).save_onnx(path)
        case _:
            raise ValueError(what)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "megabytes": peak_megabytes()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
