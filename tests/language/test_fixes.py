"""Sizes that make maps fit together, and the ways out that a message names."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from archdsl import api
from archdsl.cli import main
from archdsl.compiler import compile_text
from archdsl.diagnostics import Diagnostic
from archdsl.semantics.builder import CHAIN_LENGTH
from archdsl.sizes.conditions import Compare, Condition
from archdsl.sizes.dims import Dim
from archdsl.sizes.multiples import sufficient
from archdsl.sizes.proof import Facts

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


def test_a_chain_is_of_the_operators_that_change_something_each_told_once() -> None:
    norms = " -> BatchNorm -> relu" * CHAIN_LENGTH
    found = finding(f"""
  a = image -> conv1: Conv(8, 3, padding=1) -> conv2: Conv(16, 3, stride=2, padding=1){norms}
  return (a -> BatchNorm) + (a -> conv3: Conv(16, 3, padding=1) -> Upsample(scale_factor=2.0))""")
    assert [label.text for label in found.chain] == [
        "`image` is float32[N, 3, H, W]",
        "`Conv` gives float32[N, 8, H, W]",
        "`Conv` gives float32[N, 16, (H + 1)//2, (W + 1)//2]",
        "`Upsample` gives float32[N, 16, 2*((H + 1)//2), 2*((W + 1)//2)]",
    ]


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


def test_no_size_mends_channels_that_differ() -> None:
    found = finding("""
  scale = image -> global_avg_pool -> conv: Conv(2, 1)
  return image * scale""")
    assert "is 3 in one and 2 in the other" in found.message
    assert found.help == ()


def test_different_strides_are_named() -> None:
    found = finding("""
  a = image -> Conv(8, 3, stride=2, padding=1)
  b = a -> Conv(8, 3, stride=2, padding=1)
  return a + b""")
    assert "one place is 2 places of the input in `a`, but 4 in `b`" in found.notes
    assert not any("require" in line or "Crop" in line for line in found.help)


@pytest.mark.parametrize(
    ("name", "condition", "operator"),
    [
        ("vgg16", "H >= 32 and W >= 32", "MaxPool"),
        ("googlenet", "H >= 15 and W >= 15", "max_pool"),
        ("alexnet", "H >= 63 and W >= 63", "MaxPool"),
        ("densenet121", "H >= 29 and W >= 29", "avg_pool"),
        ("deconvnet", "H >= 224 and W >= 224", "Conv"),
        ("unet", "H >= 188 and W >= 188", "Conv"),
        ("unet_padded", "H % 16 == 0 and W % 16 == 0", "concat"),
        ("yolov3", "H % 32 == 0 and W % 32 == 0", "concat"),
        ("gpt2", "T <= 1024", "slice"),
    ],
)
def test_what_a_shipped_model_demands_is_needed_by_an_operator(
    name: str, condition: str, operator: str
) -> None:
    result = api.check(name)
    (demand,) = result.demands()[name]
    assert (str(demand.condition), demand.operator) == (condition, operator)
    source = result.sources[demand.span.file]
    assert operator in source.line(source.place(demand.span.start).line)


def needs(*lines: str) -> list[str]:
    """What is told of a model of these lines, which begin on the third."""
    body = "\n".join(lines)
    result = api.check(
        f"edition 2026\nmodel m(x: [N, 3, H]) -> [N, 3, H] {{\n{body}\nx -> relu\n}}\n"
    )
    assert result.ok, str(result)
    return list(result.needs())


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["require H >= 7"], ["H >= 7, as line 3 requires; no operator is known to need it alone"]),
        (
            ["require H >= 7", "y = x -> Conv(3, 7)"],
            ["H >= 7, because of the `Conv` on line 4"],
        ),
        (
            ["require H >= 9", "y = x -> Conv(3, 7)"],
            ["H >= 9, as line 3 requires; no operator is known to need it alone"],
        ),
        (
            [
                "require H % 2 == 0",
                "require H % 4 == 0 and H > 1",
                'y = x -> rearrange("N C (h q) -> N C h q", q=4)',
            ],
            ["H % 4 == 0, because of the `rearrange` on line 5"],
        ),
        (
            ["require H >= 3", "require H % 2 == 0", "y = x -> split([H // 2, H // 2], axis=H)"],
            [
                "H >= 3, as line 3 requires; no operator is known to need it alone",
                "H % 2 == 0, because of the `split` on line 5",
            ],
        ),
    ],
)
def test_each_demand_is_told_once_with_its_reason(lines: list[str], told: list[str]) -> None:
    assert needs(*lines) == told


def test_a_reason_is_where_sizes_meet_first_not_where_a_signature_made_them_one() -> None:
    result = api.check("""\
edition 2026
block Gate(side: [N, C, H, W], up: [N, D, H, W]) -> [N, C, H, W] {
  both = (side -> own: Conv(8, 1)) + (up -> other: Conv(8, 1))
  return side * (both -> score: Conv(1, 1) -> sigmoid)
}
model gated(image: [N, 3, H, W]) -> [N, 3, H, W] {
  require H % 2 == 0 and W % 2 == 0
  return image -> gate: Gate(up = image -> max_pool(2) -> interpolate(scale_factor=2.0))
}
""")
    assert list(result.needs()) == ["H % 2 == 0 and W % 2 == 0, because of the `add` on line 3"]


def test_specs_that_crop_or_resize_need_nothing() -> None:
    for name in ("fcn8s", "fcn16s", "fcn32s", "fcn_resnet50", "resnet50"):
        assert api.check(name).demands()[name] == ()


def test_check_prints_what_the_inputs_must_satisfy() -> None:
    """The numbers of lines are those of the spec as it is shipped."""
    said = CliRunner().invoke(main, ["check", "unet"]).output.splitlines()
    assert said[0].startswith("unet: fine (")
    assert [line.split(" on ")[0] for line in said[1:]] == [
        "  unet: H >= 188 and W >= 188, because of the `Conv`",
        "  unet_padded: H % 16 == 0 and W % 16 == 0, because of the `concat`",
    ]
    assert said[1].endswith(" of std/segmentation.arch")
    plain = CliRunner().invoke(main, ["check", "resnet50"]).output
    assert plain == "resnet50: fine (resnet50)\n"


def test_models_that_demand_the_same_share_a_line() -> None:
    said = CliRunner().invoke(main, ["check", "gpt2"]).output.splitlines()
    assert said[1:] and said[1].startswith("  gpt2, gpt2_medium, gpt2_large, gpt2_xl: T <= 1024")


def test_check_tells_programs_what_the_inputs_must_satisfy() -> None:
    said = CliRunner().invoke(main, ["check", "vgg16", "resnet50", "--json"])
    first, second = json.loads(said.output)["specs"]
    (demand,) = first["demands"]["vgg16"]
    assert (demand["condition"], demand["operator"]) == ("H >= 32 and W >= 32", "MaxPool")
    assert demand["file"] == "vgg.arch" and demand["start"]["line"] > 1
    assert second["demands"] == {"resnet50": []}


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
