"""A claim: what was measured, the bar it has to take, and whether it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.measure import Middle

Unit = Literal["s", "MB", "nodes", "x"]


@dataclass(frozen=True, slots=True)
class Claim:
    """One row of the table."""

    section: str
    what: str
    measured: str
    bar: str
    ok: bool
    note: str = ""


def at_most(section: str, what: str, value: float, bar: float, unit: Unit, note: str = "") -> Claim:
    """A measured number that must not be above the bar."""
    return Claim(section, what, show(value, unit), f"≤ {show(bar, unit)}", value <= bar, note)


def seconds_at_most(section: str, what: str, found: Middle, bar: float, note: str = "") -> Claim:
    """A noisy time; it misses the bar only when its whole interval is past it."""
    return Claim(section, what, found.shown(" s"), f"≤ {bar:.2f} s", found.low <= bar, note)


def ratio_at_most(section: str, what: str, found: Middle, bar: float, note: str = "") -> Claim:
    """A noisy ratio; it misses the bar only when its whole interval is past it."""
    return Claim(section, what, found.shown("×"), f"≤ {bar:g}×", found.low <= bar, note)


def times_faster(section: str, what: str, found: Middle, bar: float, note: str = "") -> Claim:
    """How often ours fits into theirs; it misses the bar only when its whole interval does."""
    return Claim(section, what, found.shown("×"), f"≥ {bar:g}×", found.high >= bar, note)


def show(value: float, unit: Unit) -> str:
    """A number with its unit, with as many digits as it deserves."""
    match unit:
        case "nodes":
            return f"{value:g} nodes"
        case "MB":
            return f"{value:,.0f} MB"
        case "s":
            return f"{value:.3f} s" if value < 1 else f"{value:.1f} s"
        case "x":
            return f"{value:.3g}×"
