"""The rules of docs/architecture.md: who may import whom, and what is loaded when."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import archdsl

PACKAGE = Path(archdsl.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in FILES]

LAYERS = [
    {"gc_pause", "source", "version"},
    {"atomic_files", "diagnostics", "limits", "resources"},
    {"problems"},
    {"render"},
    {"sizes"},
    {"ir"},
    {"ops", "syntax"},
    {"weights"},
    {"passes", "rewrites"},
    {"semantics"},
    {"backends", "reports", "runtime"},
    {"compiler"},
    {"checking"},
    {"api"},
    {"cli"},
    {"__main__"},
]
"""From the ground up; a part imports only itself and what stands on lower floors."""

FLOOR = {part: floor for floor, parts in enumerate(LAYERS) for part in parts}

ONLY_IN = {
    "lark": ("syntax/",),
    "z3": ("sizes/solver.py",),
    "torch": ("backends/torch/live.py", "runtime/", "weights/dtypes.py"),
    "onnx": ("backends/onnx/",),
    "onnxruntime": ("runtime/",),
    "rich": ("render/", "reports/summary.py", "cli/"),
    "click": ("cli/",),
    "PIL": ("cli/pictures.py",),
}
"""Third-party packages and the places that may import them."""

LAZY = {"PIL", "z3", "rich", "torch", "onnxruntime"}
"""Imported only inside functions, never when a module is loaded."""


def imports(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Every module imported at run time, and whether as soon as the file is loaded."""
    waiting = [(tree, True)]
    while waiting:
        node, at_load = waiting.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_load) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            yield module, at_load
            yield from ((f"{module}.{alias.name}", at_load) for alias in node.names)
        inside = at_load and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not typing_only:
            waiting += [(child, inside) for child in ast.iter_child_nodes(node)]


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_part_imports_only_what_stands_below_it(path: Path) -> None:
    here = part(path)
    if here == "__init__":
        return
    for module, _ in imports(ast.parse(path.read_text())):
        package, _, rest = module.partition(".")
        there = rest.partition(".")[0]
        if package != "archdsl" or there in ("", here, "__version__"):
            continue
        below = FLOOR[there] < FLOOR[here]
        assert below, f"{here} imports {module}, which does not stand below it"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_third_parties_are_imported_where_they_belong(path: Path) -> None:
    name = path.relative_to(PACKAGE).as_posix()
    for module, at_load in imports(ast.parse(path.read_text())):
        package = module.partition(".")[0]
        if package in ONLY_IN:
            assert name.startswith(ONLY_IN[package]), f"{name} imports {module}"
        assert not (at_load and package in LAZY), f"{name} imports {module} when it is loaded"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_only_rewrites_and_transforms_know_an_operator_by_its_class(path: Path) -> None:
    name = path.relative_to(PACKAGE).as_posix()
    if name.startswith(("ops/", "rewrites/", "passes/transform/")):
        return
    modules = {module for module, _ in imports(ast.parse(path.read_text()))}
    assert not {module for module in modules if module.startswith("archdsl.ops.")}


def test_every_operator_is_announced_with_its_family() -> None:
    program = (
        "import archdsl.ops, importlib, json, sys\n"
        "from archdsl.ir.op import REGISTRY\n"
        "announced = list(REGISTRY)\n"
        "for family in sys.argv[1:]: importlib.import_module(family)\n"
        "print(json.dumps([announced, list(REGISTRY)]))\n"
    )
    paths = sorted((PACKAGE / "ops").rglob("[!_]*.py"))
    families = [".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts) for p in paths]
    command = [sys.executable, "-c", program, *families]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    announced, found = json.loads(result.stdout)
    assert sorted(announced) == sorted(found)


def test_families_that_a_network_does_not_need_are_not_loaded() -> None:
    program = "import archdsl, sys; archdsl.load('lenet5'); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "archdsl.ops.spatial.conv" in result.stdout.split()
    assert "archdsl.ops.reduction.norm" not in result.stdout.split()


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_files_are_short_and_say_what_they_know(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 500
    assert not text or ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_nothing_is_evaluated_or_unpickled(path: Path) -> None:
    calls = {
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    }
    allowed = {"exec"} if path.name == "live.py" else set[str]()
    assert not calls & {"eval", "exec", "pickle.load", "pickle.loads", "os.system"} - allowed


def loaded(*arguments: str) -> set[str]:
    """The top-level packages loaded after a command has run in a process of its own."""
    program = (
        "import sys, json\n"
        "from archdsl.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    command = [sys.executable, "-c", program, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(json.loads(result.stdout.splitlines()[-1]))


def test_version_loads_next_to_nothing() -> None:
    assert not loaded("--version") & {"lark", "pydantic", "numpy", "onnx", "rich", "torch", "z3"}


@pytest.mark.parametrize("command", ["check", "summary", "expand", "ir", "build"])
def test_compiling_loads_neither_torch_nor_onnx(command: str) -> None:
    assert not loaded(command, "resnet50") & {"torch", "onnx", "onnxruntime"}


def test_exporting_does_not_load_torch(tmp_path: Path) -> None:
    assert "torch" not in loaded("export", "lenet5", "-o", str(tmp_path / "lenet5.onnx"))
