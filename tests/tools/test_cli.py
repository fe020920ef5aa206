"""The command line: commands, options, exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from archdsl.cli import main
from archdsl.cli.options import setting

GOOD = """\
edition 2026

## Halves an image.
model halve(width: int = 8)(image: [N, 1, H, W]) -> [N, width, ceildiv(H, 2), ceildiv(W, 2)] {
  return image -> conv: Conv(width, 3, stride=2, padding=1)
}
"""
BAD = GOOD.replace("ceildiv(H, 2)", "H // 2")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "good.arch").write_text(GOOD)
    (tmp_path / "bad.arch").write_text(BAD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def archdsl(*arguments: str, code: int = 0) -> Result:
    """Run a command in process; its exit code must be that, and there is never a traceback."""
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert "this is a bug" not in result.output
    return result


def answer(*arguments: str, code: int = 0) -> Any:
    return json.loads(archdsl(*arguments, "--json", code=code).stdout)


# -------------------------------------------------------------------------------- without specs


def test_version_and_help() -> None:
    assert archdsl("--version").output.startswith("archdsl, version 0.")
    assert "SPEC" in archdsl("-h").output
    for command in main.commands:
        assert "Usage" in archdsl(command, "-h").output


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["check"],
        ["check", "--nonsense"],
        ["check", "lenet5", "--dim", "N"],
        ["check", "lenet5", "--dim", "N=many"],
        ["check", "lenet5", "--dim", "N=true"],
        ["check", "lenet5", "--set", "=1"],
        ["check", "lenet5", "--set", "classes=99999999999999999999"],
        ["check", "lenet5", "--limit", "nonsense=1"],
        ["check", "lenet5", "--limit", "nesting=0"],
        ["export", "lenet5", "--opset", "-1"],
        ["export", "lenet5", "--weights", "missing.safetensors"],
        ["explain", "shape-mismatsch"],
        ["ops", "Cnov"],
        ["new", "2x"],
        ["new", "a/b"],
        ["new", "../b"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_two(arguments: list[str], folder: Path) -> None:
    result = archdsl(*arguments, code=2)
    assert "Error: " in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-1_000", -1000),
        ("0.5", 0.5),
        ("1e-3", 1e-3),
        ("true", True),
        ("none", None),
        ("[3, 4, 6, 3]", [3, 4, 6, 3]),
        ("[]", []),
        ("[[1, 2], [3]]", [[1, 2], [3]]),
        ('["a,b", c]', ["a,b", "c"]),
        ('"3"', "3"),
        ("Bottleneck", "Bottleneck"),
        ("GroupNorm(groups=32, eps=1e-5)", "GroupNorm(groups=32, eps=1e-5)"),
        ("1e400", float("inf")),
    ],
)
def test_settings_are_literals_or_text(text: str, value: object) -> None:
    assert setting(text) == value
    assert type(setting(text)) is type(value)


def test_list_names_the_shipped_models() -> None:
    assert "resnet50" in archdsl("list").output
    assert "resnet50" in answer("list")


def test_ops_from_the_registry() -> None:
    assert "MaxPool" in archdsl("ops").output
    assert archdsl("ops", "Linaer", code=2).stderr.count("did you mean Linear")
    page = archdsl("ops", "Conv").output
    assert page.startswith("Conv(out_channels, kernel_size, stride=1")
    data = answer("ops", "Conv")
    assert data["inputs"] == ["x"]
    assert data["attributes"][0]["values"] == "int >= 1"
    assert len(answer("ops")) > 50


def test_explain() -> None:
    assert "shape-mismatch" in archdsl("explain").output.split()
    assert archdsl("explain", "shape-mismatch").output.startswith("# shape-mismatch\n")
    assert "did you mean shape-mismatch" in archdsl("explain", "shape-missmatch", code=2).stderr


def test_schema() -> None:
    schema = json.loads(archdsl("schema").stdout)
    assert "blocks" in schema["properties"]


# ----------------------------------------------------------------------------------- with specs


def test_check(folder: Path) -> None:
    assert archdsl("check", "good.arch").output.startswith("good.arch: ")
    result = archdsl("check", "good.arch", "bad.arch", code=1)
    assert "error[" in result.stdout
    assert "counter-example: " in result.stdout
    data = answer("check", "good.arch", "bad.arch", code=1)
    assert [spec["ok"] for spec in data["specs"]] == [True, False]
    assert data["specs"][1]["diagnostics"][0]["start"]["line"] > 1
    concise = archdsl("check", "bad.arch", "--concise", code=1).stdout
    assert concise.startswith("bad.arch:")


def test_other_commands_report_findings_on_standard_error(folder: Path) -> None:
    result = archdsl("build", "bad.arch", code=1)
    assert result.stdout == ""
    assert "error[" in result.stderr
    assert not (folder / "bad.onnx").exists()
    assert answer("summary", "bad.arch", code=1)["diagnostics"]


@pytest.mark.parametrize("name", ["missing.arch", "resnet5O", ".", "/dev/null/x", "x" * 999])
@pytest.mark.parametrize("command", ["check", "build"])
def test_a_spec_that_is_not_there(folder: Path, command: str, name: str) -> None:
    assert archdsl(command, name, code=2).output


def test_a_near_name_is_offered(folder: Path) -> None:
    assert "resnet50" in archdsl("check", "resnet5O", code=2).stderr


def test_build_writes_a_whole_file(folder: Path) -> None:
    archdsl("build", "good.arch", "-o", "halve.py")
    text = (folder / "halve.py").read_text()
    assert text == archdsl("build", "good.arch").stdout
    compile(text, "halve.py", "exec")
    assert sorted(path.name for path in folder.iterdir()) == ["bad.arch", "good.arch", "halve.py"]


def test_settings_dims_and_limits_are_used(folder: Path) -> None:
    data = answer("summary", "good.arch", "--set", "width=2", "--dim", "N=1", "--dim", "H=8")
    assert data["parameters"] == 2 * 9 + 2
    archdsl("check", "good.arch", "--set", "widht=2", code=1)
    archdsl("check", "good.arch", "--limit", "file-bytes=10", code=1)
    archdsl("check", "good.arch", "--limit", "file_bytes=10", code=1)
    for command in ("check", "summary"):
        found = archdsl(command, "good.arch", "--set", "limits=3", code=1)
        assert "has no argument `limits`" in found.stdout + found.stderr


def test_ir_and_expand_write_text(folder: Path) -> None:
    assert json.loads(archdsl("ir", "good.arch").stdout)["name"] == "halve"
    flat = archdsl("expand", "good.arch").stdout
    (folder / "flat.arch").write_text(flat)
    archdsl("check", "flat.arch")


def test_export(folder: Path) -> None:
    data = answer("export", "good.arch", "-o", "x.onnx", "--opset", "18")
    assert data["bytes"] == (folder / "x.onnx").stat().st_size
    archdsl("export", "good.arch")
    assert (folder / "halve.onnx").exists()
    archdsl("export", "good.arch", "-o", "y.onnx", "--opset", "5", code=1)
    assert not (folder / "y.onnx").exists()


def test_export_and_verify(folder: Path) -> None:
    archdsl("export", "good.arch", "-o", "x.onnx", "--verify")


def test_run(folder: Path) -> None:
    import numpy as np

    image = np.random.default_rng(0).standard_normal((2, 1, 5, 5), np.float32)
    np.save(folder / "x.npy", image)
    archdsl("run", "good.arch", "--input", "x.npy", "-o", "torch.npz")
    archdsl("run", "good.arch", "--input", "image=x.npy", "--onnx", "-o", "onnx.npz")
    with np.load(folder / "torch.npz") as ours, np.load(folder / "onnx.npz") as theirs:
        assert ours.files == theirs.files
        for name in ours.files:
            assert ours[name].shape == (2, 8, 3, 3)
            np.testing.assert_allclose(ours[name], theirs[name], atol=1e-5)
    archdsl("run", "good.arch", "--input", "nonsense=x.npy", code=2)
    archdsl("run", "good.arch", "--input", "bad.arch", code=2)


def test_new_writes_a_model_that_checks(folder: Path) -> None:
    archdsl("new", "first")
    archdsl("check", "first.arch")
    assert "exists" in archdsl("new", "first", code=2).stderr


# ------------------------------------------------------------------------------------ failures


def test_a_bug_is_one_line_and_two(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **settings: object) -> None:
        raise RuntimeError("odd\x1b[31m")

    monkeypatch.setattr("archdsl.api.loaded", broken)
    result = CliRunner().invoke(main, ["build", "good.arch"])
    assert result.exit_code == 2
    assert result.stderr == (
        "archdsl: this is a bug in archdsl (RuntimeError: odd<U+001B>[31m);"
        " ARCHDSL_DEBUG=1 shows where\n"
    )
    monkeypatch.setenv("ARCHDSL_DEBUG", "1")
    assert isinstance(CliRunner().invoke(main, ["build", "good.arch"]).exception, RuntimeError)


def test_a_missing_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **settings: object) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("archdsl.api.loaded", broken)
    assert "pip install 'archdsl[torch]'" in archdsl("build", "good.arch", code=2).stderr


def test_interruption(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **settings: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("archdsl.api.loaded", interrupted)
    archdsl("build", "good.arch", code=130)


def test_an_unwritable_place(folder: Path) -> None:
    result = archdsl("build", "good.arch", "-o", "missing/x.py", code=2)
    assert "no such file or directory" in result.stderr


def test_a_closed_pipe_is_quiet(folder: Path) -> None:
    command = f"{sys.executable} -m archdsl list | true"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, env=os.environ)
    assert "Traceback" not in result.stderr
