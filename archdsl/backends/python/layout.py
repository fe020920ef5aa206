"""Lays Python code out on one line or on several, as ruff formats it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

LINE_LENGTH = 100
INDENT = "    "

ATOM, POWER, UNARY, PRODUCT, SUM, BITS, COMPARISON, NEGATION, CONJUNCTION, DISJUNCTION, OPEN = (
    range(20, 9, -1)
)
"""How tightly a piece holds together, from a name to a bare tuple."""

_STRENGTHS: Mapping[str, int] = {
    "**": POWER,
    "*": PRODUCT,
    "/": PRODUCT,
    "//": PRODUCT,
    "%": PRODUCT,
    "@": PRODUCT,
    "+": SUM,
    "-": SUM,
    "&": BITS,
    "|": BITS,
    "^": BITS,
    "and": CONJUNCTION,
    "or": DISJUNCTION,
}


@dataclass(frozen=True, slots=True)
class Code:
    """An expression: its text on one line, and the bracket at which it may be broken."""

    text: str
    strength: int = ATOM
    opening: str = ""
    parts: tuple[Code, ...] = ()
    closing: str = ""
    separator: str = ","
    operands: tuple[Code, ...] = ()
    """What operators of one strength join, those after the first with their symbol before them."""

    @property
    def is_simple(self) -> bool:
        """Names, numbers and attributes, which stand without spaces beside `**`."""
        return self.strength == ATOM and _is_word(self.text)

    @property
    def is_simple_power(self) -> bool:
        """What stands without spaces behind `**`: it may have a sign, too."""
        return self.is_simple or (self.strength == UNARY and _is_word(self.text[1:]))

    def within(self, strength: int) -> str:
        """The text as an operand of something that binds with that strength."""
        return self.operand(strength).text

    def operand(self, strength: int) -> Code:
        """The same in brackets unless it binds with that strength."""
        return self if self.strength >= strength else bracket("(", [self], ")", separator="")

    def prefixed(self, prefix: str) -> Code:
        """The same with a text before it, such as `name=` or `*`."""
        operands = self.operands and (self.operands[0].prefixed(prefix), *self.operands[1:])
        text, opening = prefix + self.text, prefix + self.opening
        return replace(self, text=text, opening=opening, operands=operands)


def _is_word(text: str) -> bool:
    return text.replace(".", "").replace("_", "").isalnum()


def bracket(opening: str, parts: Iterable[Code], closing: str, separator: str = ",") -> Code:
    """A bracketed list."""
    items = tuple(parts)
    joint = ", " if separator else " "
    text = opening + joint.join(part.text for part in items) + closing
    return Code(text, ATOM, opening, items, closing, separator)


def call(
    function: str, arguments: Sequence[Code] = (), keywords: Mapping[str, Code] | None = None
) -> Code:
    """`function(arguments, name=keyword)`."""
    named = [value.prefixed(f"{name}=") for name, value in (keywords or {}).items()]
    return bracket(f"{function}(", [*arguments, *named], ")")


def tuple_of(parts: Sequence[Code]) -> Code:
    """`(a, b)`, with the comma that a single element needs."""
    code = bracket("(", parts, ")")
    return replace(code, text=f"({parts[0].text},)") if len(parts) == 1 else code


def list_of(parts: Sequence[Code]) -> Code:
    """`[a, b]`."""
    return bracket("[", parts, "]")


def infix(symbol: str, left: Code, right: Code) -> Code:
    """`left symbol right`; operators of one strength associate to the left."""
    strength = _STRENGTHS.get(symbol, COMPARISON)
    if symbol == "**":
        space = "" if left.is_simple and right.is_simple_power else " "
        return Code(f"{left.within(ATOM)}{space}**{space}{right.within(UNARY)}", strength)
    first = left.operand(strength + 1 if strength == COMPARISON else strength)
    second = right.operand(strength + 1).prefixed(f"{symbol} ")
    before = first.operands if first.strength == strength and first.operands else (first,)
    return Code(f"{first.text} {second.text}", strength, operands=(*before, second))


def prefix(symbol: str, operand: Code) -> Code:
    """`-x`, `~x` or `not x`."""
    if symbol == "not":
        return Code(f"not {operand.within(NEGATION)}", NEGATION)
    return replace(operand.operand(UNARY).prefixed(symbol), strength=UNARY, operands=())


def comprehension(opening: str, element: Code, clauses: Sequence[str], closing: str) -> Code:
    """`opening element for … closing`."""
    return bracket(opening, [element, *map(Code, clauses)], closing, separator="")


def fits(text: str, depth: int) -> bool:
    """Whether a text fits on a line at that depth of indentation."""
    return depth * len(INDENT) + len(text) <= LINE_LENGTH


def lay_out(before: str, code: Code, depth: int, after: str = "") -> list[str]:
    """The lines of `before code after`, broken one argument a line where it is too long."""
    indent = INDENT * depth
    line = f"{before}{code.text}{after}"
    if fits(line, depth) or not code.parts:
        return [indent + line]
    lines = [f"{indent}{before}{code.opening}"]
    inner = " ".join(part.text for part in code.parts)
    if not code.separator and fits(inner, depth + 1):
        lines.append(f"{indent}{INDENT}{inner}")
    else:
        for part in code.parts:
            lines += _lay_out_inside(part, depth + 1, code.separator)
    return [*lines, f"{indent}{code.closing}{after}"]


def _lay_out_inside(code: Code, depth: int, after: str) -> list[str]:
    """The lines of what stands in a bracket, where operators may begin a line."""
    if fits(code.text + after, depth) or not code.operands:
        return lay_out("", code, depth, after)
    *before, last = code.operands
    lines = [line for operand in before for line in _lay_out_inside(operand, depth, "")]
    return lines + _lay_out_inside(last, depth, after)
