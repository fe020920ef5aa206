"""Builds the syntax tree: one method for every rule of the grammar."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

from lark import Token

from archdsl.source import Span
from archdsl.syntax import ast

Children = list[Any]


class LiteralError(Exception):
    """A number or a string that can't be taken; the reason is for people."""

    def __init__(self, span: Span, reason: str) -> None:
        super().__init__(reason)
        self.span = span
        self.reason = reason


_ESCAPE = re.compile(r"\\.", re.DOTALL)
_ESCAPE_OR_BRACES = re.compile(r"\\.|\{([^{}]*)\}", re.DOTALL)
ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "{": "{", "}": "}"}
INTEGER_DIGITS = 19


KINDS: dict[str, Literal["block", "cell", "model"]] = {
    "BLOCK": "block",
    "CELL": "cell",
    "MODEL": "model",
}


class TreeBuilder:
    """Makes the AST of one file; methods bear the names of the grammar's rules."""

    def __init__(
        self, file: str, parse_expression: Callable[[str, int], ast.Expression], offset: int = 0
    ) -> None:
        """`offset` is where in the file the text begins of which the tokens are."""
        self._file = file
        self._parse_expression = parse_expression
        self._offset = offset

    # ------------------------------------------------------------------------------ spans

    def _token(self, token: Token) -> Span:
        start = self._offset + (token.start_pos or 0)
        return Span(self._file, start, start + len(token))

    def _end(self, item: Any) -> Span:
        return self._token(item) if isinstance(item, Token) else item.span

    def _across(self, children: Sequence[Any]) -> Span:
        present = [child for child in children if child is not None]
        return self._end(present[0]).to(self._end(present[-1]))

    def _name(self, token: Token) -> ast.Name:
        return ast.Name(self._token(token), str(token))

    def _optional_name(self, token: Token | None) -> ast.Name | None:
        return None if token is None else self._name(token)

    # ------------------------------------------------------------------------- file, items

    def file(self, children: Children) -> ast.File:
        edition, *items = children
        items = [item for item in items if item is not None]
        number, span = edition or (None, None)
        whole = Span(self._file, 0, items[-1].span.end if items else 0)
        return ast.File(whole, number, span, tuple(items))

    def edition(self, children: Children) -> tuple[int, Span]:
        return self._integer(children[1]), self._across(children[:2])

    def import_from(self, children: Children) -> ast.Import:
        keyword, path, *names = children
        names = tuple(name for name in names if name is not None)
        if isinstance(path, Token):
            text, is_file = self._string(path), True
            span = self._token(path)
        else:
            text, span, is_file = *path, False
        whole = self._token(keyword).to(names[-1].span)
        return ast.Import(whole, text, is_file, span, names)

    def imported_name(self, children: Children) -> ast.ImportedName:
        name, alias = children
        return ast.ImportedName(
            self._across(children), self._name(name), self._optional_name(alias)
        )

    def dotted_name(self, children: Children) -> tuple[str, Span]:
        return ".".join(children), self._across(children)

    def definition(self, children: Children) -> ast.Definition:
        doc, kind, name, first, second, results, body, end = children
        parameters, ports = ((), first) if second is None else (first, second)
        return ast.Definition(
            self._token(kind).to(self._token(end)),
            KINDS[kind.type],
            self._name(name),
            doc or "",
            parameters,
            ports,
            results or (),
            body,
        )

    def family(self, children: Children) -> ast.Family:
        doc, kind, name, value, body = children
        span = self._token(kind).to(value.span)
        return ast.Family(span, self._name(name), doc or "", value, body or ())

    def file_constant(self, children: Children) -> ast.FileConstant:
        _, name, value = children
        return ast.FileConstant(self._token(name).to(value.span), self._name(name), value)

    def doc(self, children: Children) -> str:
        return "\n".join(line[2:].strip() for line in children)

    def parameters(self, children: Children) -> tuple[ast.Parameter, ...]:
        return tuple(child for child in children if child is not None)

    def parameter(self, children: Children) -> ast.Parameter:
        name, type_, _, preparation, default = children
        span = self._across(children)
        return ast.Parameter(span, self._name(name), type_, preparation, default)

    def results(self, children: Children) -> tuple[ast.Result, ...]:
        return tuple(children)

    def result(self, children: Children) -> ast.Result:
        training, name, type_ = children
        span = self._across(children)
        return ast.Result(span, self._optional_name(name), type_, training is not None)

    def scalar_type(self, children: Children) -> ast.Type:
        return ast.Type(self._token(children[0]), str(children[0]), None)

    def indexed_type(self, children: Children) -> ast.Type:
        name, _, *dims, _ = children
        return ast.Type(self._across(children), str(name), self._dims(dims))

    def tensor_type(self, children: Children) -> ast.Type:
        _, *dims, _ = children
        return ast.Type(self._across(children), None, self._dims(dims))

    def _dims(self, dims: Children) -> tuple[ast.Expression | ast.Ellipsis, ...]:
        return tuple(
            ast.Ellipsis(self._token(dim)) if isinstance(dim, Token) else dim
            for dim in dims
            if dim is not None
        )

    # -------------------------------------------------------------------------- statements

    def body(self, children: Children) -> tuple[ast.Statement, ...]:
        return tuple(child for child in children if child is not None)

    def assignment(self, children: Children) -> ast.Assignment:
        *targets, value = children
        span = self._across(children)
        return ast.Assignment(span, tuple(self._name(target) for target in targets), value)

    def return_statement(self, children: Children) -> ast.Return:
        return ast.Return(self._across(children), tuple(children[1:]))

    def returned(self, children: Children) -> ast.Returned:
        training, name, value = children
        span = self._across(children)
        return ast.Returned(span, self._optional_name(name), value, training is not None)

    def if_statement(self, children: Children) -> ast.If:
        keyword, condition, then, end, otherwise = children
        if isinstance(otherwise, ast.If):
            otherwise = (otherwise,)
        span = self._token(keyword).to(self._token(end))
        return ast.If(span, condition, then, otherwise or ())

    def for_statement(self, children: Children) -> ast.For:
        keyword, variable, start, stop, body, end = children
        span = self._token(keyword).to(self._token(end))
        return ast.For(span, self._name(variable), start, stop, body)

    def require(self, children: Children) -> ast.Require:
        _, condition, message = children
        text = None
        if message is not None:
            text = ast.String(self._token(message), self._string(message))
        return ast.Require(self._across(children), condition, text)

    def expect(self, children: Children) -> ast.Expect:
        return ast.Expect(self._across(children), children[1])

    def weight(self, children: Children) -> ast.WeightDeclaration:
        keyword, name, type_, value = children
        if "{" in name:
            raise LiteralError(self._token(name), "the name of a weight has no `{…}`")
        kind = "parameter" if keyword.type == "PARAM" else "buffer"
        return ast.WeightDeclaration(self._across(children), kind, self._name(name), type_, value)

    def yield_statement(self, children: Children) -> ast.Yield:
        return ast.Yield(self._across(children), tuple(children[1:]))

    def expression(self, children: Children) -> ast.ExpressionStatement:
        value = self.pipeline(children)
        return ast.ExpressionStatement(value.span, value)

    # --------------------------------------------------------------------------- pipelines

    def pipeline(self, children: Children) -> ast.Expression:
        head, *stages = children
        if isinstance(head, ast.Stage) and head.label is None:
            head = head.body
        if not stages:
            return head
        return ast.Pipeline(self._across(children), head, tuple(stages))

    def stage(self, children: Children) -> ast.Stage:
        share, label, body = children
        return ast.Stage(self._across(children), self._label(label), body, share is not None)

    def _label(self, token: Token | None) -> ast.Label | None:
        if token is None:
            return None
        if token.type == "NAME":
            return ast.Label(self._token(token), (str(token),))
        parts = interpolated(str(token), self._token(token).start, self._parse_expression)
        return ast.Label(self._token(token), parts)

    def merge(self, children: Children) -> ast.Merge:
        function, *branches, _ = children
        return ast.Merge(self._across(children), function, tuple(branches))

    def branch(self, children: Children) -> ast.Branch:
        token, *stages = children
        label = self._label(token)
        assert label is not None
        return ast.Branch(self._across(children), label, tuple(stages))

    def scope(self, children: Children) -> ast.Scope:
        return ast.Scope(self._across(children), children[1])

    def repeat(self, children: Children) -> ast.Repeat:
        _, count, share, index, body, _ = children
        name = None if index is None else str(index)
        return ast.Repeat(self._across(children), count, share is not None, name, body)

    def scan(self, children: Children) -> ast.Scan:
        _, reverse, elements, sequences, carries, body, _ = children
        span = self._across(children)
        return ast.Scan(span, reverse is not None, elements, sequences, carries or (), body)

    def elements(self, children: Children) -> tuple[ast.Name, ...]:
        return tuple(self._name(child) for child in children)

    def sequences(self, children: Children) -> tuple[ast.Expression, ...]:
        return tuple(children)

    def carries(self, children: Children) -> tuple[ast.Carry, ...]:
        return tuple(children)

    def carry(self, children: Children) -> ast.Carry:
        return ast.Carry(self._across(children), self._name(children[0]), children[1])

    def choice(self, children: Children) -> ast.Choice:
        _, condition, then, otherwise = children
        return ast.Choice(self._across(children), condition, then, otherwise)

    # ------------------------------------------------------------------------- expressions

    def disjunction(self, children: Children) -> ast.Expression:
        return self._logical("or", children)

    def conjunction(self, children: Children) -> ast.Expression:
        return self._logical("and", children)

    def _logical(self, operator: str, children: Children) -> ast.Expression:
        first, *others = children
        return ast.Chain(self._across(children), first, tuple((operator, item) for item in others))

    def negation(self, children: Children) -> ast.Unary:
        return ast.Unary(self._across(children), "not", children[1])

    def negative(self, children: Children) -> ast.Unary:
        return ast.Unary(self._across(children), "-", children[1])

    def _chain(self, children: Children) -> ast.Chain:
        first, *rest = children
        pairs = tuple(zip(map(str, rest[::2]), rest[1::2], strict=True))
        return ast.Chain(self._across(children), first, pairs)

    comparison = sum = product = _chain

    def raised(self, children: Children) -> ast.Expression:
        base, exponent = children
        return ast.Chain(self._across(children), base, (("**", exponent),))

    def call(self, children: Children) -> ast.Call:
        function, *arguments, _ = children
        given = tuple(argument for argument in arguments if argument is not None)
        return ast.Call(self._across(children), function, given)

    def argument(self, children: Children) -> ast.Argument:
        name, value = children
        return ast.Argument(self._across(children), self._optional_name(name), value)

    def index(self, children: Children) -> ast.Index:
        value, index, _ = children
        return ast.Index(self._across(children), value, index)

    def attribute(self, children: Children) -> ast.Attribute:
        value, name = children
        return ast.Attribute(self._across(children), value, str(name))

    def name(self, children: Children) -> ast.Name:
        return self._name(children[0])

    def path(self, children: Children) -> ast.Expression:
        """`layers.0.weight`: attributes, some of them numbers."""
        [token] = children
        span = self._token(token)
        first, *rest = token.split(".")
        value: ast.Expression = ast.Name(span, first)
        for name in rest:
            value = ast.Attribute(span, value, name)
        return value

    def integer(self, children: Children) -> ast.Integer:
        return ast.Integer(self._token(children[0]), self._integer(children[0]))

    def _integer(self, token: Token) -> int:
        digits = token.replace("_", "")
        if len(digits) > INTEGER_DIGITS or int(digits) >= 2**63:
            raise LiteralError(self._token(token), "integers must be smaller than 2^63")
        return int(digits)

    def real(self, children: Children) -> ast.Real:
        return ast.Real(self._token(children[0]), float(children[0].replace("_", "")))

    def string(self, children: Children) -> ast.String:
        return ast.String(self._token(children[0]), self._string(children[0]))

    def _string(self, token: Token) -> str:
        for escape in _ESCAPE.findall(token):
            if escape[1] not in ESCAPES:
                raise LiteralError(self._token(token), f"unknown escape `{escape}`")
        return unescaped(token[1:-1])

    def true(self, children: Children) -> ast.Constant:
        return ast.Constant(self._token(children[0]), True)

    def false(self, children: Children) -> ast.Constant:
        return ast.Constant(self._token(children[0]), False)

    def none(self, children: Children) -> ast.Constant:
        return ast.Constant(self._token(children[0]), None)

    def list_literal(self, children: Children) -> ast.ListLiteral:
        items = tuple(child for child in children[1:-1] if child is not None)
        return ast.ListLiteral(self._across(children), items)


def unescaped(text: str) -> str:
    """The characters that a string's text stands for."""
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda escape: ESCAPES.get(escape[0][1], escape[0]), text)


def interpolated(
    text: str, offset: int, parse_expression: Callable[[str, int], ast.Expression]
) -> tuple[str | ast.Expression, ...]:
    """The literal and `{expression}` parts of a label or message that begins at an offset."""
    parts: list[str | ast.Expression] = []
    position = 0
    for found in _ESCAPE_OR_BRACES.finditer(text):
        if found[1] is None:
            continue
        parts.append(unescaped(text[position : found.start()]))
        parts.append(parse_expression(found[1], offset + found.start(1)))
        position = found.end()
    parts.append(unescaped(text[position:]))
    return tuple(part for part in parts if part != "")
