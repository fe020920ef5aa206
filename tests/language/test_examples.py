"""The example in every operator's documentation is a program that compiles."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Iterator

import op_harness as harness
import pytest

from archdsl import api
from archdsl.ir.op import Op
from archdsl.ir.types import DType
from archdsl.reports import operators as reference

EXAMPLE = re.compile(r"Example: `(.*?)`\s*\Z", re.DOTALL)
SHAPES = [
    "float32[N, C]",
    "float32[N, 4]",
    "float32[N, 4, H, W]",
    "float32[N, C, H, W]",
    "float32[N, T, 8]",
    "float32[N, C, L]",
    "float32[2, 4]",
    "float32[B, H, I, J]",
    "int64[N, T]",
    "bool[N, C]",
]


def example(op: type[Op]) -> str:
    found = EXAMPLE.search(inspect.getdoc(op) or "")
    assert found is not None, "no line `Example: …`"
    return " ".join(found[1].split())


def given(op: type[Op]) -> Iterator[list[str]]:
    """Types of inputs to try: those of the operator's cases, then what is usual."""
    names = {op.layer, op.function}
    for case in harness.entries():
        if isinstance(case, harness.Case) and case.op in names:
            types = [harness.tensor_type(one) for one in case.inputs or case.context]
            yield [f"{type.dtype}[{', '.join(map(str, type.dims))}]" for type in types]
    count = max(1, len(op.input_names()))
    for shapes in itertools.product(SHAPES, repeat=min(count, 2)):
        yield [*shapes, *([shapes[-1]] * (count - len(shapes)))]


def program(text: str, names: list[str], types: list[str]) -> str:
    ports = ", ".join(f"{name}: {type}" for name, type in zip(names, types, strict=False))
    assigned = re.match(r"([a-z_0-9]+(?:, [a-z_0-9]+)*) = ", text)
    statements = text.replace("; ", "\n") if assigned else f"result = {text}"
    returned = assigned[1] if assigned else "result"
    known = {"H": "H >= 32", "W": "W >= 32", "C": "C % 4 == 0", "T": "T >= 2"}
    facts = [fact for name, fact in known.items() if re.search(rf"\b{name}\b", ports)]
    require = f"require {' and '.join(facts)}\n" if facts else ""
    return f"edition 2026\nmodel m({ports}) {{\n{require}{statements}\nreturn {returned}\n}}"


def free_names(text: str) -> list[str]:
    """What an example takes for granted: small names that no operator has."""
    text = re.sub(r'"[^"]*"', "", text.rpartition(" = ")[2])
    names = re.findall(r"\b[a-z][a-z_0-9]*\b(?!\s*=[^=])", text)
    known = {*reference.operator_names(), *DType, "true", "false", "none", "j", "i"}
    return list(dict.fromkeys(name for name in names if name not in known)) or ["x"]


@pytest.mark.parametrize("op", reference.operators(), ids=reference.name_of)
def test_the_example_compiles(op: type[Op]) -> None:
    text = example(op)
    told: dict[str, None] = {}
    for types in given(op):
        result = api.check(program(text, free_names(text), types))
        if result.ok:
            return
        told[str(result)] = None
    pytest.fail(f"{text}\n{chr(10).join(told)}")
