"""The command line: arguments and exit codes; everything else is called."""

import os

# Pydantic would look through all installed packages for plugins, which takes longer than a check.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

from archdsl.cli.commands import main
from archdsl.garbage import leave_at_exit

leave_at_exit()

__all__ = ["main"]
