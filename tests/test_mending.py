"""Sizes that make maps fit together, and the ways out that a message names."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from archdsl import api
from archdsl.cli import main
from archdsl.compiler import compile_text
from archdsl.diagnostics import Diagnostic
from archdsl.ir.conditions import Compare, Condition
from archdsl.ir.dims import Dim
from archdsl.ir.multiples import sufficient
from archdsl.ir.proof import Facts

FACTS = Facts({"H": 1})


@pytest.mark.parametrize(
    ("left", "right", "found"),
    [
        ("4*(H//4)", "H", "H % 4 == 0"),
        ("2*((H + 1)//2)", "H", "H % 2 == 0"),
        ("2*((H + 1)//2)", "H + 1", "H % 2 == 1"),
        ("(H + 1)//2 + (H + 1)//2", "2*((H + 3)//4) + 2*((H + 3)//4)", "H % 4 == 0"),
        ("6*(H//6) + 4", "H + 4", "H % 6 == 0"),
        ("4*((H + 3)//4)", "2*((H + 1)//2)", "H % 4 == 0"),
        ("12*(H//12)", "4*(H//4)", "H % 12 == 0"),
        ("3*((H - 2)//3) + 2", "H", "H % 3 == 2"),
        ("32*((H + 31)//32)", "H", "H % 32 == 0"),
        ("H//2", "H//3", None),
        ("H", "H + 1", None),
        ("2048*(H//2048)", "H", None),
    ],
)
def test_the_sufficient_multiple(left: str, right: str, found: str | None) -> None:
    goal = Compare(Dim.parse(left), "==", Dim.parse(right))
    condition = sufficient(goal, FACTS)
    assert (None if condition is None else str(condition)) == found
    for size in range(1, 400) if condition else ():
        if condition is not None and condition.evaluate({"H": size}):
            assert goal.evaluate({"H": size})


def test_nothing_is_found_that_contradicts_what_is_known() -> None:
    odd = FACTS.assume(Condition.parse("H % 2 == 1"))
    goal = Compare(Dim.parse("4*(H//4)"), "==", Dim.parse("H"))
    assert sufficient(goal, odd) is None
    assert sufficient(goal, FACTS.assume(Condition.parse("H <= 100"))) is not None


def finding(body: str, require: str = "") -> Diagnostic:
    """The one problem of a model of these lines."""
    (found,) = compile_text(program(body, require)).check()
    assert found.code == "shape-mismatch"
    return found


def program(body: str, require: str) -> str:
    demanded = f"  require {require}\n" if require else ""
    return f"""edition 2026
import std.segmentation (Crop)
model probe(image: [N, 3, H, W]) -> [N, C, H2, W2] {{
{demanded}{body}
}}
"""


SKIP = """
  a = image -> conv1: Conv(8, 3, padding=1)
  b = a -> max_pool(2) -> conv2: Conv(8, 3, padding=1) -> max_pool(2)
  up = b -> up: ConvTranspose(8, 4, stride=4)
  return {merge}"""


@pytest.mark.parametrize("merge", ["a + up", "concat(a, up, axis=1)"])
def test_a_skip_names_a_size_both_chains_and_the_ways_out(merge: str) -> None:
    found = finding(SKIP.replace("{merge}", merge), "H >= 4 and W >= 4")
    assert found.counterexample[0] == ("H", 225)
    told = [label.text for label in found.chain]
    assert "`Conv` gives float32[N, 8, H, W]" in told
    assert "`ConvTranspose` gives float32[N, 8, 4*(H//4), 4*(W//4)]" in told
    demanded, crop, resize = found.help
    assert demanded == "demand `require H % 4 == 0 and W % 4 == 0`"
    assert crop.startswith("or cut `a` to the size of the other: `-> Crop(0, like=…)`")
    assert resize == 'or resize `up`: `-> interpolate([H, W], mode="bilinear")`'


@pytest.mark.parametrize(
    ("require", "merge"),
    [
        ("H % 4 == 0 and W % 4 == 0", "a + up"),
        ("H >= 4 and W >= 4", "(a -> Crop(0, like=up)) + up"),
        ("H >= 4 and W >= 4", 'a + (up -> interpolate([H, W], mode="bilinear"))'),
    ],
)
def test_each_way_out_is_one(require: str, merge: str) -> None:
    assert not list(compile_text(program(SKIP.replace("{merge}", merge), require)).check())


def test_a_crop_begins_where_the_other_lies() -> None:
    body = """
  x = image -> Conv(8, 5)
  return concat(image, x, axis=1)"""
    found = finding(body, "H >= 8 and W >= 8")
    assert found.help[0].startswith("cut `image` to the size of the other: `-> Crop(2, like=…)`")
    mended = body.replace("concat(image,", "concat(image -> Crop(2, like=x),")
    assert not list(compile_text(program(mended, "H >= 8 and W >= 8")).check())


def test_different_strides_are_named() -> None:
    found = finding("""
  a = image -> Conv(8, 3, stride=2, padding=1)
  b = a -> Conv(8, 3, stride=2, padding=1)
  return a + b""")
    assert "one place is 2 places of the input in `a`, but 4 in `b`" in found.notes
    assert not any("require" in line or "Crop" in line for line in found.help)


@pytest.mark.parametrize(
    ("name", "operator"),
    [
        ("vgg16", "`MaxPool`"),
        ("googlenet", "`max_pool`"),
        ("alexnet", "`MaxPool`"),
        ("densenet121", "`avg_pool`"),
        ("deconvnet", "`Conv`"),
        ("unet", "`Conv`"),
        ("unet_padded", "`concat`"),
    ],
)
def test_what_a_shipped_model_demands_is_needed_by_an_operator(name: str, operator: str) -> None:
    lines = api.check(name).demands()[name]
    assert len(lines) == 2
    for line, symbol in zip(lines, "HW", strict=True):
        assert line.startswith(f"{symbol} ")
        assert f"because of the {operator} on line" in line


def test_what_no_operator_needs_is_said() -> None:
    text = "edition 2026\nmodel m(x: [N, 3, H]) -> [N, 3, H] { require H >= 7; return x -> relu }\n"
    (lines,) = api.check(text).demands().values()
    assert lines == ("H >= 7, because the spec says so; no operator needs it alone",)


def test_specs_that_crop_or_resize_need_nothing() -> None:
    for name in ("fcn8s", "fcn16s", "fcn32s", "fcn_resnet50", "resnet50"):
        assert api.check(name).demands()[name] == ()


def test_the_place_in_another_file_is_named() -> None:
    lines = api.check("unet").demands()["unet"]
    assert lines[0].endswith(" of std/segmentation.arch")


def test_a_spec_is_a_path_too() -> None:
    spec = Path(__file__).parents[1] / "specs" / "unet.arch"
    demanded = api.check(spec, "unet_padded").demands()["unet_padded"]
    source = spec.read_text("utf-8").splitlines()
    line = int(demanded[0].rsplit(" ", 1)[1])
    assert demanded[0].startswith("H % 16 == 0, because of the `concat` on line")
    assert "concat(" in source[line - 1]


def test_check_prints_what_the_inputs_must_satisfy() -> None:
    """The numbers of lines are those of the spec as it is shipped."""
    said = CliRunner().invoke(main, ["check", "unet_padded", "--model", "unet_padded", "--sizes"])
    first, *demanded = said.output.splitlines()
    assert first == "unet_padded: fine (unet_padded)"
    assert [line.split(" on ")[0] for line in demanded] == [
        f"  unet_padded: {symbol} % 16 == 0, because of the `concat`" for symbol in "HW"
    ]
    plain = CliRunner().invoke(main, ["check", "resnet50", "--model", "resnet50", "--sizes"])
    assert plain.output.splitlines()[1] == "  resnet50: any size will do"


def test_summary_shows_strides_and_receptive_fields_when_asked() -> None:
    arguments = ["summary", "resnet50", "--depth", "1"]
    plain = CliRunner().invoke(main, arguments).output
    reached = CliRunner().invoke(main, [*arguments, "--reach"]).output
    assert "Stride" not in plain and "Receptive field" in reached
    rows = {line.split(":")[0].split()[0]: line.split()[-2:] for line in reached.splitlines()[4:10]}
    assert rows["conv1"] == ["2", "7"]
    assert rows["layer2"] == ["8", "91"]
    data = api.load("resnet50").summary_with_reach(1).to_dict()["layers"]
    assert [(row["stride"], row["receptive_field"]) for row in data][-1] == ("", "")
    assert all("stride" not in row for row in api.load("resnet50").summary(1).to_dict()["layers"])
