"""Evaluates expressions: static arithmetic at once, tensor arithmetic as nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from archdsl import problems
from archdsl.ir.op import REGISTRY
from archdsl.ir.types import DType
from archdsl.resources import library_blocks
from archdsl.semantics import statics
from archdsl.semantics.geometry import QUESTIONS
from archdsl.semantics.initialisers import INITIALISERS, initialiser
from archdsl.semantics.problem import Problem
from archdsl.semantics.recurrence import scan
from archdsl.semantics.scope import Environment
from archdsl.semantics.statics import StaticError, Undecided
from archdsl.semantics.values import (
    NOTHING,
    UNKNOWN,
    Evaluated,
    Initialiser,
    Instance,
    Items,
    Nothing,
    Real,
    StaticFunction,
    Template,
    Tensor,
    Tensors,
    Text,
    Truth,
    Unknown,
    as_operand,
    describe,
)
from archdsl.sizes.dims import Dim, DimOverflow, DimTooComplex
from archdsl.source import Span
from archdsl.syntax import ast

if TYPE_CHECKING:
    from archdsl.semantics.body import Body

ELEMENT_TYPES = frozenset(DType)
"""Names that stand for themselves, as in `cast(float32)`."""

TENSOR_OPERATORS = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "div",
    "//": "floor_div",
    "%": "remainder",
    "**": "pow",
    "==": "eq",
    "!=": "ne",
    "<": "lt",
    "<=": "le",
    ">": "gt",
    ">=": "ge",
    "and": "logical_and",
    "or": "logical_or",
}
"""What an operator symbol becomes when a tensor is among its operands."""


class Expressions:
    """Evaluates the expressions of one block."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._handlers: dict[type[ast.Expression], Callable[[Any, Environment], Evaluated]] = {
            ast.Name: self.lookup,
            ast.Integer: self._integer,
            ast.Real: self._real,
            ast.String: self._string,
            ast.Constant: self._constant,
            ast.ListLiteral: self._list,
            ast.Call: self._call,
            ast.Index: self._index,
            ast.Attribute: self._attribute,
            ast.Unary: self._unary,
            ast.Chain: self._chain,
            ast.Choice: self._choice,
            ast.Pipeline: self._flow,
            ast.Stage: self._flow,
            ast.Merge: self._flow,
            ast.Scope: self._flow,
            ast.Repeat: self._flow,
            ast.Scan: self._scan,
        }

    def evaluate(self, node: ast.Expression, env: Environment) -> Evaluated:
        """The value of an expression; a layer without input stays a template."""
        program = self._body.program
        program.enter(node.span)
        try:
            return self._handlers[type(node)](node, env)
        except (DimTooComplex, DimOverflow) as error:
            raise Problem(problems.static_error(node.span, str(error))) from None
        finally:
            program.leave()

    def _integer(self, node: ast.Integer, env: Environment) -> Evaluated:
        return Dim.of(node.value)

    def _real(self, node: ast.Real, env: Environment) -> Evaluated:
        return Real(node.value)

    def _string(self, node: ast.String, env: Environment) -> Evaluated:
        return Text(node.value)

    def _constant(self, node: ast.Constant, env: Environment) -> Evaluated:
        return NOTHING if node.value is None else Truth(node.value)

    def _list(self, node: ast.ListLiteral, env: Environment) -> Evaluated:
        return self._body.program.list_of([self.evaluate(i, env) for i in node.items], node.span)

    def _call(self, node: ast.Call, env: Environment) -> Evaluated:
        return self._body.calls.call(node, env)

    def _scan(self, node: ast.Scan, env: Environment) -> Evaluated:
        return scan(self._body, node, env)

    def _flow(self, node: ast.Expression, env: Environment) -> Evaluated:
        return self._body.pipelines.evaluate(node, env)

    # -------------------------------------------------------------------------------- names

    def lookup(self, node: ast.Name, env: Environment) -> Evaluated:
        """A variable, a block or constant of the file, an operator or a function, in that order."""
        found = env.find(node.text)
        if found is not None:
            return found
        declared = self._body.program.declared(node.text, env.file)
        if declared is not None:
            if isinstance(declared, Template):
                return replace(declared, span=node.span)
            return declared
        if node.text in REGISTRY:
            operator = REGISTRY[node.text]
            return Template(operator, node.span, as_layer=operator.layer == node.text)
        if node.text in statics.FUNCTIONS or node.text in QUESTIONS:
            return StaticFunction(node.text)
        if node.text in INITIALISERS:
            return Initialiser(initialiser(node.text, (), {}, node.span))
        if node.text in ELEMENT_TYPES:
            return Text(node.text)
        known = {*env.names(), *env.file.names(), *REGISTRY, *statics.FUNCTIONS, *QUESTIONS}
        known |= ELEMENT_TYPES | {"true", "false", "none"}
        library = library_blocks().get(node.text)
        raise Problem(problems.unknown_name(node.span, node.text, known, library))

    def _attribute(self, node: ast.Attribute, env: Environment) -> Evaluated:
        """`embedding.weight`: a weight of a labelled layer or of a bound instance."""
        parts = [node.name]
        value: ast.Expression = node.value
        while isinstance(value, ast.Attribute):
            parts.append(value.name)
            value = value.value
        if not isinstance(value, ast.Name):
            raise Problem(problems.no_such_attribute(node.span, node.name, REGISTRY))
        bound = env.find(value.text)
        if isinstance(bound, Unknown):
            return UNKNOWN
        head = bound.path if isinstance(bound, Instance) else value.text
        path = ".".join([head, *reversed(parts)])
        return self._body.weights.called(path, node.span)

    # ----------------------------------------------------------------------------- operators

    def _unary(self, node: ast.Unary, env: Environment) -> Evaluated:
        operand = as_operand(self.evaluate(node.operand, env))
        match operand:
            case Unknown():
                return UNKNOWN
            case Tensor():
                name = "neg" if node.operator == "-" else "logical_not"
                return self._body.calls.tensor_function(name, (operand,), node.span)
            case Truth() if node.operator == "not":
                text = f"not {_bracketed(operand.text)}" if operand.text else None
                return Truth(not operand.value, text)
            case Dim() | Real() if node.operator == "-":
                return statics.negative(operand)
            case _:
                raise Problem(
                    problems.wrong_operand(node.operand.span, node.operator, describe(operand))
                )

    def _chain(self, node: ast.Chain, env: Environment) -> Evaluated:
        operator = node.rest[0][0]
        if operator in ("and", "or"):
            return self._logical(node, operator, env)
        result = self.evaluate(node.first, env)
        if operator in statics.NEGATED:
            return self._comparisons(node, result, env)
        for symbol, operand in node.rest:
            right = self.evaluate(operand, env)
            span = node.first.span.to(operand.span)
            result = self._arithmetic(symbol, result, right, span)
        return result

    def _arithmetic(self, symbol: str, left: Evaluated, right: Evaluated, span: Span) -> Evaluated:
        left, right = as_operand(left), as_operand(right)
        if isinstance(left, Unknown) or isinstance(right, Unknown):
            return UNKNOWN
        if isinstance(left, Tensor) or isinstance(right, Tensor):
            name = TENSOR_OPERATORS[symbol]
            return self._body.calls.tensor_function(name, (left, right), span)
        if isinstance(left, Items) and isinstance(right, Items) and symbol == "+":
            return self._body.program.list_of(left.values + right.values, span)
        for side in (left, right):
            if not isinstance(side, Dim | Real):
                raise Problem(problems.wrong_operand(span, symbol, describe(side)))
        if symbol in statics.DIVISIONS and isinstance(right, Dim):
            self._body.builder.divide(right, span)
        try:
            return statics.arithmetic(symbol, left, right)  # pyright: ignore[reportArgumentType]
        except StaticError as error:
            raise Problem(problems.static_error(span, str(error))) from None

    def _comparisons(self, node: ast.Chain, first: Evaluated, env: Environment) -> Evaluated:
        left, left_span = first, node.first.span
        results: list[Evaluated] = []
        for symbol, operand in node.rest:
            right = self.evaluate(operand, env)
            results.append(self._compare(symbol, left, right, left_span.to(operand.span)))
            left, left_span = right, operand.span
        return self._conjunction(results, "and", node.span)

    def _compare(self, symbol: str, left: Evaluated, right: Evaluated, span: Span) -> Evaluated:
        left, right = as_operand(left), as_operand(right)
        if isinstance(left, Unknown) or isinstance(right, Unknown):
            return UNKNOWN
        asks_for_none = isinstance(left, Nothing) or isinstance(right, Nothing)
        if not asks_for_none and (isinstance(left, Tensor) or isinstance(right, Tensor)):
            name = TENSOR_OPERATORS[symbol]
            return self._body.calls.tensor_function(name, (left, right), span)
        try:
            return statics.compare(symbol, left, right, self._body.builder.facts)
        except StaticError as error:
            raise Problem(problems.static_error(span, str(error))) from None
        except Undecided as undecided:
            raise Problem(problems.undecided_condition(span, str(undecided))) from None

    def _logical(self, node: ast.Chain, operator: str, env: Environment) -> Evaluated:
        results: list[Evaluated] = []
        operands = (node.first, *(operand for _, operand in node.rest))
        for place, operand in enumerate(operands, 1):
            value = self.evaluate(operand, env)
            results.append(value)
            decided = isinstance(value, Truth) and value.value == (operator == "or")
            if decided and not any(isinstance(result, Tensor) for result in results):
                rest = [self._text_alone(each, env) for each in operands[place:]]
                return self._conjunction(results, operator, node.span, rest)
        return self._conjunction(results, operator, node.span)

    def _text_alone(self, node: ast.Expression, env: Environment) -> str | None:
        """The text of an operand that need not be evaluated, if that can have no effect."""
        if not self._is_harmless(node, env):
            return None
        try:
            return statics.text_of(self.evaluate(node, env))
        except Problem:
            return None

    def _is_harmless(self, node: ast.Expression, env: Environment) -> bool:
        """Whether it is made of numbers and names of static values, and divides by numbers only."""
        match node:
            case ast.Integer() | ast.Real() | ast.String() | ast.Constant():
                return True
            case ast.Name():
                return isinstance(env.find(node.text), Dim | Real | Truth | Text | Nothing)
            case ast.Unary():
                return self._is_harmless(node.operand, env)
            case ast.Chain():
                operands = (node.first, *(operand for _, operand in node.rest))
                divisors = [o for symbol, o in node.rest if symbol in statics.DIVISIONS]
                return all(self._is_harmless(o, env) for o in operands) and all(
                    self._is_number(divisor, env) for divisor in divisors
                )
            case _:
                return False

    def _is_number(self, node: ast.Expression, env: Environment) -> bool:
        """Whether it is a literal or a name for a number that is known and not 0."""
        value = self.evaluate(node, env) if isinstance(node, ast.Integer | ast.Name) else None
        return isinstance(value, Dim) and value.value not in (None, 0)

    def _conjunction(
        self,
        results: list[Evaluated],
        operator: str,
        span: Span,
        rest: Sequence[str | None] = (),
    ) -> Evaluated:
        """`and`/`or` of results; of what a static one made irrelevant, the texts are given."""
        if any(isinstance(result, Unknown) for result in results):
            return UNKNOWN
        if len(results) == 1 and not isinstance(results[0], Truth):
            return results[0]
        if any(isinstance(result, Tensor) for result in results):
            combined = results[0]
            for result in results[1:]:
                name = TENSOR_OPERATORS[operator]
                combined = self._body.calls.tensor_function(name, (combined, result), span)
            return combined
        truths: list[Truth] = []
        for result in results:
            if not isinstance(result, Truth):
                raise Problem(problems.wrong_operand(span, operator, describe(result)))
            truths.append(result)
        value = all(t.value for t in truths) if operator == "and" else any(t.value for t in truths)
        if None in rest or not any(truth.text for truth in truths):
            return Truth(value)
        texts = [truth.text or str(truth.value) for truth in truths]
        return Truth(value, f" {operator} ".join(map(_bracketed, [*texts, *filter(None, rest)])))

    # ----------------------------------------------------------------------- other expressions

    def _choice(self, node: ast.Choice, env: Environment) -> Evaluated:
        condition = self.truth(node.condition, env)
        if condition is None:
            return UNKNOWN
        chosen = self.evaluate(node.then if condition.value else node.otherwise, env)
        if condition.text is None:
            return chosen
        is_static = isinstance(chosen, Dim | Real | Truth | Text)
        unchosen = node.otherwise if condition.value else node.then
        other = self._other_text(unchosen, env) if is_static else None
        if other is None:
            self._body.builder.decided(condition)
            return chosen
        mine = statics.text_of(chosen)
        first, second = (mine, other) if condition.value else (other, mine)
        text = f"({first} if {condition.text} else {second})"
        if isinstance(chosen, Dim):
            return chosen.with_origin(Dim.opaque(text, ()))
        return replace(chosen, text=text)

    def _other_text(self, node: ast.Expression, env: Environment) -> str | None:
        """The text of the branch not taken, when it is so simple that it cannot go wrong."""
        if not _is_simple(node):
            return None
        try:
            return statics.text_of(self.evaluate(node, env))
        except Problem:
            return None

    def _index(self, node: ast.Index, env: Environment) -> Evaluated:
        value = self.evaluate(node.value, env)
        index = self.evaluate(node.index, env)
        if isinstance(value, Unknown) or isinstance(index, Unknown):
            return UNKNOWN
        if not isinstance(index, Dim) or index.value is None:
            raise Problem(problems.wrong_operand(node.index.span, "[]", describe(index)))
        items = self._items_of(value, node)
        place = index.value
        if not -len(items) <= place < len(items):
            raise Problem(problems.index_out_of_range(node.index.span, place, len(items)))
        item = items[place]
        text = statics.text_of(value) if isinstance(value, Items) else None
        if isinstance(item, Dim) and text:
            return item.with_origin(Dim.opaque(f"{text}[{index.origin}]", index.origin.symbols))
        return item

    def _items_of(self, value: Evaluated, node: ast.Index) -> tuple[Evaluated, ...]:
        if isinstance(value, Items):
            return value.values
        if isinstance(value, Tensors):
            return value.items
        raise Problem(problems.wrong_operand(node.value.span, "[]", describe(value)))

    # ------------------------------------------------------------------------- expectations

    def truth(self, node: ast.Expression, env: Environment) -> Truth | None:
        """A condition that must be static; None when it already failed."""
        value = self.evaluate(node, env)
        if isinstance(value, Unknown):
            return None
        if not isinstance(value, Truth):
            raise Problem(problems.wrong_kind(node.span, "a static condition", describe(value)))
        return value

    def integer(self, node: ast.Expression, env: Environment) -> Dim | None:
        """A known integer; None when it already failed."""
        value = self.evaluate(node, env)
        if isinstance(value, Unknown):
            return None
        if not isinstance(value, Dim):
            raise Problem(problems.wrong_kind(node.span, "an integer", describe(value)))
        if value.value is None:
            raise Problem(problems.not_constant(node.span, str(value)))
        return value

    def tensor(self, node: ast.Expression, env: Environment) -> Tensor | None:
        """A tensor; None when it already failed."""
        value = as_operand(self._body.pipelines.settle(self.evaluate(node, env), env, node.span))
        if isinstance(value, Unknown):
            return None
        if not isinstance(value, Tensor):
            raise Problem(problems.wrong_kind(node.span, "a tensor", describe(value)))
        return value


def _is_simple(node: ast.Expression) -> bool:
    """Whether it is a name or a literal, or a choice between such."""
    waiting = [node]
    while waiting:
        match waiting.pop():
            case ast.Choice(then=then, otherwise=otherwise):
                waiting += [then, otherwise]
            case ast.Integer() | ast.Real() | ast.String() | ast.Name():
                pass
            case _:
                return False
    return True


def _bracketed(text: str) -> str:
    return f"({text})" if " and " in text or " or " in text else text
