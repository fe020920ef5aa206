"""A lower bound on the cost of statements, so that huge loops are refused before they run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from archdsl.syntax import ast

STATEMENT_COST: Final = 2
PASS_COST: Final = 3


class Foreseen(NamedTuple):
    """Steps that are taken at least, and whether a `return` may end it all."""

    steps: int
    may_return: bool


def least_steps(statements: Sequence[ast.Statement]) -> Foreseen:
    """The steps of executing these statements once, whatever the values are."""
    steps = 0
    for statement in statements:
        cost, may_return = _least(statement)
        steps += cost
        if may_return:
            return Foreseen(steps, may_return=True)
    return Foreseen(steps, may_return=False)


def _least(statement: ast.Statement) -> Foreseen:
    match statement:
        case ast.Return():
            return Foreseen(STATEMENT_COST, may_return=True)
        case ast.If():
            then, otherwise = least_steps(statement.then), least_steps(statement.otherwise)
            steps = STATEMENT_COST + min(then.steps, otherwise.steps)
            return Foreseen(steps, then.may_return or otherwise.may_return)
        case ast.For(start=ast.Integer(value=start), stop=ast.Integer(value=stop)):
            return least_of_loop(max(0, stop - start), statement)
        case ast.For():
            return Foreseen(STATEMENT_COST, least_steps(statement.body).may_return)
        case _:
            return Foreseen(STATEMENT_COST, may_return=False)


def least_of_loop(passes: int, loop: ast.For) -> Foreseen:
    """The steps of so many passes of a loop."""
    steps, may_return = least_steps(loop.body)
    counted = min(passes, 1) if may_return else passes
    return Foreseen(STATEMENT_COST + counted * (PASS_COST + steps), may_return)
