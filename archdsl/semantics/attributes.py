"""Binds and validates the attributes of an operator, with the expression of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from archdsl import problems
from archdsl.diagnostics import Fix
from archdsl.ir.model import Origin
from archdsl.ir.op import Op
from archdsl.problems.elsewhere import WIDTH_PLACES
from archdsl.semantics.problem import Problem
from archdsl.semantics.values import (
    Evaluated,
    Given,
    Items,
    Nothing,
    Predicate,
    Real,
    Text,
    Truth,
    describe,
)
from archdsl.sizes.dims import Dim
from archdsl.source import Span

LONGEST_LIST = 8
"""Of a longer list only the beginning is quoted."""

FREE_NAMES = "sizes"
"""A field of this name takes all keyword arguments that are not attributes (`h=heads`)."""


def is_axis(operator: type[Op], attribute: str) -> bool:
    """Whether an attribute names axes."""
    return attribute in operator.axis_attributes()


@cache
def is_predicate(operator: type[Op], attribute: str) -> bool:
    """Whether an attribute is a condition on places along axes."""
    field = operator.model_fields.get(attribute)
    return field is not None and "Condition" in str(field.annotation)


@cache
def _takes_dims(operator: type[Op], attribute: str) -> bool:
    """Whether an attribute may be a symbolic size."""
    return "Dim" in str(operator.model_fields[attribute].annotation)


def operator_with(
    operator: type[Op],
    name: str,
    positional: Sequence[Given],
    keywords: Mapping[str, Given],
    span: Span,
) -> Op:
    """The operator with these arguments; every bad argument raises with its own place."""
    given = bound(operator, name, positional, keywords, span)
    data: dict[str, object] = {}
    free: dict[str, Dim] = {}
    for attribute, argument in given.items():
        if attribute not in operator.model_fields:
            free[attribute] = _size(name, attribute, argument)
        else:
            symbolic = _takes_dims(operator, attribute)
            data[attribute] = plain(argument.value, name, attribute, argument.span, symbolic)
    if free:
        data[FREE_NAMES] = free
    try:
        return operator.model_validate(data)
    except ValidationError as error:
        raise Problem(_first_problem(error.errors()[0], operator, name, given, span)) from None


def bound(
    operator: type[Op],
    name: str,
    positional: Sequence[Given],
    keywords: Mapping[str, Given],
    span: Span,
) -> dict[str, Given]:
    """Arguments by attribute name."""
    fields = tuple(operator.model_fields)
    given = _by_position(operator, name, positional)
    spans = [argument.span for argument in (*positional, *keywords.values())]
    for key, argument in keywords.items():
        if key in given:
            raise Problem(problems.repeated_argument(argument.span, key))
        if key not in fields and FREE_NAMES not in fields:
            without = _without(argument.span, spans)
            raise Problem(problems.unknown_argument(argument.span, name, key, fields, without))
        given[key] = argument
    return given


def positional_names(operator: type[Op], place: int) -> str | None:
    """The attribute that takes the argument without a name at that place, if one does."""
    if takes_any_number(operator):
        return operator.positional[0].removeprefix("*")
    return operator.positional[place] if place < len(operator.positional) else None


def takes_any_number(operator: type[Op]) -> bool:
    """Whether one attribute, written `*shape`, takes all arguments without a name."""
    return operator.positional[:1] != () and operator.positional[0].startswith("*")


def _by_position(operator: type[Op], name: str, positional: Sequence[Given]) -> dict[str, Given]:
    if positional and takes_any_number(operator):
        values = tuple(item.value for item in positional)
        whole = values[0] if len(values) == 1 and isinstance(values[0], Items) else Items(values)
        span = positional[0].span.to(positional[-1].span)
        return {operator.positional[0].removeprefix("*"): Given(whole, span)}
    if len(positional) > len(operator.positional):
        allowed = len(operator.positional)
        span = positional[allowed].span
        names = [key for key in operator.model_fields if key not in operator.positional]
        width = WIDTH_PLACES.get(name, len(positional))
        inferred = None
        if len(positional) == allowed + 1 and width < len(positional):
            inferred = _without(positional[width].span, [each.span for each in positional])
        raise Problem(
            problems.too_many_arguments(span, name, allowed, len(positional), names, inferred)
        )
    return dict(zip(operator.positional, positional, strict=False))


def _without(span: Span, spans: Sequence[Span]) -> Fix:
    """The removal of one of the arguments of a call, with the comma beside it."""
    after = [other for other in spans if other.start >= span.end]
    before = [other for other in spans if other.end <= span.start]
    if after:
        return Fix(span._replace(end=min(after).start), "")
    return Fix(span._replace(start=max(before).end) if before else span, "")


def _size(name: str, attribute: str, argument: Given) -> Dim:
    if not isinstance(argument.value, Dim):
        reason = f"must be a size, not {describe(argument.value)}"
        raise Problem(problems.bad_attribute(argument.span, name, attribute, reason))
    return argument.value


def plain(value: Evaluated, name: str, attribute: str, span: Span, symbolic: bool) -> object:
    """A static value as the plain data an attribute takes."""
    match value:
        case Dim():
            if symbolic:
                return value
            if value.value is None:
                raise Problem(problems.not_constant(span, str(value)))
            return value.value
        case Real() | Truth() | Text():
            return value.value
        case Nothing():
            return None
        case Predicate():
            return value.condition
        case Items():
            return tuple(plain(item, name, attribute, span, symbolic) for item in value.values)
        case _:
            reason = f"must not be {describe(value)}"
            raise Problem(problems.bad_attribute(span, name, attribute, reason))


def _first_problem(
    error: ErrorDetails,
    operator: type[Op],
    name: str,
    given: Mapping[str, Given],
    span: Span,
):
    attribute = str(error["loc"][0]) if error["loc"] else ""
    if error["type"] == "missing":
        return problems.missing_argument(span, name, attribute, operator.positional)
    place = given[attribute].span if attribute in given else span
    reason = _reason(error)
    if attribute in operator.model_fields and "Literal" in str(
        operator.model_fields[attribute].annotation
    ):
        reason = _choices(operator, attribute) or reason
    return problems.bad_attribute(place, name, attribute, reason)


def _reason(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    match error["type"]:
        case "greater_than_equal":
            return f"must be at least {context['ge']}, not {_shown(error['input'])}"
        case "greater_than":
            return f"must be more than {context['gt']}, not {_shown(error['input'])}"
        case "less_than_equal":
            return f"must be at most {context['le']}, not {_shown(error['input'])}"
        case "less_than":
            return f"must be less than {context['lt']}, not {_shown(error['input'])}"
        case "too_long":
            return f"has at most {context['max_length']} items, not {context['actual_length']}"
        case "value_error":
            return str(context.get("error", error["msg"]))
        case kind if kind.startswith("int"):
            return f"must be an integer, not {_shown(error['input'])}"
        case kind if kind.startswith("float"):
            return f"must be a number, not {_shown(error['input'])}"
        case kind if kind.startswith("bool"):
            return f"must be `true` or `false`, not {_shown(error['input'])}"
        case _:
            message = error["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
            return f"must be {message}, not {_shown(error['input'])}"


def _shown(value: object) -> str:
    """A static value as the language writes it, the beginning of a long one."""
    match value:
        case str():
            return repr(value)
        case bool() | None:
            return str(value).lower()
        case tuple() | list():
            items = cast("Sequence[object]", value)
            more = ", …" if len(items) > LONGEST_LIST else ""
            return f"[{', '.join(map(_shown, items[:LONGEST_LIST]))}{more}]"
        case _:
            return str(value)


def _choices(operator: type[Op], attribute: str) -> str | None:
    schema = operator.model_json_schema()["properties"][attribute]
    options = [schema, *schema.get("anyOf", [])]
    words = [repr(word) for option in options for word in option.get("enum", [])]
    words += [repr(option["const"]) for option in options if "const" in option]
    numeric = any(option.get("type") in ("integer", "array", "number") for option in options)
    if not words:
        return None
    listed = ", ".join(words).replace("'", '"')
    return f"must be {'a number or ' if numeric else ''}one of {listed}"


# ------------------------------------------------------------------------------------ origins


def attribute_origins(
    operator: type[Op], positional: Sequence[Given], keywords: Mapping[str, Given]
) -> tuple[Origin, ...]:
    """Where the attributes' values came from, for those that came from anywhere."""
    given = {**_by_position(operator, "", positional), **keywords}
    origins = (Origin(name, origin) for name, item in given.items() if (origin := _origin(item)))
    return tuple(origins)


def _origin(given: Given) -> Dim | tuple[Dim, ...] | str | None:
    match given.value:
        case Dim() as dim:
            return dim if dim.has_origin else None
        case Real() | Truth() | Text() as scalar:
            return scalar.text
        case Items(values):
            dims = [value for value in values if isinstance(value, Dim)]
            if len(dims) == len(values) and any(dim.has_origin for dim in dims):
                return tuple(dims)
            return None
        case _:
            return None
