"""Mistakes that people make: one error, at the right place, with what to write instead."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from archdsl import api
from archdsl.diagnostics import ArchError
from archdsl.ir.op import REGISTRY
from archdsl.problems import elsewhere
from archdsl.semantics.statics import FUNCTIONS

RIGHT = """edition 2026

block Two(width: int)(x: [N, C, H, W]) {
  x = x -> a: Conv(width, 3, padding=1) -> relu
  return x -> b: Conv(width, 3, padding=1)
}

model net(image: [N, 3, H, W]) -> [N, 10] {
  x = image -> Two(8) -> global_avg_pool -> flatten
  y = x -> mid: Linear(8)
  return y -> fc: Linear(10)
}
"""


class Row(NamedTuple):
    """A part of the right text, what is written instead, and what is said of that."""

    right: str
    wrong: str
    code: str
    underlined: str
    help: str
    fixed: bool
    """Whether a fix is proposed with which the text compiles."""


ROWS = (
    Row(
        "padding=1) -> relu\n",
        "padding=1 -> relu\n",
        "unclosed-bracket",
        "(",
        "write `)` where it ends",
        fixed=False,
    ),
    Row(
        "  return x -> b: Conv(width, 3, padding=1)\n}",
        "  return x -> b: Conv(width, 3, padding=1)\n",
        "unclosed-bracket",
        "{",
        "write `}` where it ends",
        fixed=False,
    ),
    Row(
        "Linear(8)\n", "Linear(8\n", "unclosed-bracket", "(", "write `)` where it ends", fixed=False
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  self.mid = Linear(8)",
        "syntax-error",
        "self.mid = Linear(8)",
        "write `x -> mid: Linear(8)`",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x\n  y += x",
        "syntax-error",
        "y += x",
        "write `y = y + x`",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x\n  for i in range(3):\n    y = y + x",
        "syntax-error",
        "for i in range(3):",
        "write `for i in 0..3 { … }`",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x\n  for i in range(3) {\n    y = y + x\n  }",
        "unknown-name",
        "range",
        "loops count as in `for i in 0..n { … }`",
        fixed=False,
    ),
    Row(
        "Conv(width, 3, padding=1) -> relu",
        "Conv(width 3, padding=1) -> relu",
        "syntax-error",
        "3",
        "arguments and items are separated by `,`",
        fixed=True,
    ),
    Row(
        "Conv(width, 3, padding=1) -> relu",
        "Conv(width, (3, 3), padding=1) -> relu",
        "syntax-error",
        "(3, 3)",
        "write `[3, 3]`",
        fixed=True,
    ),
    Row(
        "-> [N, 10] {",
        ":",
        "syntax-error",
        "model net(image: [N, 3, H, W]) :",
        "end this line with `{` instead of `:`, and the body with `}`",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x @ x",
        "unexpected-character",
        "x @ x",
        "a matrix product is `matmul(x, x)`",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x => relu",
        "syntax-error",
        "=>",
        "write `->`",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x | relu",
        "unexpected-character",
        "|",
        "write `->`",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> rearrange('N C -> N C')",
        "unexpected-character",
        "'N C -> N C'",
        'write `"N C -> N C"`',
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x[:, 1:4]",
        "syntax-error",
        "x[:, 1:4]",
        "write `x -> slice(axis=0, start=1, end=4)`",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  if x.training:\n    y = x",
        "syntax-error",
        "if x.training:",
        "end this line with `{` instead of `:`, and the body with `}`",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> mid: Linear(8) -> -> relu",
        "syntax-error",
        "-> ->",
        "write it once",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> mid Linear(8)",
        "syntax-error",
        "Linear",
        "a label or parameter has a `:` before what it is",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = -> mid: Linear(8)",
        "syntax-error",
        " ->",
        "write `x -> …`",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> mid: Linear(8)]",
        "syntax-error",
        "]",
        "remove it, or write its partner where it begins",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> mid: Linear(8))",
        "syntax-error",
        ")",
        "remove it, or write its partner where it begins",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = relu(x) if true else x",
        "syntax-error",
        "= relu(x) if true else x",
        "write `if true then relu(x) else x`",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  let y = x",
        "syntax-error",
        "let y",
        "write `y = …`",
        fixed=True,
    ),
    Row("  y = x -> mid: Linear(8)", "  y := x", "syntax-error", ":=", "write `=`", fixed=True),
    Row(
        "  y = x -> mid: Linear(8)", "  y = x * .5", "syntax-error", ".5", "write `0.5`", fixed=True
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> mid: Linear(8,, 3)",
        "syntax-error",
        ",",
        "arguments are separated by one comma; statements by a new line or `;`",
        fixed=False,
    ),
    Row(
        "model net",
        "def net",
        "syntax-error",
        "def net(image: [N, 3, H, W]) -> [N, 10] {",
        "a part with a name is `block Name(parameters)(inputs) { … }`, the whole is a `model`",
        fixed=False,
    ),
    Row(
        "edition 2026\n",
        "import torch\nedition 2026\n",
        "syntax-error",
        "import torch",
        "operators are known by their names; blocks are imported by `import std.vision (Name)`",
        fixed=False,
    ),
    Row(
        "edition 2026\n",
        "edition 2026\nimport torch.nn as nn\n",
        "syntax-error",
        "import torch.nn as nn",
        "operators are known by their names; blocks are imported by `import std.vision (Name)`",
        fixed=False,
    ),
    Row(
        "edition 2026\n",
        "edition 2026\nfrom torch import nn\n",
        "syntax-error",
        "from torch import nn",
        "operators are known by their names; blocks are imported by `import std.vision (Name)`",
        fixed=False,
    ),
    Row(
        "edition 2026\n",
        "edition 2026\nclass Net(nn.Module):\n    pass\n",
        "syntax-error",
        "class Net(nn.Module):",
        "a part with a name is `block Name(parameters)(inputs) { … }`, the whole is a `model`",
        fixed=False,
    ),
    Row(
        "  return y -> fc: Linear(10)\n}",
        "  return y -> fc: Linear(10)\n}\n}",
        "syntax-error",
        "}",
        "remove it, or write its partner where it begins",
        fixed=True,
    ),
    Row(
        "x: [N, C, H, W]",
        "x: (N, C, H, W)",
        "syntax-error",
        "(N, C, H, W)",
        "write `[N, C, H, W]`",
        fixed=True,
    ),
    Row(
        "x: [N, C, H, W]",
        "x: [N C H W]",
        "syntax-error",
        "C",
        "arguments and items are separated by `,`",
        fixed=False,
    ),
    Row(
        "x: [N, C, H, W]",
        "x [N, C, H, W]",
        "syntax-error",
        "[",
        "a label or parameter has a `:` before what it is",
        fixed=True,
    ),
    Row(
        "(width: int)", "(int width)", "syntax-error", "int width", "write `width: int`", fixed=True
    ),
    Row(
        "(width: int)",
        "(width int)",
        "syntax-error",
        "int",
        "a label or parameter has a `:` before what it is",
        fixed=True,
    ),
    Row(
        "image: [N, 3, H, W]",
        "image: [?, 3, H, W]",
        "unexpected-character",
        "?",
        "any size is a capital name: `N`",
        fixed=False,
    ),
    Row(
        "Linear(10)",
        "Linear(10, 'bias')",
        "unexpected-character",
        "'bias'",
        'write `"bias"`',
        fixed=False,
    ),
    Row(
        "Linear(10)",
        'Linear(10) -> rearrange("N C)',
        "unexpected-character",
        '"N C)',
        'a string ends with `"` on the line on which it begins',
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x && x",
        "unexpected-character",
        "&&",
        "write `and`",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x ? x : x",
        "unexpected-character",
        "x ? x : x",
        "a choice is `if x then x else x`",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = lambda z: z",
        "syntax-error",
        "lambda z: z",
        "make a `block`",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = [x for i in 0..3]",
        "syntax-error",
        "[x for i in 0..3]",
        "write the list out; layers are repeated by `repeat n { … }` or `for i in a..b { … }`",
        fixed=False,
    ),
    Row(
        "-> [N, 10] {",
        "-> [N, 10\n{",
        "unclosed-bracket",
        "[",
        "write `]` where it ends",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> {\n    Linear(8)\n",
        "unclosed-bracket",
        "{",
        "write `}` where it ends",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  while true { y = x }",
        "syntax-error",
        "while true { y = x }",
        "loops are `for i in a..b { … }` and `repeat n { … }`, so that every program ends",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x\n  y++",
        "syntax-error",
        "++",
        "write `n = n + 1`",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> Linear(*a)",
        "syntax-error",
        "*",
        "name each: `Layer(a=1, b=2)`",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> nn.Conv2d(3, 16, 3)",
        "unknown-weight",
        "nn.Conv2d",
        "there is no `nn` here: write `Conv`; ranks and input widths are inferred",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> nn.Linear(8)",
        "unknown-weight",
        "nn.Linear",
        "there is no `nn` here: write `Linear`",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> Conv2d(16, 3)",
        "unknown-name",
        "Conv2d",
        "the rank is that of the input: it is called `Conv` here",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> Dense(8)",
        "unknown-name",
        "Dense",
        "it is called `Linear` here",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> mid: Linear(in_features=3, out_features=8)",
        "unknown-argument",
        "in_features=3",
        "the width of the input is inferred: leave `in_features` out",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> mid: Linear(8, 16)",
        "too-many-arguments",
        "16",
        "the width of the input is inferred: leave it out",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> BatchNorm(32)",
        "too-many-arguments",
        "32",
        "the width of the input is inferred: leave it out",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> BatchNorm(num_features=8)",
        "unknown-argument",
        "num_features=8",
        "the width of the input is inferred: leave `num_features` out",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> softmax(dim=1)",
        "unknown-argument",
        "dim=1",
        "it is called `axis` here",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> linear(8)",
        "wrong-kind",
        "linear(8)",
        "the layer with a weight of its own is `Linear`",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        '  y = x -> Linear(8, activation="relu")',
        "unknown-argument",
        'activation="relu"',
        "an activation is a stage of its own: `-> relu`",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> Linear(units=8)",
        "unknown-argument",
        "units=8",
        "it is called `out_features` here",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> Dropout(rate=0.5)",
        "unknown-argument",
        "rate=0.5",
        "it is called `p` here",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> cat",
        "unknown-name",
        "cat",
        "it is called `concat` here",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> MaxPool2d(2)",
        "unknown-name",
        "MaxPool2d",
        "the rank is that of the input: it is called `MaxPool` here",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> max_pool2d(2)",
        "unknown-name",
        "max_pool2d",
        "the rank is that of the input: it is called `max_pool` here",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> view(N, 8)",
        "unknown-name",
        "view",
        "it is called `reshape` here",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> F.relu",
        "unknown-weight",
        "F.relu",
        "there is no `F` here: write `relu`",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> torch.relu",
        "unknown-weight",
        "torch.relu",
        "there is no `torch` here: write `relu`",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> LayerNorm(8)",
        "shape-mismatch",
        "LayerNorm(8)",
        "the width is inferred; a number says over how many axes",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> LayerNorm(normalized_shape=8)",
        "unknown-argument",
        "normalized_shape=8",
        "the width of the input is inferred: leave `normalized_shape` out",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> Sequential(Linear(8))",
        "unknown-name",
        "Sequential",
        "layers in a row are a pipeline: `x -> Linear(8) -> ReLU`",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> Gelu",
        "unknown-name",
        "Gelu",
        "did you mean `GELU`, `gelu` or `elu`?",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> Relu",
        "unknown-name",
        "Relu",
        "did you mean `ReLU`, `relu` or `elu`?",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> RELU",
        "unknown-name",
        "RELU",
        "did you mean `ReLU`, `relu` or `ELU`?",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> LSTM(8)",
        "shape-mismatch",
        "LSTM(8)",
        "give a single sequence a batch axis of size 1",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> sum(dim=1)",
        "unknown-argument",
        "dim=1",
        "it is called `axis` here",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> mean(axis=-1, keepdims=true)",
        "unknown-argument",
        "keepdims=true",
        "it is called `keepdim` here",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> Linear(True)",
        "unknown-name",
        "True",
        "it is called `true` here",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> Linear(bias=false)",
        "missing-argument",
        "Linear(bias=false)",
        "write it as in `Linear(out_features)`",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x -> Linear()",
        "missing-argument",
        "Linear()",
        "write it as in `Linear(out_features)`",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x.view(N, -1)",
        "unknown-weight",
        "x.view",
        "no dot leads to an operator: write `x -> reshape`",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x.relu()",
        "unknown-weight",
        "x.relu",
        "no dot leads to an operator: write `x -> relu`",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x.shape[0]",
        "unknown-weight",
        "x.shape",
        "sizes have names: `[N, C, H, W]` in the signature makes `N` to `W` usable",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = relu(x).sum()",
        "no-such-attribute",
        "relu(x).sum",
        "no dot leads to an operator: write `… -> sum`",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = torch.cat([x, x], dim=1)",
        "unknown-weight",
        "torch.cat",
        "there is no `torch` here: write `concat`",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = concat(x, x, dim=1)",
        "unknown-argument",
        "dim=1",
        "it is called `axis` here",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x[0]",
        "wrong-operand",
        "x",
        "one place of an axis is `x -> select(axis=0, index=0)`, several are a `slice`",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = F.relu(x)",
        "unknown-weight",
        "F.relu",
        "there is no `F` here: write `relu`",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = np.zeros(3)",
        "unknown-weight",
        "np.zeros",
        "there is no `np` here: write `zeros`",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = True",
        "unknown-name",
        "True",
        "it is called `true` here",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x == None",
        "unknown-name",
        "None",
        "it is called `none` here",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = nn.Linear(8)(x)",
        "unknown-weight",
        "nn.Linear",
        "there is no `nn` here: write `Linear`",
        fixed=True,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = self.fc(x)",
        "unknown-weight",
        "self.fc",
        "there is no `self`: a layer stands where it is used, `x -> fc: …`",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = print(x)",
        "unknown-name",
        "print",
        "nothing is printed; `archdsl summary` shows every shape",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x.T",
        "unknown-weight",
        "x.T",
        "write `x -> transpose(0, 1)`",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = x.size(0)",
        "unknown-weight",
        "x.size",
        "sizes have names: `[N, C, H, W]` in the signature makes `N` to `W` usable",
        fixed=False,
    ),
    Row(
        "  y = x -> mid: Linear(8)",
        "  y = unsqueeze(x, dim=0)",
        "unknown-argument",
        "dim=0",
        "it is called `axis` here",
        fixed=False,
    ),
    Row(
        "[N, 3, H, W]",
        "[batch, 3, H, W]",
        "unknown-name",
        "batch",
        "the name of a new size begins with a capital: `Batch`",
        fixed=True,
    ),
    Row(
        "[N, 3, H, W]",
        "[N, 3, H / 2, W]",
        "wrong-kind",
        "H / 2",
        "write `//`, which rounds down, or `ceildiv(a, b)`, which rounds up",
        fixed=False,
    ),
    Row(
        "image: [N, 3, H, W]",
        "image",
        "untyped-model-input",
        "image",
        "write its axes: `image: [N, 3, H, W]`",
        fixed=False,
    ),
    Row(
        "image: [N, 3, H, W]",
        "image: Tensor",
        "untyped-model-input",
        "image: Tensor",
        "write its axes: `image: [N, 3, H, W]`",
        fixed=False,
    ),
    Row(
        "image: [N, 3, H, W]",
        "image: float[N, 3, H, W]",
        "unknown-type",
        "float[N, 3, H, W]",
        "parameters are `int`, `float`, `bool`, `str`, `layer` or lists such as `int[4]`; "
        "inputs are `[N, C, H, W]` or `int64[B, T]`",
        fixed=False,
    ),
    Row("-> [N, 10]", "-> [N, 1000]", "signature-mismatch", "1000", "declare `10`", fixed=False),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.wrong.strip())
def test_a_mistake_is_explained_where_it_is(row: Row) -> None:
    text = RIGHT.replace(row.right, row.wrong, 1)
    (problem,) = api.check(text).diagnostics
    assert problem.code == row.code
    assert problem.span is not None
    assert text[problem.span.start : problem.span.end] == row.underlined
    assert problem.help[0] == row.help
    if row.fixed:
        assert problem.fix is not None
        start, end = problem.fix.span.start, problem.fix.span.end
        fixed = text[:start] + problem.fix.replacement + text[end:]
        assert api.check(fixed).ok, fixed


def test_errors_of_other_declarations_show_beside_one_of_syntax() -> None:
    text = RIGHT.replace("Linear(8)\n", "Linear(8\n") + (
        "\nmodel other(x: [N, 8]) -> [N, 9] {\n  return x -> Linear(8)\n}\n"
        "\nmodel third(x: [N, 8]) -> [N, 9] {\n  return x => Linear(8)\n}\n"
    )
    codes = [problem.code for problem in api.check(text).diagnostics]
    assert codes == ["unclosed-bracket", "syntax-error", "signature-mismatch"]


def test_what_uses_a_broken_declaration_is_not_an_error_too() -> None:
    text = RIGHT.replace("padding=1) -> relu", "padding=1 -> relu")
    assert [problem.code for problem in api.check(text).diagnostics] == ["unclosed-bracket"]
    with pytest.raises(ArchError, match="never closed"):
        api.load(text, "net")


def test_what_things_are_called_here_exists_here() -> None:
    known = {*REGISTRY, *FUNCTIONS, "true", "false", "none"}
    assert set(elsewhere.NAMES.values()) <= known
    assert elsewhere.NAMES.keys().isdisjoint(known)
    assert elsewhere.SENTENCES.keys().isdisjoint(known)
    attributes = {field for operator in REGISTRY.values() for field in operator.model_fields}
    assert set(elsewhere.ARGUMENTS.values()) <= attributes
