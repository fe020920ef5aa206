"""Finds the least multiple of a symbol that makes two sizes provably equal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import lcm
from typing import Final

from archdsl.sizes.atoms import FloorDiv, Polynomial, compound_atoms, constant_value
from archdsl.sizes.conditions import Compare, Condition
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Facts

LARGEST_MULTIPLE: Final = 1024


def sufficient(
    goal: Condition, facts: Facts, at: Mapping[str, int] | None = None
) -> Compare | None:
    """`H % 4 == 0`, or another remainder, from which an equality follows; None if none is found.

    Sizes that are given in `at` satisfy it.
    """
    if not isinstance(goal, Compare) or goal.relation != "==" or len(goal.symbols) != 1:
        return None
    (name,) = goal.symbols
    modulus = _modulus(goal.difference.polynomial)
    if modulus > LARGEST_MULTIPLE:
        return None
    given = (at or {}).get(name)
    for divisor, rest in _remainders(modulus):
        if given is not None and given % divisor != rest:
            continue
        samples = [{name: rest + divisor * turn} for turn in (1, 2, 3, 5, 8, 100)]
        if not all(goal.evaluate(sizes) for sizes in samples):
            continue
        if not any(facts.admits(sizes) for sizes in samples):
            # What contradicts the facts would prove everything.
            continue
        condition = Compare(Dim.symbol(name) % divisor, "==", Dim.of(rest))
        if facts.assume(condition).prove(goal).proved:
            return condition
    return None


def _remainders(modulus: int) -> Iterator[tuple[int, int]]:
    for divisor in range(2, modulus + 1):
        if modulus % divisor == 0:
            yield from ((divisor, rest) for rest in range(divisor))


def _modulus(polynomial: Polynomial) -> int:
    """After so many sizes all floors of a polynomial come to lie alike."""
    found, waiting = 1, [(polynomial, 1)]
    while waiting and found <= LARGEST_MULTIPLE:
        current, outer = waiting.pop()
        for atom in compound_atoms(current):
            divisor = constant_value(atom.divisor) if isinstance(atom, FloorDiv) else None
            if isinstance(atom, FloorDiv) and divisor is not None and divisor > 0:
                found = lcm(found, outer * divisor)
                waiting.append((atom.dividend, outer * divisor))
    return found
