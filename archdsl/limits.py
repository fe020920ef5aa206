"""The published limits on what a spec may ask for; only the command line raises them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that keep every compilation small and total."""

    file_bytes: int = 512 * 1024
    nesting: int = 64
    imported_files: int = 256
    import_depth: int = 32
    expansion_steps: int = 1_000_000
    expanded_nodes: int = 100_000
    repeat_count: int = 10_000
    diagnostics: int = 50


class LimitExceeded(Exception):
    """A limit was hit; `limit` is the name of the field of `Limits`."""

    def __init__(self, limit: str, bound: int) -> None:
        super().__init__(limit)
        self.limit = limit
        self.bound = bound
