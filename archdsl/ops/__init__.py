"""The operators, a family a file; importing this package registers their names."""

import re
from pathlib import Path

from archdsl.ir.op import REGISTRY

_DECLARATION = re.compile(r'^class \w+\([^)]*\b(?:layer|function)="[^)]*\)', re.MULTILINE)
_NAME = re.compile(r'\b(?:layer|function)="(\w+)"')


def _announce() -> None:
    """Read the names off the class definitions, which is much quicker than executing them."""
    here = Path(__file__).parent
    for path in sorted(here.rglob("[!_]*.py")):
        module = ".".join((__name__, *path.relative_to(here).with_suffix("").parts))
        for declaration in _DECLARATION.findall(path.read_text("utf-8")):
            for name in _NAME.findall(declaration):
                REGISTRY.announce(name, module)


_announce()
