"""Sorts the arguments of a call into inputs and static values, and binds each to a name."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from archdsl import problems
from archdsl.semantics.attributes import (
    is_axis,
    is_predicate,
    positional_names,
    takes_any_number,
)
from archdsl.semantics.conditions import is_condition, predicate_of
from archdsl.semantics.initialisers import INITIALISERS, initialiser, initialiser_of
from archdsl.semantics.problem import Problem
from archdsl.semantics.scope import Environment
from archdsl.semantics.values import (
    BlockDefinition,
    Evaluated,
    Given,
    Initialiser,
    Instance,
    Items,
    Template,
    Tensor,
    Tensors,
    Text,
    Unknown,
    describe,
)
from archdsl.source import Span
from archdsl.syntax import ast

if TYPE_CHECKING:
    from archdsl.semantics.body import Body

INITIALISER_SUFFIX = "_init"

Operand = tuple[Evaluated, Span]


@dataclass(slots=True, eq=False)
class Prepared:
    """A call with its arguments evaluated, those without a name in the order they were written."""

    target: Template | Instance
    span: Span
    unnamed: list[Operand] = field(default_factory=list[Operand])
    inputs: dict[str, Operand] = field(default_factory=dict[str, Operand])
    """Inputs given by name."""
    keywords: dict[str, Given] = field(default_factory=dict[str, Given])
    statics_count: int = 0
    """How many of those without a name are no tensors."""
    failed: bool = False

    @property
    def template(self) -> Template:
        return self.target.template if isinstance(self.target, Instance) else self.target

    @property
    def has_inputs(self) -> bool:
        return bool(self.inputs) or len(self.unnamed) > self.statics_count

    @property
    def is_bare(self) -> bool:
        """Whether no static argument is given."""
        return not self.keywords and self.statics_count == 0

    def add(self, value: Evaluated, span: Span) -> None:
        """One more argument without a name."""
        self.unnamed.append((value, span))
        self.statics_count += not isinstance(value, Tensor)

    def statics(self) -> tuple[Given, ...]:
        """All arguments without a name, where none is an input."""
        return tuple(Given(value, span) for value, span in self.unnamed)

    def assigned(
        self, piped: Sequence[Tensor | Unknown]
    ) -> tuple[list[Operand], tuple[Given, ...]]:
        """The inputs in order, and the static arguments without a name.

        A number beyond the static arguments is an input: `maximum(x, 0)`.
        """
        operands: list[Operand] = [(value, self.span) for value in piped]
        statics: list[Given] = []
        for value, span in self.unnamed:
            if isinstance(value, Tensor | Unknown) or self._is_input(len(statics), len(operands)):
                operands.append((value, span))
            else:
                statics.append(Given(value, span))
        self._add_named(operands)
        return operands, tuple(statics)

    def _is_input(self, statics: int, operands: int) -> bool:
        template, target = self.template, self.template.target
        if isinstance(target, BlockDefinition) or takes_any_number(target):
            return False
        if len(template.positional) + statics < len(target.positional):
            return False
        ports = target.input_names()
        return operands < len(ports) or any(port.startswith("*") for port in ports)

    def _add_named(self, operands: list[Operand]) -> None:
        if not self.inputs:
            return
        ports, left = input_names(self.template), dict(self.inputs)
        for port in ports[: len(operands)]:
            if port in left:
                raise Problem(problems.repeated_argument(left[port][1], port))
        for port in ports[len(operands) :]:
            if port not in left:
                break
            operands.append(left.pop(port))
        if left:
            missing = ports[len(operands)]
            raise Problem(problems.missing_argument(self.span, self.template.name, missing, ports))


def input_names(template: Template) -> tuple[str, ...]:
    """The names that inputs can be given by."""
    target = template.target
    if isinstance(target, BlockDefinition):
        return tuple(port.name.text for port in target.definition.ports)
    return tuple(name for name in target.input_names() if not name.startswith("*"))


def static_names(template: Template) -> tuple[str, ...]:
    """The names of the static arguments."""
    target = template.target
    if isinstance(target, BlockDefinition):
        return tuple(parameter.name.text for parameter in target.definition.parameters)
    return tuple(target.model_fields)


class Arguments:
    """Evaluates the arguments of the calls of one block."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def prepare(
        self,
        function: Template | Instance,
        node: ast.Call,
        env: Environment,
        *,
        piped: bool,
        first: Evaluated | None = None,
    ) -> Prepared:
        """The call with its arguments evaluated; `first` is the first one's value, if known."""
        prepared = Prepared(function, node.span)
        named = {argument.name.text for argument in node.arguments if argument.name}
        for place, argument in enumerate(node.arguments):
            name = argument.name.text if argument.name else None
            if place == 0 and first is not None:
                value = first
            elif name is None:
                value = self._unnamed(prepared, named, argument.value, env, piped)
            else:
                value = self._named(prepared.template, name, argument.value, env)
            if _has_failed(value):
                prepared.failed = True
            elif name is None:
                for item in _several(value):
                    prepared.add(item, argument.span)
            else:
                _take_named(prepared, name, value, argument.span)
        return prepared

    def _unnamed(
        self,
        prepared: Prepared,
        named: Set[str],
        node: ast.Expression,
        env: Environment,
        piped: bool,
    ) -> Evaluated:
        """An argument without a name: where an axis is due, a bare name may be that of an axis."""
        template = prepared.template
        if isinstance(template.target, BlockDefinition):
            return self._body.expressions.evaluate(node, env)
        place = len(template.positional) + prepared.statics_count
        due = positional_names(template.target, place)
        if due is not None and is_predicate(template.target, due) and is_condition(node):
            return predicate_of(self._body, node, env)
        is_due = due is not None and due not in named and is_axis(template.target, due)
        if is_due and (piped or prepared.has_inputs or _is_symbol(node, env)):
            return self.axis(node, env)
        return self._body.expressions.evaluate(node, env)

    def _named(
        self, template: Template, name: str, node: ast.Expression, env: Environment
    ) -> Evaluated:
        target = template.target
        if not isinstance(target, BlockDefinition):
            if is_axis(target, name):
                return self.axis(node, env)
            if is_predicate(target, name) and is_condition(node):
                return predicate_of(self._body, node, env)
            if name.endswith(INITIALISER_SUFFIX) and name not in target.model_fields:
                return self.initialiser_value(node, env)
        return self._body.expressions.evaluate(node, env)

    def axis(self, node: ast.Expression, env: Environment) -> Evaluated:
        """A bare name is the name of an axis, unless it is a parameter or variable of the block."""
        if isinstance(node, ast.ListLiteral):
            return Items(tuple(self.axis(item, env) for item in node.items))
        if isinstance(node, ast.Name):
            bound = env.find(node.text)
            if bound is None or node.text in env.symbols:
                return Text(node.text)
        return self._body.expressions.evaluate(node, env)

    def initialiser_value(self, node: ast.Expression, env: Environment) -> Evaluated:
        """An initialiser by name, by call, or as literal numbers."""
        value = self.beginning(node, env)
        if isinstance(value, Unknown):
            return value
        return Initialiser(initialiser_of(value, node.span))

    def beginning(self, node: ast.Expression, env: Environment) -> Evaluated:
        """What a weight is said to begin as: an initialiser, or any value."""
        if isinstance(node, ast.Name) and node.text in INITIALISERS:
            return Initialiser(initialiser(node.text, (), {}, node.span))
        is_call = isinstance(node, ast.Call) and isinstance(node.function, ast.Name)
        if is_call and node.function.text in INITIALISERS:  # pyright: ignore
            return self.initialiser_call(node, env)  # pyright: ignore
        return self._body.expressions.evaluate(node, env)

    def initialiser_call(self, node: ast.Call, env: Environment) -> Evaluated:
        """`normal(std=0.02)`."""
        assert isinstance(node.function, ast.Name)
        positional: list[Given] = []
        keywords: dict[str, Given] = {}
        for argument in node.arguments:
            given = Given(self._body.expressions.evaluate(argument.value, env), argument.span)
            if argument.name is None:
                positional.append(given)
            elif argument.name.text in keywords:
                raise Problem(problems.repeated_argument(argument.span, argument.name.text))
            else:
                keywords[argument.name.text] = given
        return Initialiser(initialiser(node.function.text, positional, keywords, node.span))


def _has_failed(value: Evaluated) -> bool:
    """Whether an argument, or an item of it, was reported where it was made."""
    if isinstance(value, Items):
        return any(map(_has_failed, value.values))
    return isinstance(value, Unknown)


def _several(value: Evaluated) -> tuple[Evaluated, ...]:
    """The values that an argument stands for: also a list of tensors is several of them."""
    if isinstance(value, Tensors):
        return value.flowing
    items = value.values if isinstance(value, Items) else ()
    is_tensors = bool(items) and all(isinstance(item, Tensor) for item in items)
    return items if is_tensors else (value,)


def _is_symbol(node: ast.Expression, env: Environment) -> bool:
    return isinstance(node, ast.Name) and node.text in env.symbols


def _take_named(prepared: Prepared, name: str, value: Evaluated, span: Span) -> None:
    template = prepared.template
    if name in prepared.keywords or name in prepared.inputs:
        raise Problem(problems.repeated_argument(span, name))
    statics, inputs = static_names(template), input_names(template)
    if isinstance(value, Tensors) and name in inputs:
        raise Problem(problems.wrong_kind(span, "one tensor", describe(value)))
    if name in inputs and name not in statics:
        prepared.inputs[name] = (value, span)
    elif isinstance(value, Tensor) and name not in statics:
        known = (*statics, *inputs)
        raise Problem(problems.unknown_argument(span, template.name, name, known))
    elif isinstance(value, Tensor | Tensors):
        raise Problem(problems.wrong_kind(span, "a static value", describe(value)))
    else:
        prepared.keywords[name] = Given(value, span)
