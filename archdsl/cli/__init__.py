"""The command line: arguments and exit codes; everything else is called."""

from archdsl.cli.commands import main

__all__ = ["main"]
