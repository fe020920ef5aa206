"""Evaluates `expect` against the expanded model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archdsl import problems
from archdsl.ir.model import Model
from archdsl.passes.costs import Figures, figures
from archdsl.semantics import statics
from archdsl.semantics.body import Body
from archdsl.semantics.builder import BlockBuilder
from archdsl.semantics.problem import Problem
from archdsl.semantics.scope import Environment
from archdsl.semantics.statics import StaticError, Undecided
from archdsl.semantics.values import Evaluated, Items, Real, Tensor, describe
from archdsl.sizes.dims import Dim
from archdsl.syntax import ast

if TYPE_CHECKING:
    from archdsl.compiler import Compilation


def check_expectations(compilation: Compilation, model: Model) -> None:
    """Report every `expect` of the model that does not hold."""
    expectations = compilation.expectations(model.name)
    if not expectations:
        return
    checker = _Checker(compilation, model, figures(model)[model.entry])
    for expect, env in expectations:
        try:
            checker.check(expect, env)
        except Problem as problem:
            compilation.diagnostics.add(problem.diagnostic)
        except _OtherSize:
            continue


class _OtherSize(Exception):
    """The expectation is about a size other than the one fixed from outside."""


class _Checker:
    def __init__(self, compilation: Compilation, model: Model, found: Figures) -> None:
        self._program = compilation.program
        self._model = model
        self._figures = found
        self._fixed = compilation.fixed_dims
        body = compilation.program.root_body
        assert body is not None
        # Values of the model may be asked about, but nothing is added to it.
        builder = BlockBuilder(
            compilation.diagnostics,
            body.builder.facts,
            list(body.builder.values),
            inputs=body.builder.inputs,
            producer=dict(body.builder.producer),
        )
        self._builder = body.builder
        self._body = Body(compilation.program, builder)
        self._diagnostics = compilation.diagnostics

    def check(self, expect: ast.Expect, env: Environment) -> None:
        condition = expect.condition
        is_comparison = isinstance(condition, ast.Chain) and condition.rest[0][0] in statics.NEGATED
        if not is_comparison:
            truth = self._body.expressions.truth(condition, self._seen(env))
            holds, found = truth is None or truth.value, []
        else:
            assert isinstance(condition, ast.Chain)
            holds, found = self._compare(condition, self._seen(env))
        if not holds:
            text = self._program.text_of(condition.span)
            self._diagnostics.add(problems.expectation_failed(condition.span, text, found))

    def _seen(self, env: Environment) -> Environment:
        variables: dict[str, Evaluated] = {"params": Dim.of(self._figures.parameters)}
        fresh = [size.name for size in self._model.root.fresh]
        variables |= {name: Dim.symbol(name) for name in fresh if env.find(name) is None}
        return Environment(env.file, env, variables, env.symbols)

    def _compare(self, chain: ast.Chain, env: Environment) -> tuple[bool, list[str]]:
        nodes = [chain.first, *(node for _, node in chain.rest)]
        values = [self._operand(node, env) for node in nodes]
        holds = True
        for (symbol, node), left, right in zip(chain.rest, values, values[1:], strict=False):
            try:
                holds &= statics.compare(symbol, left, right, self._body.builder.facts).value
            except StaticError as error:
                raise Problem(problems.static_error(node.span, str(error))) from None
            except Undecided:
                holds = False
        found = [
            f"`{self._program.text_of(node.span)}` is {_shown(value)}"
            for node, value in zip(nodes, values, strict=True)
            if not isinstance(node, ast.Integer | ast.Real)
        ]
        return holds, found

    def _operand(self, node: ast.Expression, env: Environment) -> Evaluated:
        if isinstance(node, ast.Call) and isinstance(node.function, ast.Name):
            if node.function.text == "macs":
                return self._macs(node, env)
            if node.function.text == "shape":
                return self._shape(node, env)
        return self._body.expressions.evaluate(node, env)

    def _macs(self, node: ast.Call, env: Environment) -> Dim:
        sizes: dict[str, Dim] = {}
        symbols = (*self._model.root.symbols, *(size.name for size in self._model.root.fresh))
        for argument in node.arguments:
            key = argument.name.text if argument.name else ""
            value = self._body.expressions.integer(argument.value, env)
            if key in self._fixed:
                if value is not None and value.value != self._fixed[key]:
                    raise _OtherSize
            elif key not in symbols:
                raise Problem(problems.unknown_dim(argument.span, key, symbols))
            elif value is not None:
                sizes[key] = value
        return self._figures.macs.substitute(sizes)

    def _shape(self, node: ast.Call, env: Environment) -> Items:
        [argument] = node.arguments or (None,)
        if argument is None or not isinstance(argument.value, ast.Name):
            raise Problem(problems.wrong_kind(node.span, "the name of a value", "something else"))
        name = argument.value.text
        for port in self._model.root.outputs:
            if port.name == name:
                return Items(self._model.root.type(port.value).dims)
        value = env.find(name)
        if isinstance(value, Tensor):
            return Items(self._builder.type(value).dims)
        found = "nothing" if value is None else describe(value)
        raise Problem(problems.wrong_kind(argument.span, "the name of a value", found))


def _shown(value: Evaluated) -> str:
    match value:
        case Dim():
            return f"{value.value:_}" if value.value is not None else str(value)
        case Items():
            return f"[{', '.join(_shown(item) for item in value.values)}]"
        case Real():
            return repr(value.value)
        case _:
            return describe(value)
