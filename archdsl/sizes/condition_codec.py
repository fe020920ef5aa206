"""Conditions as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from pydantic_core import CoreSchema, core_schema

from archdsl.sizes.conditions import RELATIONS, All, Compare, Condition, Either, Negation, Relation
from archdsl.sizes.dim_codec import combine_sizes, size_leaf
from archdsl.sizes.dims import Dim
from archdsl.sizes.grammar import ARITHMETIC, NEGATIVE, DimSyntaxError, Grammar, read_formula

_COMPARISON_STRENGTH = 4
_BINARY: Final[Mapping[str, int]] = {
    "or": 1,
    "and": 2,
    **dict.fromkeys(RELATIONS, _COMPARISON_STRENGTH),
    **ARITHMETIC,
}
_PREFIX: Final[Mapping[str, int]] = {"not": 3, **NEGATIVE}


def parse_condition(text: str) -> Condition:
    """Read the text of a condition; DimSyntaxError (a ValueError) when it is none."""
    condition = read_formula(text, _GRAMMAR)
    if isinstance(condition, Condition):
        return condition
    raise DimSyntaxError(f"{text!r} is a size, not a condition")


def _combine(operation: str, operands: list[Dim | Condition]) -> Dim | Condition:
    if operation in ("and", "or", "not"):
        return _join(operation, operands)
    sizes = [operand for operand in operands if isinstance(operand, Dim)]
    if len(sizes) < len(operands):
        raise DimSyntaxError(f"{operation!r} takes sizes, not conditions")
    if operation in RELATIONS:
        return Compare(sizes[0], cast("Relation", operation), sizes[1])
    return combine_sizes(operation, sizes)


def _join(operation: str, operands: list[Dim | Condition]) -> Condition:
    conditions = [operand for operand in operands if isinstance(operand, Condition)]
    if len(conditions) < len(operands):
        raise DimSyntaxError(f"{operation!r} takes conditions, not sizes")
    if operation == "not":
        return Negation(conditions[0])
    return All(conditions) if operation == "and" else Either(conditions)


_GRAMMAR: Final[Grammar[Dim | Condition]] = Grammar(_BINARY, _PREFIX, size_leaf, _combine)


def condition_schema(kind: type[Condition]) -> CoreSchema:
    """How Pydantic reads and writes a condition of one kind."""

    def validate(data: object) -> Condition:
        condition = _from_data(data)
        if isinstance(condition, kind):
            return condition
        raise ValueError(f"`{condition}` is no {kind.__name__}")

    text = core_schema.str_schema()
    return core_schema.json_or_python_schema(
        json_schema=core_schema.no_info_after_validator_function(validate, text),
        python_schema=core_schema.no_info_plain_validator_function(validate),
        serialization=core_schema.plain_serializer_function_ser_schema(str, return_schema=text),
    )


def _from_data(data: object) -> Condition:
    if isinstance(data, Condition):
        return data
    if not isinstance(data, str):
        raise ValueError(f"a condition is a text, not {data!r}")
    try:
        return parse_condition(data)
    except ArithmeticError as problem:
        raise ValueError(str(problem)) from problem
