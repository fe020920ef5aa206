"""`require`: a truth value when it is static, else a condition on sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archdsl import problems
from archdsl.semantics import statics
from archdsl.semantics.problem import Problem
from archdsl.semantics.scope import Environment
from archdsl.semantics.values import UNKNOWN, Evaluated, Predicate, Unknown
from archdsl.sizes.conditions import Compare, Condition, all_of, either_of
from archdsl.sizes.dims import Dim
from archdsl.source import Span
from archdsl.syntax import ast

if TYPE_CHECKING:
    from archdsl.semantics.body import Body


def condition_of(body: Body, node: ast.Expression, env: Environment) -> Condition | bool | None:
    """The condition an expression states; None when part of it already failed."""
    if isinstance(node, ast.Unary) and node.operator == "not":
        inner = condition_of(body, node.operand, env)
        if inner is None or isinstance(inner, bool):
            return None if inner is None else not inner
        return inner.negated()
    if isinstance(node, ast.Chain) and node.rest[0][0] in ("and", "or"):
        return _combined(body, node, env)
    if isinstance(node, ast.Chain) and node.rest[0][0] in statics.NEGATED:
        return _comparisons(body, node, env)
    value = body.expressions.truth(node, env)
    return None if value is None else value.value


def _combined(body: Body, node: ast.Chain, env: Environment) -> Condition | bool | None:
    parts = [condition_of(body, part, env) for part in (node.first, *(p for _, p in node.rest))]
    return _join(parts, is_and=node.rest[0][0] == "and")


def _join(parts: list[Condition | bool | None], *, is_and: bool) -> Condition | bool | None:
    if any(part is None for part in parts):
        return None
    if any(part is (not is_and) for part in parts):
        return not is_and
    open_parts = [part for part in parts if isinstance(part, Condition)]
    if not open_parts:
        return is_and
    return all_of(open_parts) if is_and else either_of(open_parts)


def _comparisons(body: Body, node: ast.Chain, env: Environment) -> Condition | bool | None:
    left, left_span = body.expressions.evaluate(node.first, env), node.first.span
    parts: list[Condition | bool | None] = []
    for symbol, operand in node.rest:
        right = body.expressions.evaluate(operand, env)
        parts.append(_comparison(body, symbol, left, right, left_span.to(operand.span)))
        left, left_span = right, operand.span
    return _join(parts, is_and=True)


def _comparison(
    body: Body, symbol: str, left: Evaluated, right: Evaluated, span: Span
) -> Condition | bool | None:
    if isinstance(left, Unknown) or isinstance(right, Unknown):
        return None
    if isinstance(left, Dim) and isinstance(right, Dim):
        claim = Compare(left, symbol, right)  # pyright: ignore[reportArgumentType]
        return claim if claim.truth is None else claim.truth
    try:
        return statics.compare(symbol, left, right, body.builder.facts).value
    except statics.StaticError as error:
        raise Problem(problems.static_error(span, str(error))) from None


def predicate_of(body: Body, node: ast.Expression, env: Environment) -> Evaluated:
    """A condition on places along axes: names that mean nothing else are names of axes."""
    inner = Environment(env.file, env, {}, env.symbols)
    for name in names_in(node):
        known = env.find(name) is not None or name in statics.FUNCTIONS
        if not known and body.program.declared(name, env.file) is None:
            inner.variables[name] = Dim.symbol(name)
    condition = condition_of(body, node, inner)
    if condition is None:
        return UNKNOWN
    if isinstance(condition, bool):
        found = "one that always holds" if condition else "one that never holds"
        raise Problem(problems.wrong_kind(node.span, "a condition on axes", found))
    return Predicate(condition)


def is_condition(node: ast.Expression) -> bool:
    """Whether an expression is written as a condition: a comparison, `and`, `or` or `not`."""
    if isinstance(node, ast.Unary):
        return node.operator == "not"
    operators = ("and", "or", *statics.NEGATED)
    return isinstance(node, ast.Chain) and node.rest[0][0] in operators


def names_in(node: ast.Expression) -> set[str]:
    """The names in an expression of arithmetic and comparisons."""
    found: set[str] = set()
    pending: list[ast.Expression] = [node]
    while pending:
        item = pending.pop()
        match item:
            case ast.Name():
                found.add(item.text)
            case ast.Unary():
                pending.append(item.operand)
            case ast.Chain():
                pending += [item.first, *(operand for _, operand in item.rest)]
            case ast.Call():
                pending += [argument.value for argument in item.arguments]
            case ast.Index():
                pending += [item.value, item.index]
            case _:
                pass
    return found
