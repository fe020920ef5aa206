"""Mistakes of syntax that people make who know Python, PyTorch or another notation, as one table.

A row matches if its pattern matches the line of the error around the place of the error. Its texts
may name the pattern's groups: `{name}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is wrong at a place, and what is right there; the fix replaces `start` up to `end`."""

    message: str
    help: str
    start: int
    end: int
    replacement: str | None = None


@dataclass(frozen=True, slots=True)
class Mistake:
    """A row of the table: what is recognised, what is said, and what replaces it."""

    pattern: re.Pattern[str]
    message: str
    help: str
    replacement: str | None = None


def _mistake(pattern: str, message: str, help: str, replacement: str | None = None) -> Mistake:
    return Mistake(re.compile(pattern), message, help, replacement)


MISTAKES = (
    # ------------------------------------------------------------------------ other characters
    _mistake(
        r"'(?P<text>[^'\"\n]*)'", "a string stands in double quotes", 'write `"{text}"`', '"{text}"'
    ),
    _mistake(
        r'"(?:[^"\\\n]|\\.)*$',
        "this string is not closed on its line",
        'a string ends with `"` on the line on which it begins',
    ),
    _mistake(
        r"//+[ \t]*(?P<text>(?:[^()\[\]{}\n]|\([^()\n]*\)|\[[^\[\]\n]*\])*)(?<!,)$",
        "a comment begins with `#`",
        "write `# {text}`",
        "# {text}",
    ),
    _mistake(
        r"/\*.*", "a comment begins with `#`", "write `#` at the beginning of every line of it"
    ),
    _mistake(r"=>|→|⇒|\|>", "a pipeline is written with `->`", "write `->`", "->"),
    _mistake(r">>|<-", "a pipeline is written with `->`", "write `x -> layer`"),
    _mistake(r"&&", "there is no `&&`", "write `and`", "and"),
    _mistake(r"\|\|", "there is no `||`", "write `or`", "or"),
    _mistake(r"!(?!=)[ \t]*", "there is no `!`", "write `not`", "not "),
    _mistake(r"\|", "a pipeline is written with `->`", "write `->`", "->"),
    _mistake(
        r"\b(?P<a>[A-Za-z_]\w*)[ \t]*@[ \t]*(?P<b>[A-Za-z_]\w*)(?!\w|[(.])",
        "there is no operator `@`",
        "a matrix product is `matmul({a}, {b})`",
        "matmul({a}, {b})",
    ),
    _mistake(r"@", "there is no operator `@`", "a matrix product is `matmul(a, b)`"),
    _mistake(r":=", "a name is bound with `=`", "write `=`", "="),
    _mistake(
        r"(?P<c>[^?\s=(][^?\n=(]*?)[ \t]*\?[ \t]*(?P<a>[^:\n]+?)[ \t]*:[ \t]*(?P<b>[^\n)]+)",
        "there is no `?`",
        "a choice is `if {c} then {a} else {b}`",
    ),
    _mistake(
        r"(?<![\w.])\.(?P<digits>[0-9]+)",
        "a number begins with a digit",
        "write `0.{digits}`",
        "0.{digits}",
    ),
    _mistake(
        r"(?<![\w.])(?P<digits>[0-9]+)\.(?![0-9A-Za-z_.])",
        "a digit follows the decimal point",
        "write `{digits}.0`",
        "{digits}.0",
    ),
    _mistake(
        r"(?<=[\[,])[ \t]*(?:\?|\*(?=[ \t]*[,\]]))",
        "a size has a name or a number",
        "any size is a capital name: `N`",
    ),
    # ------------------------------------------------------------------------- Python's statements
    _mistake(
        r"(?:from[ \t]+[\w.]+[ \t]+import|import[ \t]+(?:torch|keras|numpy|jax)).*$",
        "nothing is imported from Python",
        "operators are known by their names; blocks are imported by `import std.vision (Name)`",
    ),
    _mistake(
        r"(?P<word>def|class|fn|func|function|layer|module|network)\b(?=[ \t]+\w).*$",
        "there is no `{word}`",
        "a part with a name is `block Name(parameters)(inputs) {{ … }}`, the whole is a `model`",
    ),
    _mistake(
        r"\b(?:model|block|cell)[ \t]+\w+[ \t]*\(.*\)[^{\n]*:[ \t]*$",
        "a body stands in braces",
        "end this line with `{{` instead of `:`, and the body with `}}`",
    ),
    _mistake(
        r"\bfor[ \t]+(?P<i>\w+)[ \t]+in[ \t]+range\((?P<n>[^(),\n]+)\)[ \t]*:?[ \t]*(?=\{|$)",
        "a loop counts over a range `a..b`",
        "write `for {i} in 0..{n} {{ … }}`",
    ),
    _mistake(
        r"\bfor[ \t]+(?P<i>\w+)[ \t]+in[ \t]+range\((?P<a>[^(),\n]+),[ \t]*(?P<b>[^(),\n]+)\).*",
        "a loop counts over a range `a..b`",
        "write `for {i} in {a}..{b} {{ … }}`",
    ),
    _mistake(
        r"\bwhile\b.*",
        "there is no `while`",
        "loops are `for i in a..b {{ … }}` and `repeat n {{ … }}`, so that every program ends",
    ),
    _mistake(r"\belif\b", "there is no `elif`", "write `else if`", "else if"),
    _mistake(
        r"\b(?:if|else|for|with|try)\b[^{\n]*:[ \t]*$",
        "a body stands in braces",
        "end this line with `{{` instead of `:`, and the body with `}}`",
    ),
    _mistake(r"\blambda\b.*", "there are no anonymous functions", "make a `block`"),
    _mistake(
        r"\b(?P<word>let|var|const|auto)[ \t]+(?P<name>\w+)",
        "a name is bound without `{word}`",
        "write `{name} = …`",
        "{name}",
    ),
    _mistake(
        r"\bself\.(?P<name>\w+)[ \t]*=(?!=)[ \t]*(?P<layer>[^\n;]+?)[ \t]*(?=$|;)",
        "there is no `self`: a layer stands where it is used",
        "write `x -> {name}: {layer}`",
    ),
    _mistake(
        r"(?P<name>[A-Za-z_]\w*)[ \t]*(?P<op>\*\*|//|[-+*/%])=(?!=)[ \t]*"
        r"(?P<value>[^\n;#]+?)[ \t]*(?=$|;|#)",
        "there is no `{op}=`",
        "write `{name} = {name} {op} {value}`",
        "{name} = {name} {op} {value}",
    ),
    _mistake(r"\+\+|--", "there is no `++` and no `--`", "write `n = n + 1`"),
    _mistake(
        r"=[ \t]*(?P<a>[^\n=]+?)[ \t]+if[ \t]+(?P<c>[^\n]+?)[ \t]+else[ \t]+(?P<b>[^\n]+)",
        "the condition of a choice comes first",
        "write `if {c} then {a} else {b}`",
        "= if {c} then {a} else {b}",
    ),
    _mistake(
        r"\[[^\[\]\n]*\bfor\b[^\[\]\n]*\bin\b[^\[\]\n]*\]?",
        "there are no list comprehensions",
        "write the list out; layers are repeated by `repeat n {{ … }}` or `for i in a..b {{ … }}`",
    ),
    _mistake(
        r"\bis[ \t]+(?P<no>not[ \t]+)?(?=none|None)",
        "there is no `is`",
        "compare with `==` and `!=`",
    ),
    _mistake(
        r"\bnot[ \t]+in\b|\bin\b(?![^\n]*\.\.)",
        "there is no operator `in`",
        "compare with `==`, joined by `or`",
    ),
    # --------------------------------------------------------------------------- Python's values
    _mistake(
        r"(?<=[=,(\[> ])\((?P<items>[^()\n]*,[^()\n]*?),?[ \t]*\)",
        "several values are a list",
        "write `[{items}]`",
        "[{items}]",
    ),
    _mistake(
        r"(?P<x>[A-Za-z_][\w.]*(?:\([^()\n]*\))?)\[[^\]\n]*(?::|\.\.\.)[^\]\n]*\]",
        "an axis is sliced by a function",
        "write `{x} -> slice(axis=0, start=1, end=4)`",
    ),
    _mistake(
        r"(?<=[(,])[ \t]*\*{1,2}(?=[A-Za-z_])",
        "arguments are given one by one",
        "name each: `Layer(a=1, b=2)`",
    ),
    # ------------------------------------------------------------------------- pipelines and words
    _mistake(
        r"^edition[ \t]*[:=][ \t]*(?P<year>[0-9]+)",
        "the edition follows its word",
        "write `edition {year}`",
        "edition {year}",
    ),
    _mistake(
        r"->[ \t]*(?P<label>[A-Za-z_]\w*)[ \t]*=(?!=)",
        "a label is followed by `:`",
        "write `-> {label}: …`",
        "-> {label}:",
    ),
    _mistake(
        r"->[ \t]*(?P<dims>[A-Z]\w*(?:[ \t]*,[ \t]*\w+)+)",
        "a type stands in brackets",
        "write `-> [{dims}]`",
        "-> [{dims}]",
    ),
    _mistake(
        r"->[ \t]*if\b.*",
        "a choice after `->` stands in brackets",
        "write `-> (if … then … else …)`",
    ),
    _mistake(r"->[ \t]*->", "an arrow stands here twice", "write it once", "->"),
    _mistake(
        r"(?<=[(,={])[ \t]*->|^[ \t]*->",
        "a pipeline needs a value on the left of `->`",
        "write `x -> …`",
    ),
    _mistake(
        r"(?:^|->)[ \t]*scan\b.*",
        "a scan gives values, which need a name",
        "a scan begins a pipeline: `ys = scan x over xs(axis=T) {{ … }}`",
    ),
)
"""The first row that matches counts, so what is narrower comes first."""


LONGEST_LINE = 1_000
"""Nobody writes longer lines by hand, and some patterns take time that grows with the square."""


def explained(text: str, offset: int) -> Explanation | None:
    """The mistake that people make who write such a line, if the table has it."""
    start = text.rfind("\n", 0, offset) + 1
    end = text.find("\n", offset)
    line = text[start : len(text) if end < 0 else end].rstrip("\r")
    if len(line) > LONGEST_LINE:
        return None
    for mistake in MISTAKES:
        for match in _around(mistake.pattern, line, offset - start):
            groups = {name: value or "" for name, value in match.groupdict().items()}
            replacement = mistake.replacement
            return Explanation(
                mistake.message.format(**groups),
                mistake.help.format(**groups),
                start + match.start(),
                start + match.end(),
                None if replacement is None else replacement.format(**groups),
            )
    return None


def _around(pattern: re.Pattern[str], line: str, at: int) -> Iterator[re.Match[str]]:
    """The matches on a line that touch a place."""
    return (m for m in pattern.finditer(line) if m.start() <= at <= m.end() and m.group())
