"""The rules of docs/language.md, each with programs that keep it and programs that break it."""

from __future__ import annotations

import pytest

from archdsl import api
from archdsl.diagnostics import Diagnostic
from archdsl.ir.model import Model
from archdsl.weights.state_dict import state


def compiled(text: str) -> Model:
    return api.load(f"edition 2026\n{text}").ir


def codes(text: str) -> list[str]:
    return [diagnostic.code for diagnostic in api.check(f"edition 2026\n{text}").diagnostics]


def problem(text: str) -> Diagnostic:
    (found,) = api.check(f"edition 2026\n{text}").diagnostics
    return found


def weights(text: str) -> list[str]:
    return list(state(compiled(text)))


def body(statements: str, signature: str = "(x: [N, 4]) -> [N, 4]") -> str:
    return f"\nmodel m{signature} {{\n{statements}\n}}"


# -------------------------------------------------------------------------- paths of weights

UNIT = """
block Unit(width: int = 4)(x: [N, C]) -> [N, width] {
  return x -> fc: Linear(width, bias=false) -> relu
}
"""

PATHS = {
    "unlabelled layers are numbered in a block, functions are not": (
        "return x -> Linear(4, bias=false) -> relu -> ReLU -> Linear(4, bias=false)",
        ["0.weight", "2.weight"],
    ),
    "a labelled scope numbers its own layers": (
        "return x -> f: { ReLU -> Linear(4, bias=false) } -> Linear(4, bias=false)",
        ["f.1.weight", "0.weight"],
    ),
    "a scope without a label goes on numbering": (
        "return x -> Linear(4, bias=false) -> { ReLU -> Linear(4, bias=false) }",
        ["0.weight", "2.weight"],
    ),
    "scopes nest": (
        "return x -> a: { b: { Linear(4, bias=false) } -> Linear(4, bias=false) }",
        ["a.b.0.weight", "a.0.weight"],
    ),
    "a number that a label has taken is passed over": (
        "return x -> 0: Linear(4, bias=false) -> 1.in: Unit -> Unit -> Linear(4, bias=false)",
        ["0.weight", "1.in.fc.weight", "2.fc.weight", "3.weight"],
    ),
    "a label counts with an expression": (
        "for i in 0..2 { x = x -> layer{i + 1}_{2 * i}: Linear(4, bias=false) }\nreturn x",
        ["layer1_0.weight", "layer2_2.weight"],
    ),
    "a labelled repeat numbers single layers": (
        "return x -> body: repeat 2 { Unit }",
        ["body.0.fc.weight", "body.1.fc.weight"],
    ),
    "a labelled repeat numbers scopes": (
        "return x -> body: repeat 2 { Unit -> Linear(4, bias=false) }",
        ["body.0.0.fc.weight", "body.0.1.weight", "body.1.0.fc.weight", "body.1.1.weight"],
    ),
    "a labelled repeat of a labelled layer": (
        "return x -> body: repeat 2 { fc: Linear(4, bias=false) }",
        ["body.0.fc.weight", "body.1.fc.weight"],
    ),
    "a repeat without a label goes on numbering": (
        "return x -> Unit -> repeat 2 { Unit -> ReLU } -> Unit",
        ["0.fc.weight", "1.fc.weight", "3.fc.weight", "5.fc.weight"],
    ),
    "a repeat without a label in a scope goes on numbering": (
        "return x -> s: { Unit -> repeat 2 { Unit } }",
        ["s.0.fc.weight", "s.1.fc.weight", "s.2.fc.weight"],
    ),
    "a repeat counts": (
        "return x -> body: repeat 3 as i { Linear(4 + (i + 1) % 3, bias=i == 0) }",
        ["body.0.weight", "body.0.bias", "body.1.weight", "body.2.weight"],
    ),
    "a repeat that shares has one layer": (
        "return x -> body: repeat 3 share { Unit } -> repeat 2 share { Unit }",
        ["body.0.fc.weight", "0.fc.weight"],
    ),
    "no repetition is none": ("return x -> body: repeat 0 { Unit } -> Unit", ["0.fc.weight"]),
    "a bound layer has the name it is bound to": (
        "head = Linear(4, bias=false)\nreturn x -> head -> relu -> head",
        ["head.weight"],
    ),
    "a bound block has the name it is bound to": (
        "unit = Unit(4)\nreturn (x -> unit) + unit(x)",
        ["unit.fc.weight"],
    ),
    "a layer without arguments that is bound is applied anew": (
        "u = Unit\nreturn x -> u -> u",
        ["0.fc.weight", "1.fc.weight"],
    ),
    "a label may be said again with `share`": (
        "return x -> a: Linear(4, bias=false) -> relu -> share a: Linear(4, bias=false)",
        ["a.weight"],
    ),
    "a block may be shared by its label": (
        "x = x -> s: { a: Unit(4) -> share a: Unit(4) }\nreturn x -> share s.a: Unit(4)",
        ["s.a.fc.weight"],
    ),
    "a branch of one layer bears the label itself": (
        "return x -> add { a: Unit\nb: { Unit -> Unit }\nc: identity\nd: repeat 2 { Unit } }",
        [
            "a.fc.weight",
            "b.0.fc.weight",
            "b.1.fc.weight",
            "d.0.fc.weight",
            "d.1.fc.weight",
        ],
    ),
    "weights stand before layers": (
        "y = x -> fc: Linear(4, bias=false)\nparam w: [4] = ones\nbuffer b: [4]\nreturn y * w + b",
        ["w", "b", "fc.weight"],
    ),
    "weights in a scope are of the scope": (
        "return x -> s: { param w: [4]\nit * w -> Linear(4, bias=false) }",
        ["s.w", "s.0.weight"],
    ),
    "a dotted label is a path": (
        "param enc.0.w: [4]\nreturn (x -> enc.0.fc: Linear(4, bias=false)) * enc.0.w",
        ["enc.0.w", "enc.0.fc.weight"],
    ),
    "a layer parameter is a new layer wherever it is applied": (
        "return x -> a: { Twice(Linear(4, bias=false)) }",
        ["a.0.0.weight", "a.0.1.weight"],
    ),
    "a choice of layers bears the label": (
        "return x -> fc: (if N == N then Linear(4, bias=false) else Identity)",
        ["fc.weight"],
    ),
}
TWICE = "block Twice(f: layer)(x: [N, C]) -> [N, C] { return x -> f -> f }\n"


@pytest.mark.parametrize(("statements", "paths"), list(PATHS.values()), ids=list(PATHS))
def test_weights_stand_under_their_paths(statements: str, paths: list[str]) -> None:
    if "repeat 3 as i" in statements:
        statements = statements.replace("}", "} -> relu")
    assert weights(UNIT + TWICE + body(statements, "(x: [N, 4])")) == paths


# ---------------------------------------------------------------------- programs that are fine

FINE = {
    "static arithmetic": body("""
        a = 7 // 2 * 2 + 7 % 4 - -1        # 10
        b = 2 ** 10 // a                   # 102
        c = if a > 9 and not b < 100 then [a, b] else [0]
        d = c[0] + c[-1] + len(c) + max(1, 2, 3) + min([4, 5]) + sum([1, 2]) + abs(-1)
        e = ceildiv(7, 2) + int(7 / 2) + int(sqrt(16)) + int(float(3) * 1.5e0)
        expect d == 10 + 102 + 2 + 3 + 4 + 3 + 1
        expect e == 4 + 3 + 4 + 4
        expect 1 < 2 <= 2 != 3 and (true or false) and "a" == "a" and [1] + [2] == [1, 2]
        return x"""),
    "large numbers with underscores": body("expect 1_000 == 1000\nreturn x * 1_0.2_5e-3"),
    "a function with the name of an operator is static for numbers": body(
        "y = max(2, 3) * exp(0.0) + sum([1, 2])\nreturn exp(x -> Linear(4)) * y"
    ),
    "a statement goes on where it cannot end": body("""
        y = x
          -> Linear(4)          # a comment between
          # and one alone
          -> relu
        y = y
          + x
        z = add(
          y,
          x,
        )
        if true { z = z -> relu }
        else { z = z -> gelu }
        return (
          z
        )"""),
    "a list of tensors": body(
        "xs = []\nfor i in 0..3 { x = x -> Linear(4); xs = xs + [x] }\n"
        "y = concat(xs, axis=1) -> Linear(4)\nreturn add(y, xs[0], xs[-1]) + sum(stack(xs), axis=0)"
    ),
    "semicolons": body("a = x -> relu; b = a + x; return a + b"),
    "it": body("return it -> { it + (it -> Linear(4)) } -> { y = it\ny * it }"),
    "names are bound again": body("x = x -> relu\nx = x + x\nreturn x"),
    "a scope binds inside": body("y = x\nz = x -> { y = it -> Linear(2); y }\nreturn y -> relu"),
    "results need no names in a block": UNIT
    + "block Two()(x: [N, C]) -> [N, C], [N, 2] { return x, x -> Linear(2) }\n"
    + body("a, b = x -> Two\nc = x -> Two\nreturn a + c[0] + sum(b + c[1], axis=1, keepdim=true)"),
    "several inputs flow together": "block Sum()(a: [N, C], b: [N, C]) -> [N, C] { return a + b }\n"
    + body("s = Sum()\nreturn s(x, x) + Sum()(b=x, a=x) + (x -> s(b=x)) + s(a=x, b=x)"),
    "a number stands where it is written": body(
        "a = sub(1, x) + div(2.0, x) + pow(2, x) + where(x > 0, 0, x)\n"
        "return maximum(0, x) + minimum(x, 6) + (x -> sub(1)) + sub(b=x, a=3) + a"
    ),
    "operators on tensors": body(
        "a = x + 1 - x * 2 / 3 // 4 % 5 ** 2\n"
        "b = x > 0 and x < 1 or not x == 2\nreturn where(b, -a, a)"
    ),
    "element types are names": body("return (x -> cast(float64) -> cast(float32)) + zeros(N, 4)"),
    "axes are names": body(
        "return x -> softmax(C) -> softmax(axis=N) -> transpose(N, C) -> permute(1, 0)",
        "(x: [N, C]) -> [N, C]",
    ),
    "a name of an axis that is a variable too": body(
        "axis = 1\nreturn (x -> softmax(axis) -> sum(axis, keepdim=true)) + x"
    ),
    "sizes without names": body("return x -> reshape(N, 2, -1) -> reshape([N, 4])"),
    "dims that are expressions": body(
        "return (x -> relu) + y", "(x: [N, T, 2 * T], y: [N, T, 2 * T]) -> [N, T, 2 * T]"
    ),
    "dims in the middle": "block A()(x: [N, ..., C]) -> [N, ..., 2 * C] { x -> Linear(2 * C) }\n"
    + body("a = x -> A\nreturn y -> A", "(x: [N, 3], y: [N, S, T, 3]) -> [N, S, T, 6]"),
    "a dim of the result is named": "block A()(x: [N, L]) -> [N, L2, L2] {\n"
    '  y = x -> slice(1, 0, 2); return einsum("N i, N j -> N i j", y, y) }\n'
    + body("require L >= 2\nreturn x -> A", "(x: [N, L]) -> [N, 2, 2]"),
    "a layer that is a constant keeps its arguments": "NORM = GroupNorm(2, eps=0.5)\nACT = relu\n"
    + body("n = x -> reshape(N, 4, 1) -> NORM -> ACT\nreturn n -> flatten\nexpect params == 8"),
    "a constant of the file": "WIDTH = 4\nNORM = LayerNorm(eps=1e-6)\n"
    + body("return x -> Linear(WIDTH) -> NORM -> NORM", "(x: [N, WIDTH]) -> [N, WIDTH]"),
    "defaults use what stands before": "block A(n: int, k: int = 2 * n)(x: [N, C]) -> [N, k] {\n"
    "  return x -> Linear(k) }\n" + body("return x -> A(2) -> A(n=1, k=4)"),
    "parameters of every kind": """
        block A(n: int, f: float, b: bool, s: str, l: layer, ns: int[2], ls: layer[])(x: [N, C])
            -> [N, C] {
          if b and s == "on" { x = x * f }
          for l in ls { x = x -> l }
          for i in 0..2 { x = x * ns[i] }
          return x -> l
        }"""
    + body('return x -> A(1, 2, true, "on", relu, [1, 2], [gelu, Linear(4), Dropout(0.1)])'),
    "a layer parameter takes more arguments": """
        block A(norm: layer = GroupNorm(2))(x: [N, C]) -> [N, C] { return x -> norm(eps=1e-3) }"""
    + body("return x -> A -> A(LayerNorm) -> A(norm=GroupNorm(num_groups=2, eps=1.0))"),
    "a layer parameter may be none": """
        block A(norm: layer = none)(x: [N, C]) -> [N, C] {
          if norm != none { x = x -> norm }
          return x
        }"""
    + body("return x -> A -> A(LayerNorm)"),
    "a family": """
        model Net(f: layer, sizes: int[])(x: [N, 4]) -> [N, 4] {
          for s in sizes { x = x -> f(s) }
          return x -> f(4)
        }
        model m = Net(Linear, [8, 16]) { expect params == 4 * 8 + 8 + 8 * 16 + 16 + 16 * 4 + 4 }""",
    "expectations": body(
        """
        expect params == 5 * 8 + 9 * 4
        expect macs(N=2) == 2 * (4 * 8 + 8 * 4)
        expect macs() == N * 64
        expect shape(logits) == [N, 4]
        expect shape(h) == [N, 8]
        h = x -> Linear(8)
        return logits = h -> Linear(4)""",
        "(x: [N, 4])",
    ),
    "training outputs": """
        block Two()(x: [N, C]) -> [N, C], training aux: [N, 2] {
          return x -> relu, training aux = x -> aux: Linear(2)
        }"""
    + body(
        "a, b = x -> Two\nreturn a, training helper = b", "(x: [N, 4]) -> [N, 4], training [N, 2]"
    ),
    "a requirement is a fact": body(
        'require D % 3 == 0, "{D} in 3"\nreturn x -> rearrange("N (g c) -> N c g", g=3) -> flatten',
        "(x: [N, D]) -> [N, D]",
    ),
    "a requirement decides": body(
        "require H >= 2\nif H > 1 { x = x -> max_pool(2) }\nreturn x -> global_avg_pool -> flatten",
        "(x: [N, 3, H, H])",
    ),
    "messages may have braces and quotes": body(
        'require N > 0 or N < 0, "\\"{N}\\" \\{N\\} \\\\ {N + 1}"\nreturn x'
    ),
    "weights of layers are values": body("""
        a = x -> s: {
          y = it -> Linear(4) -> fc: Linear(4, bias=false)
          linear(y, fc.weight)
        }
        head = Linear(4)
        b = a -> head
        return b * head.bias + linear(a, s.0.weight, bias=s.0.bias)"""),
    "initialisers": body("""
        param a: [4] = [1, 2.5, -3, 1e-3]
        param b: [] = 0.5
        buffer c: int64[2, 2] = [[1, 2], [3, 4]]
        buffer d: bool[4] = ones
        y = x -> Linear(4, weight_init=xavier_uniform(gain=2), bias_init=normal(std=0.1))
        return y * a * b -> Linear(4, weight_init=eye, bias_init=0.25)"""),
    "a doc comment stands before a declaration": "## A model.\n##\n## It does nothing.\n"
    + body("return x"),
    "conditions do not evaluate what they do not need": body(
        "ns = [1]\nif len(ns) > 1 and ns[1] == 2 { x = x -> relu }\n"
        "y = if true then x else (x -> Linear(1 // 0))\nreturn y"
    ),
    "else if": body(
        "n = 2\nif n == 1 { y = x } else if n == 2 { y = x -> relu }\n"
        "else { y = x -> gelu }\nreturn y"
    ),
    "a scan on several lines": body(
        "return scan a, b\n  over x(axis=N), x(axis=N)\n  carry h = zeros(4) {\n"
        "h = a + b + h\nyield h }"
    ),
    "an early return": body("if true { return x }\nreturn x -> relu"),
    "names of keywords and of Python are names": body(
        "class = x -> in: Linear(4) -> __init__: Linear(4) -> self: Linear(4)\nreturn class"
    ),
}


@pytest.mark.parametrize("text", list(FINE.values()), ids=list(FINE))
def test_these_are_fine(text: str) -> None:
    result = api.check(f"edition 2026\n{text}")
    assert result.ok, str(result)
    assert result.models == ("m",)


# ------------------------------------------------------------------------ programs that are not

WRONG = {
    "labels are unique": (body("return x -> a: Linear(4) -> a: Linear(4)"), ["duplicate-label"]),
    "labels are unique in loops": (
        body("for i in 0..2 { x = x -> a: Linear(4) }\nreturn x"),
        ["duplicate-label"],
    ),
    "a dotted label is unique too": (
        body("return x -> s: { a: Linear(4) } -> s.a: Linear(4)"),
        ["duplicate-label"],
    ),
    "a bound layer takes its label": (
        body("a = Linear(4)\nreturn x -> a -> a: Linear(4)"),
        ["duplicate-label"],
    ),
    "a weight takes its label": (
        body("param a: [4]\nreturn x -> a: Linear(4)"),
        ["duplicate-label"],
    ),
    "nothing stands under a layer": (
        body("return x -> a: Linear(4) -> a.b: Linear(4)"),
        ["bad-label"],
    ),
    "a number is taken once": (
        body("return x -> Linear(4) -> 0: Linear(4)"),
        ["duplicate-label"],
    ),
    "an instance has a label already": (
        body("a = Linear(4)\nreturn x -> b: a"),
        ["bad-label"],
    ),
    "functions have no label": (body("return x -> a: relu"), ["label-on-function"]),
    "what is shared is the same": (
        body("return x -> a: Linear(4) -> share a: Linear(4, bias=false)"),
        ["bad-label"],
    ),
    "what is shared stands above": (body("return x -> share a: Linear(4)"), ["bad-label"]),
    "what is shared is a layer": (
        body("return x -> a: Linear(4) -> share a: relu"),
        ["share-needs-one-layer"],
    ),
    "a shared layer keeps its width": (
        body("a = Linear(3)\nreturn x -> a -> a -> Linear(4)"),
        ["shared-weights-differ"],
    ),
    "a shared layer works along one axis": (
        body("s = Softmax(axis=C)\ny = x -> s\nreturn y -> transpose(N, C) -> s", "(x: [N, C])"),
        ["bad-label"],
    ),
    "nothing stands after a return": (body("return x\ny = x"), ["unreachable-statement"]),
    "nothing stands after a return in a scope": (
        body("return x -> { return it; it -> relu }"),
        ["unreachable-statement"],
    ),
    "a result is proved": (
        body("return x -> Linear(3)"),
        ["signature-mismatch"],
    ),
    "a result is proved beside dots": (
        "block A()(x: [N, C]) -> [N, ..., 3] { return x }\n" + body("return x -> A"),
        ["signature-mismatch"],
    ),
    "a result is proved with the parameters as they were given": (
        "block A(k: int)(x: [N, C]) -> [N, k] { k = 2 * k; return x -> Linear(k) }\n"
        + body("return x -> A(2)"),
        ["signature-mismatch"],
    ),
    "a result with a constant of the file": (
        "WIDTH = 3\n" + body("return x -> Linear(4)", "(x: [N, 4]) -> [N, WIDTH]"),
        ["signature-mismatch"],
    ),
    "a small letter in a signature is not a dim": (
        body("return x", "(x: [N, width]) -> [N, width]"),
        ["unknown-name"],
    ),
    "a small letter in a result is not a dim": (
        body("return x", "(x: [N, 4]) -> [N, witdh]"),
        ["unknown-name"],
    ),
    "sizes must fit the signature": (
        "block A()(x: [N, 2 * N]) -> [N, 2 * N] { return x }\n" + body("return x -> A"),
        ["input-size-mismatch"],
    ),
    "one name is one size": (
        "block A()(x: [N, N]) -> [N, N] { return x }\n" + body("return x -> A"),
        ["input-size-mismatch"],
    ),
    "names in a signature differ": (
        "block A(a: int)(a: [N]) { return a }\n" + body("return x"),
        ["duplicate-declaration"],
    ),
    "an input is not called as its dim": (
        body("return N", "(N: [N])"),
        ["duplicate-declaration"],
    ),
    "block contains itself": (
        "block A()(x: [N, C]) { return x -> A }\n" + body("return x -> A"),
        ["recursive-block"],
    ),
    "blocks contain each other": (
        "block A()(x: [N, C]) { return x -> B }\nblock B()(x: [N, C]) { return x -> A }\n"
        + body("return x -> A"),
        ["recursive-block"],
    ),
    "constants contain each other": (
        "A = B + 1\nB = A\n" + body("return x * A"),
        ["circular-constant"],
    ),
    "inputs by name": (body("return sub(b=x)"), ["missing-argument"]),
    "an input is given once": (body("return x -> sub(a=x)"), ["repeated-argument"]),
    "an input that is not there": (body("return x -> sub(c=x)"), ["unknown-argument"]),
    "an argument that is not there": (
        body("return x -> Linear(4, bais=true)"),
        ["unknown-argument"],
    ),
    "an argument is given once": (
        body("return x -> Linear(4, out_features=4)"),
        ["repeated-argument"],
    ),
    "arguments are enough": (body("return x -> Linear"), ["missing-argument"]),
    "arguments are not too many": (
        body("return x -> a: Linear(4, 5)"),
        ["too-many-arguments"],
    ),
    "values are used": (body("x -> relu\nreturn x"), ["unused-value"]),
    "a weight fits its literal": (body("param w: [3] = [1, 2]\nreturn x"), ["bad-attribute"]),
    "a weight's literal is not too deep": (
        body("param w: [2] = [[1], [2]]\nreturn x"),
        ["bad-attribute"],
    ),
    "a parameter is trained": (body("param w: int64[2]\nreturn x"), ["bad-attribute"]),
    "an integer has no fraction": (body("buffer w: int64[1] = [0.5]\nreturn x"), ["bad-attribute"]),
    "a distribution needs axes": (
        body("return x -> Linear(4, bias_init=kaiming_normal)"),
        ["bad-attribute"],
    ),
    "a distribution has a width": (
        body("param w: [2] = normal(std=0)\nreturn x"),
        ["bad-attribute"],
    ),
    "an initialiser's argument is given once": (
        body("param w: [2] = normal(std=1, std=2)\nreturn x"),
        ["repeated-argument"],
    ),
    "a weight has a known size": (body("param w: [N]\nreturn x"), ["not-constant"]),
    "a layer that has no such weight": (
        body("y = x -> a: Linear(4)\nreturn y * a.wieght"),
        ["unknown-weight"],
    ),
    "training outputs are declared": (
        body("return x, training y = x -> relu", "(x: [N, 4]) -> [N, 4], [N, 4]"),
        ["result-training-differs"],
    ),
    "an axis has a name": (body("return x -> softmax(Q)"), ["unknown-axis"]),
    "a value must be known before it is reduced": (body("return mean(xx)"), ["unknown-name"]),
    "a numeric condition of the input is not static": (
        body("if N > 3 { x = x -> relu }\nreturn x"),
        ["undecided-condition"],
    ),
    "what cannot be is said": (
        body("require N % 2 == 0\nrequire N % 4 == 1\nreturn x"),
        ["requirement-failed"],
    ),
    "an unknown escape": (body('require N > 1, "\\q"\nreturn x'), ["bad-literal"]),
    "a broken expression in a message": (
        body('require N < 1, "{1 +}"\nreturn x'),
        ["bad-interpolation"],
    ),
    "a broken expression in a label": (
        body("return x -> a{1 +}: Linear(4)"),
        ["bad-interpolation"],
    ),
    "a block has no expectations": (
        "block A()(x: [N, C]) { expect params == 0; return x }\n" + body("return x -> A"),
        ["misplaced-statement"],
    ),
    "a member of a family has nothing but expectations": (
        "model A(k: int)(x: [N]) { return x }\nmodel m = A(1) { y = 2 }",
        ["misplaced-statement"],
    ),
    "layers are not compared": (
        "block A(f: layer)(x: [N, C]) { if f == ReLU { x = x -> f }\nreturn x }\n"
        + body("return x -> A(ReLU)"),
        ["static-error"],
    ),
    "a bound layer is no parameter": (
        TWICE + body("a = Linear(4)\nreturn x -> Twice(a)"),
        ["bad-argument"],
    ),
    "a table and a sequence that are too short": (
        body(
            "param table: [512, 4]\ny = table -> slice(axis=0, end=N)\n"
            "return x + y -> slice(axis=0, start=5)",
            "(x: [N, 4])",
        ),
        ["size-too-small", "size-too-large"],
    ),
    "no edition": ("", ["no-model"]),
}

TOLD = {
    "a table that is too short": (
        body("param t: [512, 4]\nreturn x + (t -> slice(0, end=N))"),
        "say which sizes the model admits: `require N <= 512`",
    ),
    "tables and what is left of them": (
        body(
            "param t: [512, 4]\nparam u: [70, 4]\n"
            "return x + (t -> slice(0, start=2, end=N + 2)) + (u -> slice(0, end=N))"
        ),
        "say which sizes the model admits: `require N <= 510 and N <= 70`",
    ),
    "tokens that are no integers": (
        body("return x -> Embedding(4, 4)", "(x: [N, 4])"),
        "declare them as integers, `int64[…]`, or convert them with `cast(int64)`",
    ),
    "a scan after an arrow": (
        body("return x -> scan a over x(axis=N) { yield a }"),
        "a scan begins a pipeline: `ys = scan x over xs(axis=T) { … }`",
    ),
    "a pipeline where an expression stands": (
        body("return scan a over x(axis=N) carry h = x -> mean(axis=N) { h = a + h }"),
        "a pipeline stands in brackets here: `(x -> …)`",
    ),
    "an arrow from nothing": (
        body("y = -> relu\nreturn y"),
        "a pipeline needs a value on the left of `->`",
    ),
}


@pytest.mark.parametrize(("text", "expected"), list(WRONG.values()), ids=list(WRONG))
def test_these_are_wrong(text: str, expected: list[str]) -> None:
    assert codes(text) == expected


@pytest.mark.parametrize(("text", "help"), list(TOLD.values()), ids=list(TOLD))
def test_the_way_out_is_told(text: str, help: str) -> None:
    (diagnostic,) = api.check(f"edition 2026\n{text}").diagnostics
    assert help in (diagnostic.message, *diagnostic.help)


def test_shared_layers_in_loops_share() -> None:
    model = compiled(body("return x -> core: repeat 3 share { Linear(4) }"))
    assert [node.member for node in model.root.nodes] == ["core.0"] * 3


def test_arguments_are_evaluated_once() -> None:
    model = compiled(body("return exp(x -> Linear(4)) + max(x -> Linear(4), 1, keepdim=true)"))
    assert [member.path for member in model.root.members] == ["0", "1"]


def test_inputs_by_name_go_where_they_belong() -> None:
    model = compiled(body("return sub(b=x, a=y)", "(x: [N, 4], y: [N, 4]) -> [N, 4]"))
    assert model.root.nodes[0].inputs == (1, 0)


def test_numbers_stay_where_they_are_written() -> None:
    model = compiled(body("return sub(1, x)"))
    constant, subtraction = model.root.nodes
    assert subtraction.inputs == (constant.outputs[0], 0)


@pytest.mark.parametrize("width", [1, 5, 9])
def test_what_a_size_is_away_is_never_less_than_none(width: int) -> None:
    model = compiled(body("return x -> pad([0, abs(C - 5)])", "(x: [N, C])"))
    wide = model.root.type(model.root.outputs[0].value).dims[1]
    assert wide.evaluate({"C": width}) == width + abs(width - 5)


# --------------------------------------------------------------------- several errors at once


def test_independent_mistakes_are_all_reported() -> None:
    assert codes(
        body("""
            a = x -> Conv(3, 3)
            b = x -> Linearr(4)
            c = x -> Linear(4, bais=true)
            d = x + y
            return x -> Linear(5)""")
    ) == ["shape-mismatch", "unknown-name", "unknown-argument", "unknown-name"]


def test_what_failed_absorbs_what_follows() -> None:
    assert codes(
        body("""
            a = x -> Wrong -> Linear(4) -> f: { Linear(2) -> relu } -> repeat 2 { Linear(3) }
            b, c = a -> split(2, axis=1)
            for i in 0..3 { a = a + b }
            if a == c { a = a -> relu }
            d = concat(a, b, c, axis=1) -> add { p: Linear(4); q: identity }
            return sum(d, axis=a) * d.weight + d[0]""")
    ) == ["unknown-name"]


def test_a_list_of_what_failed_is_no_input_that_is_missing() -> None:
    assert codes(
        body("""
            parts = [x, x -> Wrong]
            a = concat(parts, axis=1) * 2
            b = concat(axis=1, [parts[1]]) + x
            c = reshape(x, [len(x), 3])
            return a + (x -> Linear(8)) + b""")
    ) == ["unknown-name", "static-error"]


@pytest.mark.parametrize(
    ("statements", "message", "help"),
    [
        (
            "return x -> Normalize([0.5], [0.5])",
            "there is no layer or block `Normalize` here",
            "it is in the standard library: `import std.vision (Normalize)`",
        ),
        (
            "return x -> scaled_dot_product_attention(x)",
            "`scaled_dot_product_attention` takes inputs: 4 (query, key, value, attn_mask),"
            " at least 3; it is given 2",
            None,
        ),
        (
            "a = N / 2\nreturn x",
            "this has no value: the size N is not known at compile time; as a tensor it is"
            " `full([], N)`",
            None,
        ),
        (
            "return x.softmax(1)",
            "no layer above has a weight `x.softmax`",
            "no dot leads to an operator: write `x -> softmax`",
        ),
        (
            "return cat(x, x, axis=0)",
            "there is no name `cat` here",
            "it is called `concat` here",
        ),
        (
            "return x -> Linear(4, bias=None)",
            "there is no layer or block `None` here",
            "it is called `none` here",
        ),
        ("return x -> mean(dim=1)", "`mean` has no argument `dim`", "it is called `axis` here"),
        (
            "return x -> LayerNorm(4)",
            "`LayerNorm`: the last 4 axes cannot be normalised: float32[N, 4] has 2",
            "the width is inferred; a number says over how many axes",
        ),
        (
            "return sum([x, x])",
            "this has no value: of tensors there are `add`, `mul`, `maximum` and `minimum`",
            None,
        ),
        (
            "return x[0]",
            "`[]` does not apply to a tensor",
            "one place of an axis is `x -> select(axis=0, index=0)`, several are a `slice`",
        ),
        ("a, b = [1, 2, 3]\nreturn x", "a list of 3 can't be bound to 2 names", None),
        (
            "a, b = scan e over x(axis=1) carry h = zeros(1) { h = h + 1 }\nreturn x",
            "a tensor can't be bound to 2 names",
            None,
        ),
    ],
)
def test_a_mistake_is_told_with_what_mends_it(
    statements: str, message: str, help: str | None
) -> None:
    found = problem(body(statements))
    assert found.message == message
    assert found.help == (() if help is None else (help,))


@pytest.mark.parametrize(
    ("layer", "declared"),
    [
        ("Conv(C, 3, stride=step, padding=1)", "ceildiv(H, step)"),
        ("max_pool(step)", "H // step"),
        ("Conv(C, 3, padding=1) -> Conv(C, 2)", "H - 1"),
    ],
)
def test_a_result_without_its_stride_is_mended_for_every_stride(layer: str, declared: str) -> None:
    found = problem(f"""
block Part(step: int, width: int = 2)(x: [N, C, H, W]) -> [N, C, H, W] {{ x -> {layer} }}
model m(x: [N, 2, H, W]) -> [N, 2, H2, W2] {{
  require H >= 3 and W >= 3
  return x -> Part(3)
}}
""")
    assert found.help == (f"declare `{declared}`",)


def test_a_result_of_another_type_is_shown_where_it_is_returned() -> None:
    found = problem("model m(x: [N, 4]) -> int64[N] {\n  return x -> max(axis=1)\n}")
    assert [label.text for label in found.related] == ["returns float32[N]"]


def test_a_weight_is_named_by_its_path_in_what_made_a_size() -> None:
    found = problem(body("y = x -> norm: LayerNorm\nreturn linear(y, norm.weight)"))
    assert "`norm.weight` is float32[4]" in [label.text for label in found.chain]


def test_what_was_required_is_told_with_the_numbers_it_failed_for() -> None:
    found = problem("""
block Heads(heads: int, rate: float = 0.5)(x: [B, D]) -> [B, D] {
  require D % heads == 0 and rate < 1
  return x
}
model m(x: [B, 8]) -> [B, 8] { x -> Heads(3) }
""")
    assert found.message == "`D % heads == 0 and rate < 1` does not hold"
    assert found.notes == ("D is 8, heads is 3, rate is 0.5",)


def test_mistakes_in_other_blocks_are_reported_with_the_way_to_them() -> None:
    result = api.check(
        "edition 2026\nblock A(k: int)(x: [N, C]) { return x -> Linear(k) -> Conv(4, 3) }\n"
        + body("a = x -> A(3)\nb = x -> A(4)\nreturn x -> Lienar(4)")
    )
    assert sorted(d.code for d in result.diagnostics)[-1] == "unknown-name"
    assert {d.code for d in result.diagnostics} == {"shape-mismatch", "unknown-name"}
