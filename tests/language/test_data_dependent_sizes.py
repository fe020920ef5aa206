"""Sizes that depend on data, and sizes that may be 0: from the text to both back ends."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto

from archdsl import api
from archdsl.diagnostics import ArchError
from archdsl.ir.model import Model
from archdsl.runtime.run import run_onnx, run_torch

Array = np.ndarray

PICK = """edition 2026
block Best(threshold: float)(boxes: [R, 4], scores: [R]) -> [K, 5] {
  kept = nms(boxes, scores, threshold)
  chosen = boxes -> take(kept, axis=0)
  return concat(chosen, scores -> take(kept, axis=0) -> unsqueeze(1), axis=1)
}
block Head(width: int)(x: [R, C]) -> [R, width] {
  x -> fc1: Linear(2 * width) -> relu -> fc2: Linear(width)
}
model pick(boxes: [R >= 0, 4], scores: [R]) -> first: [K, 8], second: [L, 5], both: [K + L, 5] {
  a = one: Best(0.5, scores=scores)
  b = boxes -> two: Best(0.5, scores=scores)
  return first = a -> head: Head(8), second = b, both = concat(a, b, axis=0)
}
""".replace("a = one:", "a = boxes -> one:")

MASKED = """edition 2026
model masked(x: [N, 6]) -> positive: [P], places: [Q, 2], pairs: [Q, 2, 3], whole: [N, Q] {
  places = nonzero(x > 0)
  rows = x -> take(places -> select(axis=1, index=0), axis=0)
  grown = zeros(N, 1) + (rows -> sum(axis=1))
  return positive = masked_select(x, x > 0), places = places, whole = grown,
    pairs = rows -> rearrange("q (a b) -> q a b", a=2)
}
""".replace(
    """return positive = masked_select(x, x > 0), places = places, whole = grown,
    pairs = rows -> rearrange("q (a b) -> q a b", a=2)""",
    """return positive = masked_select(x, x > 0), places = places,
    pairs = rows -> rearrange("q (a b) -> q a b", a=2), whole = grown""",
)

LOOPED = """edition 2026
block Level(x: [R, 4], s: [R]) -> [K, 4] {
  kept = nms(x, s, 0.4)
  return x -> take(kept, axis=0)
}
model looped(boxes: [R, 4], scores: [R]) -> [K, 4] {
  all = boxes
  for i in 0..3 {
    next = boxes * (1.0 + i) -> level{i}: Level(s=scores)
    all = concat(all, next, axis=0)
  }
  return all
}
"""

RESHAPED = """edition 2026
model reshaped(x: [R >= 0, 8, H, W], y: [S >= 0, 3]) -> a: [R, 8 * H * W], b: [R * 8, H, W],
    c: [R * S, 3], d: [R, S, 3] {
  grid = zeros(R, 1, 1) + (y -> unsqueeze(0))
  return a = flatten(x), b = x -> reshape(8 * R, H, W),
    c = grid -> flatten(0, 1), d = grid
}
"""


def boxes(count: int) -> dict[str, Array]:
    generator = np.random.default_rng(count)
    corners = generator.integers(0, 12, (count, 4)).astype(np.float32)
    return {"boxes": corners, "scores": generator.random(count, dtype=np.float32)}


def compare(network: api.Network, *trials: dict[str, Array]) -> list[list[Array]]:
    """Both back ends at each of the inputs: the same shapes, nearly the same numbers."""
    module = network.to_torch().eval()
    weights = {name: value.numpy(force=True) for name, value in module.state_dict().items()}
    exported = network.to_onnx(weights)
    found: list[list[Array]] = []
    for inputs in trials:
        given = run_torch(module, network.ir, inputs)
        for mine, theirs in zip(given, run_onnx(exported.SerializeToString(), inputs), strict=True):
            assert mine.shape == theirs.shape
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)
        found.append(given)
    return found


def declared(model: ModelProto) -> dict[str, list[str | int]]:
    return {
        output.name: [dim.dim_param or dim.dim_value for dim in output.type.tensor_type.shape.dim]
        for output in model.graph.output
    }


def test_the_signature_names_sizes_that_depend_on_data() -> None:
    network = api.load(PICK)
    root = network.ir.root
    assert [str(root.type(port.value)) for port in root.outputs] == [
        "float32[K, 8]",
        "float32[L, 5]",
        "float32[K + L, 5]",
    ]
    assert [(size.name, str(size.most)) for size in root.fresh] == [("K", "R"), ("L", "R")]
    assert (root.symbols, root.empty) == (("R",), ("R",))
    assert declared(network.to_onnx())["both"] == ["K + L", 5]


def test_a_block_called_twice_has_two_sizes_and_is_expanded_once() -> None:
    model = api.load(PICK).ir
    best = [block for block in model.blocks.values() if block.name == "Best"]
    assert len(best) == 1
    calls = [dict(node.dims) for node in model.root.nodes if node.block == "Best"]
    assert [str(call["K"]) for call in calls] == ["K", "L"]


@pytest.mark.parametrize("text", [PICK, MASKED, LOOPED])
def test_the_ir_survives_json_and_expansion(text: str) -> None:
    network = api.load(text)
    assert Model.model_validate_json(network.ir.model_dump_json()) == network.ir
    flat = network.expanded()
    assert api.load(flat).expanded() == flat


def test_both_back_ends_agree_for_none_one_and_many_boxes() -> None:
    for first, second, both in compare(api.load(PICK), *(boxes(count) for count in (0, 1, 40))):
        assert len(first) == len(second) and len(both) == len(first) + len(second)
    compare(api.load(LOOPED), *(boxes(count) for count in (1, 25)))


def test_a_suppression_of_everything_gives_nothing() -> None:
    given = boxes(6)
    given["scores"][:] = np.nan
    ((first, second, both),) = compare(api.load(PICK), given)
    assert [len(each) for each in (first, second, both)] == [0, 0, 0]


def test_elements_that_are_chosen_flow_on() -> None:
    generator = np.random.default_rng(0)
    some = generator.standard_normal((5, 6)).astype(np.float32)
    compare(api.load(MASKED), {"x": some}, {"x": -np.abs(some)}, {"x": np.abs(some[:1])})


def test_reshaping_where_a_size_is_zero() -> None:
    trials = [
        {
            "x": np.ones((count, 8, 3, 2), np.float32),
            "y": np.ones((rows, 3), np.float32),
        }
        for count, rows in ((0, 4), (2, 0), (0, 0), (3, 5))
    ]
    compare(api.load(RESHAPED), *trials)


WITH_SIZE = """edition 2026
model padded(boxes: [R, 4], scores: [R]) -> y: [K, 4], half: [M, 4] {
  kept = nms(boxes, scores, 0.5)
  y = boxes -> take(kept, axis=0)
  order = argsort(y -> select(axis=1, index=0), descending=true)
  y = y -> take(order, axis=0)
  return y = y -> repeat_interleave(1, axis=0) -> roll(1, axis=0), half = y -> slice(axis=0, step=2)
}
"""


def test_a_size_that_an_operator_is_told_is_read_off_the_value() -> None:
    compare(api.load(WITH_SIZE), boxes(1), boxes(30))


def problem(text: str) -> str:
    return str(api.check("edition 2026\n" + text))


def test_nothing_proves_that_a_size_from_data_is_not_zero() -> None:
    said = problem(
        "model m(x: [N]) -> [] {\n  y = masked_select(x, x > 0)\n  return y -> max(axis=0)\n}"
    )
    assert "data-dependent-size" in said and "`Selected` depends on data" in said


def test_a_size_that_may_be_zero_is_not_taken_to_be_one() -> None:
    text = "model m(x: [R%s, 4]) -> [4] {\n  x -> max(axis=0)\n}"
    assert api.check("edition 2026\n" + text % "").ok
    assert "needs R >= 1" in problem(text % " >= 0")
    inside = "block B(x: [R, 4]) -> [4] {\n  x -> max(axis=0)\n}\n"
    whole = inside + "model m(x: [R%s, 4]) -> [4] {\n  x -> B\n}"
    assert api.check("edition 2026\n" + whole % "").ok
    assert "size-too-small" in problem(whole % " >= 0")


def test_two_sizes_from_data_are_not_the_same() -> None:
    said = problem(
        "model m(x: [N]) -> [K] {\n  return masked_select(x, x > 0) + masked_select(x, x > 1)\n}"
    )
    assert "do not fit together" in said


def test_bounds_of_sizes_from_data_are_known() -> None:
    assert api.check(
        "edition 2026\nmodel m(x: [N], table: [N, 3]) -> [K] {\n"
        "  i = nonzero(x > 0) -> squeeze(1)\n  index = zeros(1, dtype=int64) + i\n"
        "  return table -> gather(index -> unsqueeze(1), axis=0) -> squeeze(1)\n}"
    ).ok


def test_a_size_in_a_scan_cannot_depend_on_data() -> None:
    said = problem(
        "model m(x: [T, 4]) -> [T, 4] {\n"
        "  ys = scan row over x(axis=T) carry h = zeros(4) {\n"
        "    i = nonzero(row > 0)\n    h = h + row\n    yield h\n  }\n  return ys\n}"
    )
    assert "every step of the scan" in said


def test_the_flat_form_refuses_to_tell_a_size_that_has_no_name() -> None:
    network = api.load(
        "edition 2026\nblock Places(x: [R]) -> int64[R] {\n  return arange(R)\n}\n"
        "model m(x: [N]) -> int64[K] {\n  return masked_select(x, x > 0) -> Places\n}"
    )
    compare(network, {"x": np.array([1, -1, 2], np.float32)}, {"x": np.array([-1], np.float32)})
    with pytest.raises(ArchError, match="depends on data"):
        network.expanded()


@pytest.mark.parametrize(
    ("inputs", "body", "code", "reason"),
    [
        ("x: [R >= 0, 4]", "x -> pad([0, 8 // R])", "size-too-small", "by R"),
        ("x: [R >= 0, 4]", "x -> pad([0, 8 % R])", "size-too-small", "by R"),
        ("x: [R >= 0, 4]", "x -> pad([0, ceildiv(8, 2 * R)])", "size-too-small", "by 2*R"),
        ("x: [R, 4]", "x -> pad([0, 8 // (R - 1)])", "size-too-small", "by R - 1"),
        ("x: [R >= 0, 4]", "x / R", "size-too-small", "by R"),
        ("x: [R >= 0, 4]", "div(x, R)", "size-too-small", "by R"),
        ("x: [R >= 0, 4]", "(x -> cast(int64)) // R", "size-too-small", "by R"),
        ("x: [R >= 0, 4]", "(x -> cast(int64)) % R", "size-too-small", "by R"),
        ("x: [R >= 0, 4], y: [8 // R]", "x", "size-too-small", "by R"),
        (
            "x: [R >= 0, 4]",
            'x -> rearrange("i j -> i j") -> mask(j % R == 0)',
            "size-too-small",
            "R",
        ),
        ("x: [R, 4]", 'x -> rearrange("i j -> i j") -> mask(8 % j == 0)', "static-error", "`j`"),
        ("x: [R, 4]", "masked_select(x, x > 0) -> Mean", "data-dependent-size", "by T"),
        ("x: [R, 4]", "x / R + 8 // R", None, ""),
        ("x: [R >= 0, 4]", "x / max(R, 1)", None, ""),
        ("x: [R >= 0, 4]", "x -> mean(axis=0, keepdim=true)", None, ""),
    ],
)
def test_nothing_is_divided_by_a_size_that_may_be_zero(
    inputs: str, body: str, code: str | None, reason: str
) -> None:
    text = f"""edition 2026
block Mean(x: [T]) -> [] {{ (x -> sum) / T }}
model m({inputs}) {{ {body} }}
"""
    found = api.check(text).diagnostics
    assert [each.code for each in found] == ([] if code is None else [code])
    assert all(reason in each.message for each in found)


@pytest.mark.parametrize("require", ["require R >= 1\n  ", "require R >= 2 and 8 % R == 0\n  "])
@pytest.mark.parametrize("after", [False, True])
def test_a_require_anywhere_allows_the_division(require: str, after: bool) -> None:
    lines = ("  y = x / R\n  ", require) if after else (require, "  y = x / R\n  ")
    text = f"edition 2026\nmodel m(x: [R >= 0, 4]) -> [R, 4] {{\n  {''.join(lines)}y\n}}\n"
    result = api.check(text)
    assert result.ok, str(result)


def test_a_mean_of_none_is_what_is_written() -> None:
    network = api.load("""edition 2026
model centre(points: [R >= 0, 3]) -> [3] { (points -> sum(axis=0)) / max(R, 1) }
""")
    none, some = np.zeros((0, 3), np.float32), np.arange(12, dtype=np.float32).reshape(4, 3)
    (zero,), (mean,) = compare(network, {"points": none}, {"points": some})
    np.testing.assert_array_equal(zero, np.zeros(3))
    np.testing.assert_allclose(mean, some.mean(axis=0))
