"""Python formulas over parameters and sizes: read, computed, and written with new names."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from archdsl.backends.python.layout import (
    CONJUNCTION,
    DISJUNCTION,
    OPEN,
    SUM,
    Code,
    call,
    infix,
    prefix,
    tuple_of,
)
from archdsl.backends.python.naming import string

LONGEST: Final = 1000

_BINARY: Final[Mapping[type[ast.operator], tuple[str, Callable[[Any, Any], Any]]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", lambda a, b: a / b),
    ast.FloorDiv: ("//", lambda a, b: a // b),
    ast.Mod: ("%", operator.mod),
    ast.Pow: ("**", lambda a, b: a**b),
}
_COMPARE: Final[Mapping[type[ast.cmpop], tuple[str, Callable[[Any, Any], bool]]]] = {
    ast.Eq: ("==", operator.eq),
    ast.NotEq: ("!=", operator.ne),
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
}
_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "max": max,
    "min": min,
    "int": int,
    "float": float,
}


class NoFormulaError(Exception):
    """A text that is not a formula which can be written and computed here."""


@dataclass(frozen=True, slots=True)
class Formula:
    """A text in Python's syntax; equal where the text is equal."""

    text: str

    @property
    def tree(self) -> ast.expr:
        return _parse(self.text)

    @property
    def names(self) -> tuple[str, ...]:
        """The variables it reads, in order, once each."""
        found = (node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name))
        return tuple(dict.fromkeys(name for name in found if name not in _FUNCTIONS))

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """The value at these values of its variables; NoFormulaError where it has none."""
        try:
            return _evaluate(self.tree, values)
        except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as problem:
            raise NoFormulaError(self.text) from problem

    def code(self, variables: Callable[[str], Code]) -> Code:
        """The formula with its variables written as told."""
        return _write(self.tree, variables)


@lru_cache(maxsize=4096)
def _parse(text: str) -> ast.expr:
    if len(text) > LONGEST or "`" in text:
        raise NoFormulaError(text)
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
        raise NoFormulaError(text) from problem


def _evaluate(tree: ast.expr, values: Mapping[str, Any]) -> Any:
    match tree:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return values[name]
        case ast.BinOp(left=left, op=op, right=right):
            first, second = _evaluate(left, values), _evaluate(right, values)
            if isinstance(op, ast.Pow) and abs(second) > 64:
                raise NoFormulaError("a power beyond 64")
            return _BINARY[type(op)][1](first, second)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand, values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _evaluate(operand, values)
        case ast.BoolOp(op=op, values=operands):
            wanted = isinstance(op, ast.Or)
            return (
                wanted
                if any(bool(_evaluate(o, values)) is wanted for o in operands)
                else not wanted
            )
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            return _compare(left, ops, comparators, values)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _evaluate(body if _evaluate(test, values) else orelse, values)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return _FUNCTIONS[name](*(_evaluate(argument, values) for argument in arguments))
        case ast.Subscript(value=value, slice=index):
            return _evaluate(value, values)[_evaluate(index, values)]
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return tuple(_evaluate(item, values) for item in items)
        case _:
            raise NoFormulaError(type(tree).__name__)


def _compare(
    left: ast.expr, ops: list[ast.cmpop], comparators: list[ast.expr], values: Mapping[str, Any]
) -> bool:
    first = _evaluate(left, values)
    for op, comparator in zip(ops, comparators, strict=True):
        second = _evaluate(comparator, values)
        if not _COMPARE[type(op)][1](first, second):
            return False
        first = second
    return True


def _write(tree: ast.expr, variables: Callable[[str], Code]) -> Code:
    match tree:
        case ast.Constant(value=value):
            return literal(value)
        case ast.Name(id=name):
            return variables(name)
        case ast.BinOp(left=left, op=op, right=right):
            return infix(_BINARY[type(op)][0], _write(left, variables), _write(right, variables))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return prefix("-", _write(operand, variables))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return prefix("not", _write(operand, variables))
        case ast.BoolOp(op=op, values=operands):
            return _junction(isinstance(op, ast.Or), [_write(o, variables) for o in operands])
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            pieces = [_write(left, variables).within(SUM)]
            for comparison, comparator in zip(ops, comparators, strict=True):
                symbol = _COMPARE[type(comparison)][0]
                pieces += [symbol, _write(comparator, variables).within(SUM)]
            return Code(" ".join(pieces), infix("==", Code("a"), Code("b")).strength)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            parts = [_write(part, variables).within(DISJUNCTION) for part in (body, test, orelse)]
            return Code("{} if {} else {}".format(*parts), OPEN)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return call(name, [_write(argument, variables) for argument in arguments])
        case ast.Subscript(value=value, slice=index):
            return Code(f"{_write(value, variables).text}[{_write(index, variables).text}]")
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return tuple_of([_write(item, variables) for item in items])
        case _:
            raise NoFormulaError(type(tree).__name__)


def _junction(disjunction: bool, operands: list[Code]) -> Code:
    strength = DISJUNCTION if disjunction else CONJUNCTION
    text = (" or " if disjunction else " and ").join(o.within(strength + 1) for o in operands)
    return Code(text, strength)


def literal(value: object) -> Code:
    """A number, a truth value, a text or None."""
    if isinstance(value, str):
        return Code(string(value))
    if isinstance(value, bool) or value is None:
        return Code(repr(value))
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, int):
        return Code(str(value)) if value >= 0 else prefix("-", Code(str(-value)))
    raise NoFormulaError(repr(value))


def _float(value: float) -> Code:
    text = repr(value)
    if text.lstrip("-") in ("inf", "nan"):
        return call("float", [Code(string(text))])
    return prefix("-", Code(text[1:])) if text.startswith("-") else Code(text)
