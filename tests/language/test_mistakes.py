"""Mistakes that people make: one error, at the right place, with what to write instead."""

from __future__ import annotations

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

MISTAKES = {
    "padding=1) -> relu\n": (
        ("padding=1 -> relu\n", "unclosed-bracket", "(", "write `)` where it ends", False),
    ),
    "  return x -> b: Conv(width, 3, padding=1)\n}": (
        ("  return x -> b: Conv(width, 3, padding=1)\n", "unclosed-bracket", "{",
         "write `}` where it ends", False),
    ),
    "Linear(8)\n": (
        ("Linear(8\n", "unclosed-bracket", "(", "write `)` where it ends", False),
    ),
    "  y = x -> mid: Linear(8)": (
        ("  self.mid = Linear(8)", "syntax-error", "self.mid = Linear(8)",
         "write `x -> mid: Linear(8)`", False),
        ("  y = x\n  y += x", "syntax-error", "y += x", "write `y = y + x`", True),
        ("  y = x\n  for i in range(3):\n    y = y + x", "syntax-error", "for i in range(3):",
         "write `for i in 0..3 { … }`", False),
        ("  y = x\n  for i in range(3) {\n    y = y + x\n  }", "unknown-name", "range",
         "loops count as in `for i in 0..n { … }`", False),
        ("  y = x @ x", "unexpected-character", "x @ x",
         "a matrix product is `matmul(x, x)`", False),
        ("  y = x => relu", "syntax-error", "=>", "write `->`", True),
        ("  y = x | relu", "unexpected-character", "|", "write `->`", True),
        ("  y = x -> rearrange('N C -> N C')", "unexpected-character", "'N C -> N C'",
         'write `"N C -> N C"`', True),
        ("  y = x[:, 1:4]", "syntax-error", "x[:, 1:4]",
         "write `x -> slice(axis=0, start=1, end=4)`", False),
        ("  if x.training:\n    y = x", "syntax-error", "if x.training:",
         "end this line with `{` instead of `:`, and the body with `}`", False),
        ("  y = x -> mid: Linear(8) -> -> relu", "syntax-error", "-> ->", "write it once", True),
        ("  y = x -> mid Linear(8)", "syntax-error", "Linear",
         "a label or parameter has a `:` before what it is", True),
        ("  y = -> mid: Linear(8)", "syntax-error", " ->", "write `x -> …`", False),
        ("  y = x -> mid: Linear(8)]", "syntax-error", "]",
         "remove it, or write its partner where it begins", True),
        ("  y = x -> mid: Linear(8))", "syntax-error", ")",
         "remove it, or write its partner where it begins", True),
        ("  y = relu(x) if true else x", "syntax-error", "= relu(x) if true else x",
         "write `if true then relu(x) else x`", True),
        ("  let y = x", "syntax-error", "let y", "write `y = …`", True),
        ("  y := x", "syntax-error", ":=", "write `=`", True),
        ("  y = x * .5", "syntax-error", ".5", "write `0.5`", True),
        ("  y = x -> mid: Linear(8,, 3)", "syntax-error", ",",
         "arguments are separated by one comma; statements by a new line or `;`", False),
        ("  y = x && x", "unexpected-character", "&&", "write `and`", False),
        ("  y = x ? x : x", "unexpected-character", "x ? x : x",
         "a choice is `if x then x else x`", False),
        ("  y = lambda z: z", "syntax-error", "lambda z: z", "make a `block`", False),
        ("  y = [x for i in 0..3]", "syntax-error", "[x for i in 0..3]",
         "write the list out; layers are repeated by `repeat n { … }` or `for i "
         "in a..b { … }`", False),
        ("  y = x -> {\n    Linear(8)\n", "unclosed-bracket", "{",
         "write `}` where it ends", False),
        ("  while true { y = x }", "syntax-error", "while true { y = x }",
         "loops are `for i in a..b { … }` and `repeat n { … }`, so that every "
         "program ends", False),
        ("  y = x\n  y++", "syntax-error", "++", "write `n = n + 1`", False),
        ("  y = x -> Linear(*a)", "syntax-error", "*", "name each: `Layer(a=1, b=2)`", False),
        ("  y = x -> nn.Conv2d(3, 16, 3)", "unknown-weight", "nn.Conv2d",
         "there is no `nn` here: write `Conv`; ranks and input widths are inferred", False),
        ("  y = x -> nn.Linear(8)", "unknown-weight", "nn.Linear",
         "there is no `nn` here: write `Linear`", True),
        ("  y = x -> Conv2d(16, 3)", "unknown-name", "Conv2d",
         "the rank is that of the input: it is called `Conv` here", False),
        ("  y = x -> Dense(8)", "unknown-name", "Dense", "it is called `Linear` here", True),
        ("  y = x -> mid: Linear(in_features=3, out_features=8)", "unknown-argument",
         "in_features=3", "the width of the input is inferred: leave `in_features` out", True),
        ("  y = x -> mid: Linear(8, 16)", "too-many-arguments", "16",
         "the width of the input is inferred: leave it out", True),
        ("  y = x -> BatchNorm(32)", "too-many-arguments", "32",
         "the width of the input is inferred: leave it out", True),
        ("  y = x -> BatchNorm(num_features=8)", "unknown-argument", "num_features=8",
         "the width of the input is inferred: leave `num_features` out", True),
        ("  y = x -> softmax(dim=1)", "unknown-argument", "dim=1",
         "it is called `axis` here", True),
        ("  y = x -> linear(8)", "wrong-kind", "linear(8)",
         "the layer with a weight of its own is `Linear`", True),
        ('  y = x -> Linear(8, activation="relu")', "unknown-argument", 'activation="relu"',
         "an activation is a stage of its own: `-> relu`", True),
        ("  y = x -> Linear(units=8)", "unknown-argument", "units=8",
         "it is called `out_features` here", True),
        ("  y = x -> Dropout(rate=0.5)", "unknown-argument", "rate=0.5",
         "it is called `p` here", True),
        ("  y = x -> cat", "unknown-name", "cat", "it is called `concat` here", False),
        ("  y = x -> MaxPool2d(2)", "unknown-name", "MaxPool2d",
         "the rank is that of the input: it is called `MaxPool` here", False),
        ("  y = x -> max_pool2d(2)", "unknown-name", "max_pool2d",
         "the rank is that of the input: it is called `max_pool` here", False),
        ("  y = x -> view(N, 8)", "unknown-name", "view", "it is called `reshape` here", True),
        ("  y = x -> F.relu", "unknown-weight", "F.relu",
         "there is no `F` here: write `relu`", True),
        ("  y = x -> torch.relu", "unknown-weight", "torch.relu",
         "there is no `torch` here: write `relu`", True),
        ("  y = x -> LayerNorm(8)", "shape-mismatch", "LayerNorm(8)",
         "the width is inferred; a number says over how many axes", False),
        ("  y = x -> LayerNorm(normalized_shape=8)", "unknown-argument", "normalized_shape=8",
         "the width of the input is inferred: leave `normalized_shape` out", True),
        ("  y = x -> Sequential(Linear(8))", "unknown-name", "Sequential",
         "layers in a row are a pipeline: `x -> Linear(8) -> ReLU`", False),
        ("  y = x -> Gelu", "unknown-name", "Gelu", "did you mean `GELU`, `gelu` or `elu`?", True),
        ("  y = x -> Relu", "unknown-name", "Relu", "did you mean `ReLU`, `relu` or `elu`?", True),
        ("  y = x -> RELU", "unknown-name", "RELU", "did you mean `ReLU`, `relu` or `ELU`?", True),
        ("  y = x -> LSTM(8)", "shape-mismatch", "LSTM(8)",
         "give a single sequence a batch axis of size 1", False),
        ("  y = x -> sum(dim=1)", "unknown-argument", "dim=1", "it is called `axis` here", False),
        ("  y = x -> mean(axis=-1, keepdims=true)", "unknown-argument", "keepdims=true",
         "it is called `keepdim` here", True),
        ("  y = x -> Linear(True)", "unknown-name", "True", "it is called `true` here", True),
        ("  y = x -> Linear(bias=false)", "missing-argument", "Linear(bias=false)",
         "write it as in `Linear(out_features)`", False),
        ("  y = x -> Linear()", "missing-argument", "Linear()",
         "write it as in `Linear(out_features)`", False),
        ("  y = x.view(N, -1)", "unknown-weight", "x.view",
         "no dot leads to an operator: write `x -> reshape`", False),
        ("  y = x.relu()", "unknown-weight", "x.relu",
         "no dot leads to an operator: write `x -> relu`", False),
        ("  y = x.shape[0]", "unknown-weight", "x.shape",
         "sizes have names: `[N, C, H, W]` in the signature makes `N` to `W` usable", False),
        ("  y = relu(x).sum()", "no-such-attribute", "relu(x).sum",
         "no dot leads to an operator: write `… -> sum`", False),
        ("  y = torch.cat([x, x], dim=1)", "unknown-weight", "torch.cat",
         "there is no `torch` here: write `concat`", False),
        ("  y = concat(x, x, dim=1)", "unknown-argument", "dim=1",
         "it is called `axis` here", True),
        ("  y = x[0]", "wrong-operand", "x",
         "one place of an axis is `x -> select(axis=0, index=0)`, several are a `slice`", False),
        ("  y = F.relu(x)", "unknown-weight", "F.relu", "there is no `F` here: write `relu`", True),
        ("  y = np.zeros(3)", "unknown-weight", "np.zeros",
         "there is no `np` here: write `zeros`", False),
        ("  y = True", "unknown-name", "True", "it is called `true` here", False),
        ("  y = x == None", "unknown-name", "None", "it is called `none` here", False),
        ("  y = nn.Linear(8)(x)", "unknown-weight", "nn.Linear",
         "there is no `nn` here: write `Linear`", True),
        ("  y = self.fc(x)", "unknown-weight", "self.fc",
         "there is no `self`: a layer stands where it is used, `x -> fc: …`", False),
        ("  y = print(x)", "unknown-name", "print",
         "nothing is printed; `archdsl summary` shows every shape", False),
        ("  y = x.T", "unknown-weight", "x.T", "write `x -> transpose(0, 1)`", False),
        ("  y = x.size(0)", "unknown-weight", "x.size",
         "sizes have names: `[N, C, H, W]` in the signature makes `N` to `W` usable", False),
        ("  y = unsqueeze(x, dim=0)", "unknown-argument", "dim=0",
         "it is called `axis` here", False),
        ("  y = x -> relu // the first layer", "syntax-error", "// the first layer",
         "write `# the first layer`", True),
        ("  y = x -> Linear[8)", "unclosed-bracket", "[", "write `]` where it ends", False),
        ("  y = x ->\n", "syntax-error", "return",
         "finish the line above, or remove its `->`", False),
        ("  x -> fc = Linear(8)", "syntax-error", "-> fc =", "write `-> fc: …`", False),
        ("  y = relu(x)[0:2]", "syntax-error", "relu(x)[0:2]",
         "write `relu(x) -> slice(axis=0, start=1, end=4)`", False),
        ("  y = x -> GroupNorm(2, 8)", "too-many-arguments", "8",
         "the width of the input is inferred: leave it out", True),
        ("  y = x -> conv(8, 3)", "wrong-kind", "conv(8, 3)",
         "the layer with a weight of its own is `Conv`", False),
        ("  y = keras.layers.Dense(8)(x)", "unknown-weight", "keras.layers.Dense",
         "there is no `keras.layers` here: write `Linear`", True),
        ("  y = x -> reshape(N, 4 // 2 2)", "syntax-error", "2",
         "arguments and items are separated by `,`", False),
    ),
    "Conv(width, 3, padding=1) -> relu": (
        ("Conv(width 3, padding=1) -> relu", "syntax-error", "3",
         "arguments and items are separated by `,`", True),
        ("Conv(width, (3, 3), padding=1) -> relu", "syntax-error", "(3, 3)",
         "write `[3, 3]`", True),
    ),
    "-> [N, 10] {": (
        (":", "syntax-error", "model net(image: [N, 3, H, W]) :",
         "end this line with `{` instead of `:`, and the body with `}`", False),
        ("-> [N, 10\n{", "unclosed-bracket", "[", "write `]` where it ends", False),
    ),
    "model net": (
        ("def net", "syntax-error", "def net(image: [N, 3, H, W]) -> [N, 10] {",
         "a part with a name is `block Name(parameters)(inputs) { … }`, the "
         "whole is a `model`", False),
    ),
    "edition 2026\n": (
        ("import torch\nedition 2026\n", "syntax-error", "import torch",
         "operators are known by their names; blocks are imported by `import "
         "std.vision (Name)`", False),
        ("edition 2026\nimport torch.nn as nn\n", "syntax-error", "import torch.nn as nn",
         "operators are known by their names; blocks are imported by `import "
         "std.vision (Name)`", False),
        ("edition 2026\nfrom torch import nn\n", "syntax-error", "from torch import nn",
         "operators are known by their names; blocks are imported by `import "
         "std.vision (Name)`", False),
        ("edition 2026\nclass Net(nn.Module):\n    pass\n", "syntax-error", "class Net(nn.Module):",
         "a part with a name is `block Name(parameters)(inputs) { … }`, the "
         "whole is a `model`", False),
        ("edition: 2026\n", "syntax-error", "edition: 2026", "write `edition 2026`", True),
    ),
    "  return y -> fc: Linear(10)\n}": (
        ("  return y -> fc: Linear(10)\n}\n}", "syntax-error", "}",
         "remove it, or write its partner where it begins", True),
    ),
    "x: [N, C, H, W]": (
        ("x: (N, C, H, W)", "syntax-error", "(N, C, H, W)", "write `[N, C, H, W]`", True),
        ("x: [N C H W]", "syntax-error", "C", "arguments and items are separated by `,`", False),
        ("x [N, C, H, W]", "syntax-error", "[",
         "a label or parameter has a `:` before what it is", True),
    ),
    "(width: int)": (
        ("(int width)", "syntax-error", "int width", "write `width: int`", True),
        ("(width int)", "syntax-error", "int",
         "a label or parameter has a `:` before what it is", True),
    ),
    "image: [N, 3, H, W]": (
        ("image: [?, 3, H, W]", "unexpected-character", "?",
         "any size is a capital name: `N`", False),
        ("image", "untyped-model-input", "image", "write its axes: `image: [N, 3, H, W]`", False),
        ("image: Tensor", "untyped-model-input", "image: Tensor",
         "write its axes: `image: [N, 3, H, W]`", False),
        ("image: float[N, 3, H, W]", "unknown-type", "float[N, 3, H, W]",
         "parameters are `int`, `float`, `bool`, `str`, `layer` or lists such "
         "as `int[4]`; inputs are `[N, C, H, W]` or `int64[B, T]`", False),
    ),
    "Linear(10)": (
        ("Linear(10, 'bias')", "unexpected-character", "'bias'", 'write `"bias"`', False),
        ('Linear(10) -> rearrange("N C)', "unexpected-character", '"N C)',
         'a string ends with `"` on the line on which it begins', False),
    ),
    "[N, 3, H, W]": (
        ("[batch, 3, H, W]", "unknown-name", "batch",
         "the name of a new size begins with a capital: `Batch`", True),
        ("[N, 3, H / 2, W]", "wrong-kind", "H / 2",
         "write `//`, which rounds down, or `ceildiv(a, b)`, which rounds up", False),
    ),
    "-> [N, 10]": (
        ("-> [N, 1000]", "signature-mismatch", "1000", "declare `10`", False),
        ("-> N, 10", "syntax-error", "-> N, 10", "write `-> [N, 10]`", True),
    ),
    "block Two": (
        ("bloc Two", "syntax-error", "bloc", "did you mean `block`?", True),
        ("Block Two", "syntax-error", "Block", "did you mean `block`?", True),
    ),
}  # fmt: skip
"""A part of the right text -> what is written instead, and what is said of that: the code, what is
underlined, the first help, and whether a fix is proposed with which the text compiles."""

ROWS = [(right, *row) for right, rows in MISTAKES.items() for row in rows]


@pytest.mark.parametrize(
    ("right", "wrong", "code", "underlined", "help", "fixed"), ROWS, ids=[row[1] for row in ROWS]
)
def test_a_mistake_is_explained_where_it_is(
    right: str, wrong: str, code: str, underlined: str, help: str, fixed: bool
) -> None:
    text = RIGHT.replace(right, wrong, 1)
    (problem,) = api.check(text).diagnostics
    assert problem.code == code
    assert problem.span is not None
    assert text[problem.span.start : problem.span.end] == underlined
    assert problem.help[0] == help
    if fixed:
        assert problem.fix is not None
        start, end = problem.fix.span.start, problem.fix.span.end
        mended = text[:start] + problem.fix.replacement + text[end:]
        assert api.check(mended).ok, mended


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
