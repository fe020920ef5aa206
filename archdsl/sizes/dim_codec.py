"""Sizes as text and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, cast

from pydantic_core import CoreSchema, core_schema

from archdsl.sizes.dims import Dim, ceildiv, maximum, minimum
from archdsl.sizes.grammar import ARITHMETIC, NEGATIVE, DimSyntaxError, Grammar, read_formula

_BINARY: Final[Mapping[str, Callable[[Dim, Dim], Dim]]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "//": lambda left, right: left // right,
    "%": lambda left, right: left % right,
    "**": lambda left, right: left**right,
    "max": maximum,
    "min": minimum,
    "ceildiv": ceildiv,
}


def parse_dim(text: str) -> Dim:
    """Read the text of a size; DimSyntaxError (a ValueError) when it is none."""
    return read_formula(text, _GRAMMAR)


def size_leaf(kind: str, word: str) -> Dim:
    """The size that a number, a name or a quoted expression is."""
    if kind == "quoted":
        return Dim.opaque(word, ())
    return Dim.symbol(word) if kind == "name" else Dim.constant(int(word))


def combine_sizes(operation: str, operands: list[Dim]) -> Dim:
    """The size that an operation makes of its operands."""
    if operation == "opaque":
        return _opaque(operands)
    if operation == "-" and len(operands) == 1:
        return -operands[0]
    if len(operands) != 2:
        raise DimSyntaxError(f"{operation!r} takes two sizes, not {len(operands)}")
    return _BINARY[operation](*operands)


def _opaque(operands: list[Dim]) -> Dim:
    names = [dim.symbol_name for dim in operands[1:]]
    source = str(operands[0])
    if not operands[0].is_opaque or None in names:
        raise DimSyntaxError("`opaque` takes a quoted expression and the names of its symbols")
    return Dim.opaque(source, [name for name in names if name is not None])


_GRAMMAR: Final = Grammar(ARITHMETIC, NEGATIVE, size_leaf, combine_sizes)


def dim_to_data(dim: Dim) -> int | str | dict[str, int | str]:
    """JSON data: an integer, or a text, or both a value and its origin."""
    value = dim.notation if dim.value is None else dim.value
    return {"value": value, "origin": dim.origin.notation} if dim.has_origin else value


def dim_from_data(data: object) -> Dim:
    """Read a size, an integer, a text, or a value with its origin; ValueError otherwise."""
    if isinstance(data, Dim):
        return data
    if isinstance(data, dict):
        parts = cast("dict[str, object]", data)
        if parts.keys() != {"value", "origin"}:
            raise ValueError("a size has a `value` and an `origin`")
        return _single(parts["value"]).with_origin(_single(parts["origin"]))
    return _single(data)


def _single(data: object) -> Dim:
    if isinstance(data, str):
        try:
            return parse_dim(data)
        except ArithmeticError as problem:
            raise ValueError(str(problem)) from problem
    if type(data) is int:
        return Dim.constant(data)
    raise ValueError(f"a size is an integer or a text, not {data!r}")


def dim_schema() -> CoreSchema:
    """How Pydantic reads and writes a size."""
    return core_schema.json_or_python_schema(
        json_schema=core_schema.no_info_after_validator_function(dim_from_data, _json_form()),
        python_schema=core_schema.no_info_plain_validator_function(dim_from_data),
        serialization=core_schema.plain_serializer_function_ser_schema(
            dim_to_data, when_used="json", return_schema=_json_form()
        ),
    )


def _json_form() -> CoreSchema:
    text = core_schema.str_schema()
    value = core_schema.union_schema([core_schema.int_schema(strict=True), text])
    fields = {
        "value": core_schema.typed_dict_field(value),
        "origin": core_schema.typed_dict_field(text),
    }
    written = core_schema.typed_dict_schema(fields, extra_behavior="forbid")
    return core_schema.union_schema([value, written])
