"""archdsl: a declarative language for neural-network architectures, and its compiler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archdsl.version import VERSION as __version__

if TYPE_CHECKING:
    from archdsl.api import Network, Stepping, load
    from archdsl.checking import CheckResult, check
    from archdsl.diagnostics import ArchError

__all__ = ["ArchError", "CheckResult", "Network", "Stepping", "__version__", "check", "load"]

_HOMES = {
    "ArchError": "archdsl.diagnostics",
    "CheckResult": "archdsl.checking",
    "Network": "archdsl.api",
    "Stepping": "archdsl.api",
    "check": "archdsl.checking",
    "load": "archdsl.api",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used: `archdsl --version` needs none."""
    if name not in _HOMES:
        raise AttributeError(f"module 'archdsl' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
