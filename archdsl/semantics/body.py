"""Executes the statements of a block and checks its results against the signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from archdsl import problems
from archdsl.ir.model import Frame
from archdsl.semantics.builder import BlockBuilder
from archdsl.semantics.calls import Calls
from archdsl.semantics.conditions import condition_of, names_in
from archdsl.semantics.expressions import Expressions
from archdsl.semantics.loop_cost import PASS_COST, STATEMENT_COST, least_of_loop
from archdsl.semantics.pipelines import Pipelines
from archdsl.semantics.problem import Problem
from archdsl.semantics.scope import Environment, ReturnedValue
from archdsl.semantics.values import (
    UNKNOWN,
    Evaluated,
    Instance,
    Items,
    Real,
    Template,
    Tensor,
    Tensors,
    Unknown,
    as_operand,
    describe,
    shown,
)
from archdsl.semantics.weights import Weights
from archdsl.sizes.conditions import Condition
from archdsl.sizes.dims import Dim, DimOverflow, DimTooComplex
from archdsl.source import Span
from archdsl.syntax import ast

if TYPE_CHECKING:
    from archdsl.semantics.program import Program


class Body:
    """Expands the body of one specialised block into its builder."""

    def __init__(self, program: Program, builder: BlockBuilder) -> None:
        self.program = program
        self.builder = builder
        self.expressions = Expressions(self)
        self.calls = Calls(self)
        self.arguments = self.calls.arguments
        self.pipelines = Pipelines(self)
        self.weights = Weights(self)
        self.expectations: list[ast.Expect] = []
        self.required: list[Condition] = []
        """What `require` and preparations say of sizes, also where it is known already."""
        self.failed = False

    # ---------------------------------------------------------------------------- statements

    def run(
        self, statements: Sequence[ast.Statement], env: Environment
    ) -> list[ReturnedValue] | Unknown | None:
        """Execute statements; the returned values, or None when no `return` was reached."""
        for place, statement in enumerate(statements):
            try:
                outcome = self._execute(statement, env)
            except Problem as problem:
                outcome = self._report(problem, statement, env)
            except (DimTooComplex, DimOverflow) as error:
                problem = Problem(problems.static_error(statement.span, str(error)))
                outcome = self._report(problem, statement, env)
            if isinstance(statement, ast.Return) and place + 1 < len(statements):
                unreachable = statements[place + 1].span
                self.program.diagnostics.add(
                    problems.unreachable_statement(unreachable, statement.span)
                )
            if outcome is not None:
                return outcome
        return None

    def _report(
        self, problem: Problem, statement: ast.Statement, env: Environment
    ) -> Unknown | None:
        """Report a problem; what the statement would have bound or returned is unknown."""
        self.program.report(problem)
        self.failed = True
        match statement:
            case ast.Assignment():
                for target in statement.targets:
                    env.variables[target.text] = UNKNOWN
            case ast.WeightDeclaration():
                env.variables[statement.name.text] = UNKNOWN
            case ast.Return():
                return UNKNOWN
            case ast.Require() if problem.diagnostic.code == "requirement-failed":
                # Sizes that were refused would be refused again by what stands on them.
                return UNKNOWN
            case ast.If() | ast.For():
                for name in assigned_names((statement,)):
                    env.variables[name] = UNKNOWN
            case _:
                pass
        return None

    def _execute(
        self, statement: ast.Statement, env: Environment
    ) -> list[ReturnedValue] | Unknown | None:
        self.program.step(statement.span, STATEMENT_COST)
        match statement:
            case ast.Assignment():
                self._assign(statement, env)
            case ast.Return():
                return self._return(statement, env)
            case ast.If():
                return self._if(statement, env)
            case ast.For():
                return self._for(statement, env)
            case ast.Require():
                self._require(statement, env)
            case ast.Expect():
                self.expectations.append(statement)
            case ast.WeightDeclaration():
                self.weights.declare(statement, env)
            case ast.Yield():
                raise Problem(problems.yield_outside_scan(statement.span))
            case ast.ExpressionStatement():
                raise Problem(problems.unused_value(statement.span))
        return None

    def scope(self, statements: Sequence[ast.Statement], env: Environment, span: Span) -> Evaluated:
        """The value of a scope: what it returns, or its last expression."""
        if not statements:
            raise Problem(problems.empty_scope(span))
        *before, last = statements
        if not isinstance(last, ast.ExpressionStatement) or isinstance(
            before[-1] if before else None, ast.Return
        ):
            before = statements
        returned = self.run(before, env)
        if isinstance(returned, Unknown):
            return UNKNOWN
        if returned is not None:
            values = tuple(item.value for item in returned)
            return values[0] if len(values) == 1 else Tensors(values)
        if not isinstance(last, ast.ExpressionStatement):
            raise Problem(problems.scope_without_value(span))
        value = self.expressions.evaluate(last.value, env)
        return self.pipelines.settle(value, env, last.span)

    # -------------------------------------------------------------------------- assignments

    def _assign(self, statement: ast.Assignment, env: Environment) -> None:
        value = self.expressions.evaluate(statement.value, env)
        targets = statement.targets
        if len(targets) == 1:
            env.variables[targets[0].text] = self._bound(targets[0], value)
            return
        parts = self._unpacked(value, len(targets), statement)
        for target, part in zip(targets, parts, strict=True):
            env.variables[target.text] = self._bound(target, part)

    def _bound(self, target: ast.Name, value: Evaluated) -> Evaluated:
        """What a name comes to mean: a constructed layer becomes one instance under that name."""
        value = as_operand(value)
        if isinstance(value, Tensor):
            self.builder.call_value(value, target.text)
        if isinstance(value, Template) and value.constructed and value.is_numbered:
            return Instance(value, self.builder.claim(target.text, target.span))
        return value

    def _unpacked(
        self, value: Evaluated, count: int, statement: ast.Assignment
    ) -> Sequence[Evaluated]:
        if isinstance(value, Unknown):
            return [UNKNOWN] * count
        parts: tuple[Evaluated, ...]
        match value:
            case Tensors():
                parts = value.flowing if count == len(value.flowing) else value.items
            case Items():
                parts = value.values
            case _:
                raise Problem(problems.cannot_unpack(statement.span, describe(value), count))
        if len(parts) != count:
            found = f"a list of {len(parts)}" if isinstance(value, Items) else describe(value)
            raise Problem(problems.cannot_unpack(statement.span, found, count))
        return parts

    # ------------------------------------------------------------------------- control flow

    def _return(self, statement: ast.Return, env: Environment) -> list[ReturnedValue] | Unknown:
        returned: list[ReturnedValue] = []
        failed = False
        for item in statement.values:
            value = self.expressions.evaluate(item.value, env)
            value = self.pipelines.settle(value, env, item.value.span)
            name = item.name.text if item.name else None
            match value:
                case Unknown():
                    failed = True
                case Tensor():
                    returned.append(ReturnedValue(name, value, item.training, item.span))
                case Tensors() if name is None:
                    returned.extend(
                        ReturnedValue(None, part, item.training, item.span)
                        for part in value.flowing
                    )
                case _:
                    raise Problem(problems.wrong_kind(item.value.span, "a tensor", describe(value)))
        return UNKNOWN if failed else returned

    def _if(self, statement: ast.If, env: Environment) -> list[ReturnedValue] | Unknown | None:
        condition = self.expressions.truth(statement.condition, env)
        if condition is None:
            for name in assigned_names((statement,)):
                env.variables[name] = UNKNOWN
            return None
        self.builder.decided(condition)
        frame = Frame(
            kind="if",
            site=statement.span.start,
            condition=condition.text,
            taken=condition.value,
        )
        with self.program.deeper(statement.span), self.builder.frame(frame):
            return self.run(statement.then if condition.value else statement.otherwise, env)

    def _for(self, statement: ast.For, env: Environment) -> list[ReturnedValue] | Unknown | None:
        passes = self._passes(statement, env)
        if passes is None:
            for name in assigned_names((statement,)):
                env.variables[name] = UNKNOWN
            return None
        self.program.demand(least_of_loop(len(passes), statement).steps, statement.span)
        with self.program.deeper(statement.span):
            for value, frame in passes:
                self.program.step(statement.span, PASS_COST)
                env.variables[statement.variable.text] = value
                with self.builder.frame(frame):
                    returned = self.run(statement.body, env)
                if returned is not None:
                    return returned
        return None

    def _passes(self, statement: ast.For, env: Environment) -> list[tuple[Evaluated, Frame]] | None:
        name, site = statement.variable.text, statement.span.start
        if statement.stop is None:
            return self._over_list(statement, env)
        start = self.expressions.integer(statement.start, env)
        stop = self.expressions.integer(statement.stop, env)
        if start is None or stop is None or start.value is None or stop.value is None:
            return None
        count = Dim.of(max(0, stop.value - start.value))
        self.program.repetitions(count, statement.stop.span)
        symbol = Dim.symbol(name)
        return [
            (
                Dim.of(number).with_origin(symbol),
                Frame("for", site, name, number, start, stop),
            )
            for number in range(start.value, stop.value)
        ]

    def _over_list(
        self, statement: ast.For, env: Environment
    ) -> list[tuple[Evaluated, Frame]] | None:
        value = self.expressions.evaluate(statement.start, env)
        if isinstance(value, Unknown):
            return None
        if not isinstance(value, Items):
            raise Problem(
                problems.wrong_kind(statement.start.span, "a range or a list", describe(value))
            )
        count = len(value.values)
        self.program.repetitions(Dim.of(count), statement.start.span)
        site = statement.span.start
        return [
            (item, Frame("for", site, None, index, Dim.of(0), Dim.of(count)))
            for index, item in enumerate(value.values)
        ]

    # ---------------------------------------------------------------------- facts and weights

    def _require(self, statement: ast.Require, env: Environment) -> None:
        condition = condition_of(self, statement.condition, env)
        if condition is None:
            return
        message = self.program.message(self, statement, env)
        text = self.program.text_of(statement.condition.span)
        failed = problems.requirement_failed(statement.span, message, text, _told(statement, env))
        if condition is False:
            raise Problem(failed)
        if isinstance(condition, Condition):
            reason = message or text
            self.required.append(condition)
            facts = self.builder.facts
            is_known = facts.prove(condition).proved
            if not is_known and facts.prove(condition.negated()).proved:
                raise Problem(failed)
            self.builder.require(condition, reason, statement.span)


def _told(statement: ast.Require, env: Environment) -> Mapping[str, str]:
    """The numbers that a condition names."""
    values = ((name, env.find(name)) for name in sorted(names_in(statement.condition)))
    return {name: shown(value) for name, value in values if isinstance(value, Dim | Real)}


def assigned_names(statements: Sequence[ast.Statement]) -> set[str]:
    """Every variable that some path through the statements binds."""
    names: set[str] = set()
    pending = list(statements)
    while pending:
        statement = pending.pop()
        match statement:
            case ast.Assignment():
                names.update(target.text for target in statement.targets)
            case ast.If():
                pending += [*statement.then, *statement.otherwise]
            case ast.For():
                names.add(statement.variable.text)
                pending += statement.body
            case _:
                pass
    return names
