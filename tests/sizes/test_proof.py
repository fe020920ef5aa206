"""What is proved of sizes is true, and every counter-example is one."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from archdsl.sizes.dims import Dim, DimTooComplex, ceildiv, maximum, minimum
from archdsl.sizes.knowledge import stronger, unfloored
from archdsl.sizes.proof import (
    All,
    Compare,
    Condition,
    Either,
    Facts,
    Negation,
    Relation,
    all_of,
    smallest_admissible,
)
from archdsl.sizes.solver import Effort

H, W, S = map(Dim.symbol, ("H", "W", "s"))
parse = Condition.parse


def facts(*conditions: str) -> Facts:
    known = Facts()
    for condition in conditions:
        known = known.assume(parse(condition))
    return known


@pytest.mark.parametrize(
    ("known", "condition"),
    [
        (["D % heads == 0"], "heads * (D // heads) == D"),
        (["D % heads == 0"], "3 * heads * (D // heads) >= 2 * D"),
        (["D % heads == 0", "heads % 2 == 0"], "D % 2 == 0"),
        (["H % 2 == 0"], "2*(H//2) == H"),
        (["H % 4 == 0"], "H//2 == 2*(H//4)"),
        (["H % 32 == 0"], "4*((H + 31)//32) == (H + 7)//8"),
        (["H % 32 == 0"], "H//32 >= 1"),
        ([], "C + 3*g >= 1"),
        ([], "(H + 31)//32 >= 1"),
        (["H >= 11"], "(H - 11)//4 + 1 >= 1"),
        (["H == 3"], "2*H == 6"),
        (["H == W"], "H//2 == W//2"),
        (["H > 2 and W > H"], "W >= 4"),
        (["H == 2 or H == 4"], "H % 2 == 0"),
        ([], "H % 32 < 32"),
        ([], "s*(H//s) <= H"),
        ([], "H*W >= H"),
        ([], "H//s//2 == H//(2*s)"),
        ([], "max(max(H, W), C) == max(H, max(W, C))"),
        ([], "2*H != 2*W + 1"),
        ([], "not H < 1 and (H >= 5 or H <= 4)"),
    ],
)
def test_proved(known: list[str], condition: str) -> None:
    assert facts(*known).prove(parse(condition)).proved


@pytest.mark.parametrize(
    ("known", "condition", "counterexample"),
    [
        ([], "(H + 1)//2 == H//2", {"H": 225}),
        ([], "(H - 11)//4 + 1 >= 1", {"H": 7}),
        ([], "H % 32 == 0", {"H": 225}),
        (["H % 2 == 0"], "H % 4 == 0", {"H": 226}),
        (["H <= 3"], "H >= 3", {"H": 1}),
        (["H % 7919 == 7918"], "H < 7918", {"H": 7918}),
        ([], "0 == 1", {}),
    ],
)
def test_refuted(known: list[str], condition: str, counterexample: dict[str, int]) -> None:
    verdict = facts(*known).prove(parse(condition))
    assert verdict.refuted and not verdict.proved and not verdict.undecided
    assert verdict.counterexample == counterexample


def test_undecided_is_said() -> None:
    verdict = Facts().prove(parse("x**2 - 61*y**2 != 1"))
    assert verdict.undecided
    written = Compare(Dim.opaque("2 ** s", {"s"}), ">=", Dim.of(1))
    assert Facts().prove(written).undecided


def test_facts_that_cannot_hold_prove_everything() -> None:
    assert facts("H > W", "W > H").prove(parse("H == 3")).proved


def test_minimums_are_facts() -> None:
    condition = parse("H - 1 >= 0")
    assert Facts().prove(condition).proved
    assert Facts().with_symbol("H", 0).prove(condition).counterexample == {"H": 0}
    assert Facts().with_symbol("H", 8).prove(parse("H//8 >= 1")).proved


def test_division_by_zero_is_no_counterexample() -> None:
    known = Facts().with_symbol("s", 0)
    assert known.prove(parse("s == 0 or H // s >= 0")).proved
    assert known.prove(parse("s*(H//s) <= H")).proved
    verdict = known.prove(parse("s != 0 and H // s >= 0"))
    assert verdict.counterexample is not None and verdict.counterexample["s"] == 0


def test_facts_are_immutable_values() -> None:
    first = Facts()
    second = first.assume(parse("H >= 3"))
    assert first != second and first.assumptions == ()
    assert second == facts("H >= 3") and hash(second) == hash(facts("H >= 3"))
    assert second.assume(parse("H >= 3")) is second
    with pytest.raises(ValueError):
        first.assume(Compare(Dim.opaque("2 ** s", {"s"}), ">=", Dim.of(1)))


@pytest.mark.parametrize(
    ("dim", "bound", "text"),
    [
        ("N", 3, "N >= 3"),
        ("2*N - 5", 1, "2*N - 5 >= 1"),
        ("512 - T", 0, "T <= 512"),
        ("9 - T - 2*S", 1, "2*S + T <= 8"),
        ("9 - T + S", 1, "S + 9 - T >= 1"),
        ("9 - (T + 1)//2", 0, "(T + 1)//2 <= 9"),
    ],
)
def test_lower_bounds_of_what_is_left_are_upper_bounds(dim: str, bound: int, text: str) -> None:
    condition = Compare.at_least(Dim.parse(dim), bound)
    assert str(condition) == text
    assert condition.is_upper_bound == ("<=" in text)


def test_smallest_admissible() -> None:
    windows = [parse("(H - 63)//4 + 1 >= 1"), parse("(W - 63)//4 + 1 >= 1")]
    assert smallest_admissible(windows, Facts()) == {"H": 63, "W": 63}
    assert smallest_admissible(windows[:1], facts("H >= 100")) == {}
    assert smallest_admissible([parse("H % 2 == 0")], Facts()) is None
    assert smallest_admissible([parse("H - W >= 3")], Facts()) is None
    assert smallest_admissible([], Facts()) == {}


# ------------------------------------------------------------------------------- properties

RELATIONS: tuple[Relation, ...] = ("==", "!=", "<", "<=", ">", ">=")
SMALL = st.integers(-4, 9)
COUNTS = st.integers(1, 5)


@st.composite
def sizes_of_two(draw: st.DrawFn) -> Dim:
    first = draw(SMALL) * H + draw(SMALL) * W + draw(SMALL)
    second = (draw(COUNTS) * H + draw(SMALL)) // draw(COUNTS)
    third = draw(
        st.sampled_from([W // S, ceildiv(H, S), H % S, maximum(H, W), H * W, Dim.of(0), S, W % 3])
    )
    return draw(st.sampled_from([first, second, third, second + third, first - third]))


@st.composite
def comparisons(draw: st.DrawFn) -> Condition:
    relation: Relation = draw(st.sampled_from(RELATIONS))
    return Compare(draw(sizes_of_two()), relation, draw(sizes_of_two()))


CONDITIONS = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        st.builds(Negation, inner),
        st.builds(All, st.lists(inner, min_size=2, max_size=3)),
        st.builds(Either, st.lists(inner, min_size=2, max_size=3)),
    ),
    max_leaves=3,
)
GRID: list[dict[str, int]] = [
    dict(zip(("H", "W", "s"), sizes, strict=True))
    for sizes in itertools.product(range(1, 8), repeat=3)
]


@settings(max_examples=150, deadline=None)
@given(st.lists(comparisons(), max_size=2), CONDITIONS)
def test_verdicts_agree_with_every_small_size(known: list[Condition], goal: Condition) -> None:
    assumed = Facts()
    for condition in known:
        assumed = assumed.assume(condition)
    verdict = assumed.prove(goal)
    if verdict.counterexample is not None:
        sizes = dict.fromkeys(("H", "W", "s"), 1) | verdict.counterexample
        assert not goal.evaluate(sizes)
        assert goal.symbols <= verdict.counterexample.keys() or not goal.symbols
        assert assumed.admits(verdict.counterexample)
    if verdict.proved:
        admitted = [s for s in GRID if all(condition.evaluate(s) for condition in known)]
        assert all(goal.evaluate(sizes) for sizes in admitted)


@settings(max_examples=200, deadline=None)
@given(CONDITIONS)
def test_conditions_read_back_exactly(condition: Condition) -> None:
    assert Condition.parse(str(condition)) == condition
    for sizes in GRID[::40]:
        assert condition.negated().evaluate(sizes) is not condition.evaluate(sizes)
        assert condition.truth in (None, condition.evaluate(sizes))
        assert condition.substitute(sizes).truth == condition.evaluate(sizes)


# ------------------------------------------------------------------------------ conditions


@pytest.mark.parametrize(
    "text",
    [
        "H % 32 == 0",
        "H % 32 == 0 and W >= 3",
        "(H == 1 or W == 2) and not s < 4",
        "H == 1 or W == 2 and s < 4",
        "not (H == 1 and W == 2)",
        "not not H == 1",
        "H <= W*s - 3",
    ],
)
def test_conditions_print_as_they_are_written(text: str) -> None:
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "text", ["H", "H == ", "H and W", "H < W < 3", "(H == 1) + 2", "not H", "H = 1"]
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_long_and_deep_conditions() -> None:
    long = " and ".join(f"n{index} >= 2" for index in range(1000))
    assert len(parse(long).parts) == 1000
    with pytest.raises(DimTooComplex):
        parse("not " * 1000 + "H == 1")
    assert str(all_of([])) == "0 == 0"


class Block(BaseModel):
    condition: Condition
    comparison: Compare


def test_conditions_are_fields() -> None:
    block = Block(condition=parse("H % 2 == 0 or W > 1"), comparison=Compare(H, "<", W))
    assert Block.model_validate_json(block.model_dump_json()) == block
    assert Block.model_validate(block.model_dump()) == block
    with pytest.raises(ValueError):
        Block.model_validate({"condition": "H == 1", "comparison": "H == 1 or W == 1"})


def test_the_solver_is_loaded_only_when_it_is_needed() -> None:
    program = (
        "import sys; from archdsl.sizes.proof import *\n"
        "Facts().prove(Condition.parse('(H + 31)//32 >= 1'))\n"
        "Facts().prove(Condition.parse('(H + 1)//2 == H//2'))\n"
        "multiple = Facts().assume(Condition.parse('H % 32 == 0'))\n"
        "multiple.prove(Condition.parse('4*((H + 31)//32) == (H + 7)//8'))\n"
        "assert not {'z3', 'sympy', 'torch', 'onnx'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def halves(left: Dim, right: Dim) -> Dim:
    return left // 2 - right // 3


@pytest.mark.parametrize("relation", [">=", ">", "<=", "<"])
@pytest.mark.parametrize("scale", [1, 3, -1, -2])
@pytest.mark.parametrize("choice", [minimum, maximum, halves])
def test_what_says_more_holds_less_often(
    relation: Relation, scale: int, choice: Callable[[Dim, Dim], Dim]
) -> None:
    n, m = Dim.symbol("N"), Dim.symbol("M")
    bound = Compare(2 * n + scale * choice(n * m, m + 3), relation, m)
    others = list(stronger(bound))
    assert others or choice is not halves
    for sizes in ({"N": a, "M": b} for a in range(1, 9) for b in range(1, 9)):
        assert bound.evaluate(sizes) or not any(other.evaluate(sizes) for other in others)


def test_the_lesser_of_two_is_not_more_than_either() -> None:
    n, m = Dim.symbol("N"), Dim.symbol("M")
    product = 3 * ((n + 15) // 16) * ((m + 15) // 16)
    facts = Facts(effort=Effort(0))
    assert facts.prove(Compare(product - minimum(product, Dim.of(1000)), ">=", Dim.of(0))).proved
    assert facts.prove(Compare(maximum(product, n * m), ">=", product)).proved


def test_the_middle_lies_inside() -> None:
    facts = Facts(effort=Effort(0)).assume(Compare(H, ">=", Dim.of(224)))
    top = (H - 224 + 1) // 4 + (H - 224 + 2) // 4
    assert facts.prove(Compare(top + 224, "<=", H)).proved
    assert facts.prove(Compare(top, ">=", Dim.of(0))).proved


def test_what_a_bound_excludes_is_found_without_the_solver() -> None:
    verdict = Facts(effort=Effort(0)).prove(Compare(H, "<=", Dim.of(1024)))
    assert verdict.counterexample == {"H": 1025}


@pytest.mark.parametrize("relation", [">=", ">", "<=", "<"])
@pytest.mark.parametrize("scale", [1, 3, -1, -2])
@pytest.mark.parametrize("bound", [-5, 0, 2, 7])
def test_a_bound_of_a_quotient_by_a_size_is_one_of_what_is_divided(
    relation: Relation, scale: int, bound: int
) -> None:
    n, m = Dim.symbol("N"), Dim.symbol("M")
    condition = Compare(scale * ((3 * n + 1) // minimum(n, m)), relation, Dim.of(bound))
    plain = unfloored(condition, lambda _: True)
    for sizes in ({"N": a, "M": b} for a in range(1, 12) for b in range(1, 12)):
        assert plain.evaluate(sizes) == condition.evaluate(sizes)


def test_a_side_in_proportion_to_the_shorter_one_is_no_less() -> None:
    facts = Facts(effort=Effort(0))
    assert facts.prove(Compare(256 * H // minimum(H, W), ">=", Dim.of(224))).proved
    divided = Facts({"H": 1, "s": -3}, effort=Effort(0))
    assert not divided.prove(Compare(4 * H // S, ">=", Dim.of(-9))).proved


@pytest.mark.parametrize("relation", [">=", ">", "<=", "<"])
@pytest.mark.parametrize("scale", [1, 3, -1, -2])
@pytest.mark.parametrize("offset", [-5, 0, 7])
def test_a_bound_of_quotients_holds_where_that_of_the_dividend_does(
    relation: Relation, scale: int, offset: int
) -> None:
    n = Dim.symbol("N")
    bound = Compare(scale * ((3 * ((n + 1) // 2) - 4) // 5) + offset, relation, Dim.of(1))
    plain = unfloored(bound)
    assert "//" not in str(plain)
    assert all(plain.evaluate({"N": size}) == bound.evaluate({"N": size}) for size in range(1, 60))
