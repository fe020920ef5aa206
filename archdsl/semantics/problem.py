"""An exception that carries one diagnostic out of an expression."""

from __future__ import annotations

from archdsl.diagnostics import Diagnostic


class Problem(Exception):
    """Ends the evaluation of a statement; the statement reports it and goes on."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic
