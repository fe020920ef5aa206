"""Sizes written in signatures: evaluated, and what is no size refused with what to write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archdsl import problems
from archdsl.ir.op import REGISTRY
from archdsl.semantics.problem import Problem
from archdsl.semantics.scope import Environment
from archdsl.semantics.values import Unknown, describe
from archdsl.sizes.dims import Dim
from archdsl.syntax import ast

if TYPE_CHECKING:
    from archdsl.semantics.expressions import Expressions


def written_size(expressions: Expressions, node: ast.Expression, env: Environment) -> Dim | None:
    """The size that an expression of a signature is; None where it uses what has failed."""
    if isinstance(node, ast.Chain) and any(operator == "/" for operator, _ in node.rest):
        raise Problem(problems.size_quotient(node.span))
    is_new = isinstance(node, ast.Name) and _is_unknown(node, env)
    if isinstance(node, ast.Name) and is_new and node.text[0].islower():
        raise Problem(problems.lower_case_size(node.span, node.text))
    value = expressions.evaluate(node, env)
    if isinstance(value, Unknown):
        return None
    if not isinstance(value, Dim):
        raise Problem(problems.wrong_kind(node.span, "a size", describe(value)))
    return value


def _is_unknown(name: ast.Name, env: Environment) -> bool:
    """Whether a name means nothing here, not even an operator."""
    is_known = env.find(name.text) is not None or name.text in env.file.names()
    return not is_known and name.text not in REGISTRY
