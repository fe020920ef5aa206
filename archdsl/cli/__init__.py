"""The command line: arguments, options and exit codes."""

import os

from archdsl.gc_pause import collect_seldom

collect_seldom()

# Pydantic would look through all installed packages for plugins, which takes longer than a check.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

from archdsl.cli.commands import main  # noqa: E402

__all__ = ["main"]
