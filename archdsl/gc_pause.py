"""Pauses Python's garbage collector while compiling, where nearly every object stays alive."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Generator[None]:
    """Put off the cyclic garbage collector, for work that keeps nearly all that it makes."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def collect_seldom() -> None:
    """For a short process: search seldom, and not at its end, which takes as long as parsing."""
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
