"""Conditions on sizes: comparisons joined by `and`, `or` and `not`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING, Any, Final, Literal

from archdsl.sizes.dims import Dim, DimTooComplex

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

Relation = Literal["==", "!=", "<", "<=", ">", ">="]

RELATIONS: Final[Mapping[str, Callable[[int, int], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_OPPOSITE: Final[Mapping[Relation, Relation]] = {
    "==": "!=",
    "!=": "==",
    "<": ">=",
    ">=": "<",
    ">": "<=",
    "<=": ">",
}
DEEPEST_CONDITION: Final = 64


class Condition:
    """What may hold of sizes; immutable, and equal when it is built equally."""

    __slots__ = ()

    @property
    def parts(self) -> tuple[Condition, ...]:
        """The conditions that this one is made of."""
        return ()

    @property
    def comparisons(self) -> tuple[Compare, ...]:
        """The comparisons in it, in order."""
        if isinstance(self, Compare):
            return (self,)
        return tuple(each for part in self.parts for each in part.comparisons)

    @property
    def symbols(self) -> frozenset[str]:
        """The names of all symbols in the condition."""
        return frozenset[str]().union(*(part.symbols for part in self.parts))

    @property
    def is_opaque(self) -> bool:
        """Whether a part of the condition cannot be computed."""
        return any(part.is_opaque for part in self.parts)

    @property
    def is_upper_bound(self) -> bool:
        """Whether it says that something is not too large."""
        return False

    @property
    def depth(self) -> int:
        """How deep the condition is nested."""
        return 1 + max((part.depth for part in self.parts), default=0)

    @property
    def truth(self) -> bool | None:
        """Whether it holds by the normal form of its sizes alone; None when that does not tell."""
        raise NotImplementedError

    def negated(self) -> Condition:
        """The condition that holds exactly where this one does not, without a `not`."""
        raise NotImplementedError

    def evaluate(self, sizes: Mapping[str, int]) -> bool:
        """Whether it holds at these sizes."""
        raise NotImplementedError

    def substitute(self, values: Mapping[str, Dim | int]) -> Condition:
        """Put sizes in the place of symbols, all at once."""
        raise NotImplementedError

    @staticmethod
    def parse(text: str) -> Condition:
        """Read the text of a condition, exactly as `str` writes it."""
        from archdsl.sizes.condition_codec import parse_condition

        return parse_condition(text)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from archdsl.sizes.condition_codec import condition_schema

        return condition_schema(cls)


@dataclass(frozen=True, slots=True)
class Compare(Condition):
    """Two sizes compared; the sides stay as they were given."""

    left: Dim
    relation: Relation
    right: Dim

    @property
    def symbols(self) -> frozenset[str]:
        return self.left.symbols | self.right.symbols

    @property
    def is_opaque(self) -> bool:
        return self.left.is_opaque or self.right.is_opaque

    @property
    def difference(self) -> Dim:
        """Left less right: what is compared with zero."""
        return (self.left - self.right).without_origin()

    @staticmethod
    def at_least(dim: Dim, bound: int) -> Compare:
        """`dim >= bound`, or what is taken from a number in `dim` bounded from above."""
        constant = dim.polynomial.get((), 0)
        taken = (Dim.of(constant) - dim).without_origin()
        if taken.symbols and all(factor > 0 for factor in taken.polynomial.values()):
            return Compare(taken, "<=", Dim.of(constant - bound))
        return Compare(dim, ">=", Dim.of(bound))

    @property
    def is_upper_bound(self) -> bool:
        return self.relation in ("<", "<=")

    @property
    def truth(self) -> bool | None:
        difference = self.difference
        if difference.value is not None:
            return RELATIONS[self.relation](difference.value, 0)
        if self.relation in ("==", "!=") and _is_never_zero(difference):
            return self.relation == "!="
        return None

    def negated(self) -> Compare:
        return Compare(self.left, _OPPOSITE[self.relation], self.right)

    def evaluate(self, sizes: Mapping[str, int]) -> bool:
        return RELATIONS[self.relation](self.left.evaluate(sizes), self.right.evaluate(sizes))

    def substitute(self, values: Mapping[str, Dim | int]) -> Compare:
        return Compare(self.left.substitute(values), self.relation, self.right.substitute(values))

    def __str__(self) -> str:
        return f"{self.left.notation} {self.relation} {self.right.notation}"


@dataclass(frozen=True, slots=True)
class _Several(Condition):
    conditions: tuple[Condition, ...]

    def __init__(self, conditions: Iterable[Condition]) -> None:
        flat: list[Condition] = []
        for condition in conditions:
            flat.extend(condition.parts if type(condition) is type(self) else (condition,))
        if len(flat) < 2:
            raise ValueError(f"{type(self).__name__} joins at least two conditions; use `all_of`")
        object.__setattr__(self, "conditions", tuple(flat))
        _refuse_deep(self)

    @property
    def parts(self) -> tuple[Condition, ...]:
        return self.conditions


@dataclass(frozen=True, slots=True, init=False)
class All(_Several):
    """All of several conditions."""

    @property
    def truth(self) -> bool | None:
        truths = [condition.truth for condition in self.conditions]
        if False in truths:
            return False
        return None if None in truths else True

    def negated(self) -> Condition:
        return Either(condition.negated() for condition in self.conditions)

    def evaluate(self, sizes: Mapping[str, int]) -> bool:
        return all(condition.evaluate(sizes) for condition in self.conditions)

    def substitute(self, values: Mapping[str, Dim | int]) -> All:
        return All(condition.substitute(values) for condition in self.conditions)

    def __str__(self) -> str:
        return " and ".join(
            f"({part})" if isinstance(part, Either) else str(part) for part in self.conditions
        )


@dataclass(frozen=True, slots=True, init=False)
class Either(_Several):
    """At least one of several conditions."""

    @property
    def truth(self) -> bool | None:
        truths = [condition.truth for condition in self.conditions]
        if True in truths:
            return True
        return None if None in truths else False

    def negated(self) -> Condition:
        return All(condition.negated() for condition in self.conditions)

    def evaluate(self, sizes: Mapping[str, int]) -> bool:
        return any(condition.evaluate(sizes) for condition in self.conditions)

    def substitute(self, values: Mapping[str, Dim | int]) -> Either:
        return Either(condition.substitute(values) for condition in self.conditions)

    def __str__(self) -> str:
        return " or ".join(map(str, self.conditions))


@dataclass(frozen=True, slots=True)
class Negation(Condition):
    """What holds where a condition does not."""

    condition: Condition

    def __post_init__(self) -> None:
        _refuse_deep(self)

    @property
    def parts(self) -> tuple[Condition, ...]:
        return (self.condition,)

    @property
    def truth(self) -> bool | None:
        truth = self.condition.truth
        return None if truth is None else not truth

    def negated(self) -> Condition:
        inner = self.condition
        return inner.condition.negated() if isinstance(inner, Negation) else inner

    def evaluate(self, sizes: Mapping[str, int]) -> bool:
        return not self.condition.evaluate(sizes)

    def substitute(self, values: Mapping[str, Dim | int]) -> Negation:
        return Negation(self.condition.substitute(values))

    def __str__(self) -> str:
        inner = str(self.condition)
        return f"not ({inner})" if isinstance(self.condition, _Several) else f"not {inner}"


def all_of(conditions: Iterable[Condition]) -> Condition:
    """The conjunction of any number of conditions."""
    several = tuple(conditions)
    if len(several) == 1:
        return several[0]
    return All(several) if several else Compare(Dim.of(0), "==", Dim.of(0))


def either_of(conditions: Iterable[Condition]) -> Condition:
    """The disjunction of any number of conditions."""
    several = tuple(conditions)
    if len(several) == 1:
        return several[0]
    return Either(several) if several else Compare(Dim.of(0), "!=", Dim.of(0))


def _refuse_deep(condition: Condition) -> None:
    if condition.depth > DEEPEST_CONDITION:
        raise DimTooComplex(f"a condition is nested more than {DEEPEST_CONDITION} deep")


def _is_never_zero(difference: Dim) -> bool:
    """Whether a factor common to all terms but the constant rules zero out."""
    shared = gcd(*(c for monomial, c in difference.polynomial.items() if monomial))
    return difference.coefficient() % shared != 0
