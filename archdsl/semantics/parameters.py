"""A block's static parameters: kinds, defaults, arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from archdsl import problems
from archdsl.ir.literals import literal
from archdsl.ir.model import Argument, Static
from archdsl.semantics.problem import Problem
from archdsl.semantics.scope import Environment
from archdsl.semantics.statics import formula_of
from archdsl.semantics.values import (
    BlockDefinition,
    Evaluated,
    Given,
    Initialiser,
    Items,
    Nothing,
    Real,
    Template,
    Text,
    Truth,
    Unknown,
    describe,
)
from archdsl.sizes.dims import Dim
from archdsl.source import Span
from archdsl.syntax import ast

if TYPE_CHECKING:
    from archdsl.semantics.body import Body


def bind_parameters(
    body: Body, block: BlockDefinition, template: Template
) -> dict[str, Evaluated] | None:
    """The value of every parameter, given or default; None when one already failed."""
    parameters = {parameter.name.text: parameter for parameter in block.definition.parameters}
    given = _given(block, template, parameters)
    values: dict[str, Evaluated] = {}
    for name, parameter in parameters.items():
        if name in given:
            value, span = given[name].value, given[name].span
        elif parameter.default is not None:
            env = Environment(block.file, None, dict(values))
            value, span = body.expressions.evaluate(parameter.default, env), parameter.span
        else:
            raise Problem(
                problems.missing_argument(template.span, block.name, name, tuple(parameters))
            )
        if isinstance(value, Unknown):
            return None
        values[name] = admitted(body, block, parameter, value, span, values)
    return values


def defaulted(block: BlockDefinition, template: Template) -> frozenset[str]:
    """The parameters that nothing is given for."""
    parameters = {parameter.name.text: parameter for parameter in block.definition.parameters}
    return frozenset(parameters) - _given(block, template, parameters).keys()


def _given(
    block: BlockDefinition, template: Template, parameters: Mapping[str, ast.Parameter]
) -> dict[str, Given]:
    if len(template.positional) > len(parameters):
        extra = template.positional[len(parameters)]
        raise Problem(
            problems.too_many_arguments(
                extra.span, block.name, len(parameters), len(template.positional)
            )
        )
    given = dict(zip(parameters, template.positional, strict=False))
    for key, argument in template.keywords.items():
        if key not in parameters:
            raise Problem(
                problems.unknown_argument(argument.span, block.name, key, tuple(parameters))
            )
        if key in given:
            raise Problem(problems.repeated_argument(argument.span, key))
        given[key] = argument
    return given


def admitted(
    body: Body,
    block: BlockDefinition,
    parameter: ast.Parameter,
    value: Evaluated,
    span: Span,
    earlier: Mapping[str, Evaluated],
) -> Evaluated:
    """The value if it is of the parameter's kind; an integer serves as a float."""
    type_ = parameter.type
    if type_ is None:
        return value
    if type_.name not in ast.PARAMETER_TYPES:
        raise Problem(problems.unknown_type(type_.span, type_.name or "[…]"))
    if type_.dims is None:
        return _scalar(block, parameter, type_.name, value, span)
    if not isinstance(value, Items):
        raise Problem(
            problems.bad_argument(
                span, block.name, parameter.name.text, _spelled(type_), describe(value)
            )
        )
    if type_.dims:
        env = Environment(block.file, None, dict(earlier))
        count = body.expressions.integer(type_.dims[0], env)  # pyright: ignore
        if count is not None and count.value != len(value.values):
            raise Problem(
                problems.bad_argument(
                    span,
                    block.name,
                    parameter.name.text,
                    f"a list of {count}",
                    f"a list of {len(value.values)}",
                )
            )
    items = tuple(_scalar(block, parameter, type_.name, item, span) for item in value.values)
    return Items(items, value.text)


def _spelled(type_: ast.Type) -> str:
    return f"a list of {type_.name}"


def _scalar(
    block: BlockDefinition, parameter: ast.Parameter, kind: str, value: Evaluated, span: Span
) -> Evaluated:
    match kind, value:
        case "int", Dim() if value.value is not None:
            return value
        case "int", Dim():
            raise Problem(problems.not_constant(span, str(value)))
        case "float", Real():
            return value
        case "float", Dim() if value.value is not None:
            return Real(float(value.value), str(value.origin) if value.has_origin else None)
        case ("bool", Truth()) | ("str", Text()) | ("layer", Template()):
            return value
        case "layer", Nothing():
            return value
        case _:
            article = "an" if kind == "int" else "a"
            raise Problem(
                problems.bad_argument(
                    span, block.name, parameter.name.text, f"{article} {kind}", describe(value)
                )
            )


def named(name: str, size: Dim) -> Dim:
    """A known size that remembers a name."""
    return size.without_origin().with_origin(Dim.symbol(name))


def inside(name: str, value: Evaluated) -> Evaluated:
    """A parameter's value as the block's body sees it: it remembers the parameter's name."""
    match value:
        case Dim():
            return named(name, value)
        case Real():
            return Real(value.value, name)
        case Truth():
            return Truth(value.value, name)
        case Text():
            return Text(value.value, name)
        case Items():
            return Items(tuple(_forget(item) for item in value.values), name)
        case _:
            return value


def _forget(value: Evaluated) -> Evaluated:
    match value:
        case Dim():
            return value.without_origin()
        case Real():
            return Real(value.value)
        case Truth():
            return Truth(value.value)
        case Text():
            return Text(value.value)
        case Items():
            return Items(tuple(_forget(item) for item in value.values))
        case _:
            return value


def own_arguments(
    body: Body,
    block: BlockDefinition,
    arguments: Mapping[str, Evaluated],
    given: frozenset[str],
) -> tuple[Argument, ...]:
    """The arguments of a block as data; a default computed from others keeps its formula."""
    env = Environment(block.file, None, {n: inside(n, value) for n, value in arguments.items()})
    found: list[Argument] = []
    for parameter in block.definition.parameters:
        name = parameter.name.text
        argument = static_argument(name, arguments[name])
        if parameter.default is not None and name not in given:
            default = body.expressions.evaluate(parameter.default, env)
            computed = static_argument(name, default, is_default=True)
            if formula_of(default) is not None and computed.value == argument.value:
                argument = computed
        found.append(argument)
    return tuple(found)


def static_argument(name: str, value: Evaluated, *, is_default: bool = False) -> Argument:
    """An argument as data of the IR."""
    origin = formula_of(value) if isinstance(value, Real | Truth | Text) else None
    return Argument(name, _kind(value), _static(value), is_default, origin)


def _kind(value: Evaluated):
    match value:
        case Dim():
            return "int"
        case Real():
            return "float"
        case Truth():
            return "bool"
        case Items():
            return "list"
        case Template():
            return "layer"
        case _:
            return "str"


def _static(value: Evaluated) -> Static:
    match value:
        case Dim():
            return value
        case Real() | Truth() | Text():
            return value.value
        case Items():
            return tuple(_static(item) for item in value.values)
        case Template():
            return layer_text(value)
        case _:
            return None


def layer_text(layer: Template) -> str:
    """A layer with its arguments, as the language writes it."""
    arguments = [_literal(given.value) for given in layer.positional]
    arguments += [f"{name}={_literal(given.value)}" for name, given in layer.keywords.items()]
    return f"{layer.name}({', '.join(arguments)})" if arguments else layer.name


def _literal(value: Evaluated) -> str:
    if isinstance(value, Template):
        return layer_text(value)
    return literal(value.init if isinstance(value, Initialiser) else _static(value))
