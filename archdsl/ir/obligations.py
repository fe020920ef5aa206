"""Obligations: the conditions on sizes that operators require, proved or left to the caller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from archdsl.ir.types import ShapeError
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Compare, Condition, Facts, Verdict


@dataclass(frozen=True, slots=True)
class FreshSize:
    """A size that depends on data, such as how many boxes are kept: from 0 up to a bound."""

    name: str
    most: Dim


@dataclass(slots=True)
class Obligations:
    """Proves demands from the facts in force; lower bounds it can't prove are deferred.

    A deferred condition becomes a precondition of the block: its caller must prove it, and at
    the model it must follow from a `require`.
    """

    facts: Facts
    deferred: list[tuple[Condition, str]] = field(default_factory=list[tuple[Condition, str]])
    named: Callable[[str], str] = str
    """The name of a fresh size, from what it counts."""
    born: list[FreshSize] = field(default_factory=list[FreshSize])

    def fresh(self, counted: str, most: Dim) -> Dim:
        """A size that depends on data; it must be that of an axis of an output."""
        size = FreshSize(self.named(counted), most)
        self.born.append(size)
        return Dim.symbol(size.name)

    def equal(self, left: Dim, right: Dim) -> bool:
        """Whether two sizes are the same for every admissible size."""
        return left == right or self.facts.prove(Compare(left, "==", right)).proved

    def at_least(self, dim: Dim, bound: int) -> bool:
        """Whether a size is provably at least `bound`."""
        return self.facts.prove(Compare(dim, ">=", Dim.of(bound))).proved

    def demand_equal(
        self, left: Dim, right: Dim, message: str, *, inputs: tuple[int, ...] = ()
    ) -> None:
        """Raise ShapeError with the counter-example unless two sizes are provably the same."""
        if left == right:
            return
        self.demand(Compare(left, "==", right), message, inputs=inputs)

    def demand(self, condition: Condition, message: str, *, inputs: tuple[int, ...] = ()) -> None:
        """Raise ShapeError with the counter-example unless the condition is provable."""
        verdict = self.facts.prove(condition)
        if not verdict.proved:
            raise refusal(condition, verdict, message, inputs)

    def demand_at_least(self, dim: Dim, bound: int, message: str) -> None:
        """Prove a lower bound, refuse it when it can never hold, or leave it to the caller."""
        value = dim.value
        if value is not None and value < bound:
            raise ShapeError(message)
        condition = Compare.at_least(dim, bound)
        if value is None and not self.facts.prove(condition).proved:
            self.deferred.append((condition, message))

    def demand_multiple(self, dim: Dim, divisor: Dim | int, message: str) -> None:
        """Raise ShapeError unless a size is provably a multiple of another."""
        self.demand(Compare(dim % divisor, "==", Dim.of(0)), message)


class Settled(Obligations):
    """Takes every demand as met: for lowering what has been inferred before."""

    def equal(self, left: Dim, right: Dim) -> bool:
        return left == right

    def at_least(self, dim: Dim, bound: int) -> bool:
        return dim.value is not None and dim.value >= bound

    def demand(self, condition: Condition, message: str, *, inputs: tuple[int, ...] = ()) -> None:
        return

    def demand_at_least(self, dim: Dim, bound: int, message: str) -> None:
        return

    def fresh(self, counted: str, most: Dim) -> Dim:
        return Dim.symbol(counted)


SETTLED = Settled(Facts())


def refusal(
    condition: Condition, verdict: Verdict, message: str, inputs: tuple[int, ...] = ()
) -> ShapeError:
    """The error for a demand that was refuted or could not be decided."""
    if verdict.counterexample is not None:
        return ShapeError(
            message,
            inputs=inputs,
            counterexample=verdict.counterexample,
            note=_at_counterexample(condition, verdict.counterexample),
            condition=condition,
        )
    return ShapeError(
        f"{message} (this could not be decided)",
        inputs=inputs,
        help="state what you know of the sizes with `require`",
        code="undecided",
    )


def _at_counterexample(condition: Condition, sizes: dict[str, int]) -> str | None:
    """What the two sizes of a comparison are at a counter-example that has any symbol."""
    if not sizes or not isinstance(condition, Compare):
        return None
    left, right = condition.left.evaluate(sizes), condition.right.evaluate(sizes)
    places = ", ".join(f"{name} = {size}" for name, size in sizes.items())
    return f"at {places} the sizes are {left} and {right}"
