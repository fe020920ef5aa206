"""Which names the axes of a result have, and what products cost."""

from __future__ import annotations

from typing import Any

import pytest

import archdsl.ops  # noqa: F401
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import REGISTRY, Op
from archdsl.ir.types import DType, TensorType
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Facts


def given(
    *dims: int | str, axes: tuple[str | None, ...] = (), dtype: str = "float32"
) -> TensorType:
    return TensorType.of(DType(dtype), *dims, axes=axes)


def operator(name: str, **attributes: Any) -> Op:
    return REGISTRY[name].model_validate(attributes)


def names(op: Op, *xs: TensorType) -> Any:
    result = op.infer(Obligations(Facts()), *xs)
    if isinstance(result, tuple):
        return tuple(type.axes for type in result)
    return result.axes


IMAGE = given("N", 8, "H", "W", axes=("N", "C", "H", "W"))
SEQUENCE = given("B", "T", 12, axes=("B", "T", "D"))
SCORES = given("B", 2, "T", "T", axes=("B", "h", "i", "j"))
MASK = given("T", "T", axes=("T", None), dtype="bool")


@pytest.mark.parametrize(
    ("op", "inputs", "expected"),
    [
        (operator("add"), [IMAGE, given(8, 1, 1)], ("N", "C", "H", "W")),
        (operator("add"), [given("N", "H"), given("N", "H", axes=("N", "T"))], ("N", None)),
        (operator("add"), [given("N", 1, axes=("N", "one")), given("N", "H")], ("N", "H")),
        (operator("where"), [MASK, SCORES, given()], ("B", "h", "i", "j")),
        (operator("relu"), [IMAGE], ("N", "C", "H", "W")),
        (operator("mean", axis=("H", "W")), [IMAGE], ("N", "C")),
        (operator("mean", axis="H", keepdim=True), [IMAGE], ("N", "C", "H", "W")),
        (operator("argmax", axis="C"), [IMAGE], ("N", "H", "W")),
        (operator("concat", axis="C"), [IMAGE, IMAGE], ("N", "C", "H", "W")),
        (operator("stack", axis=1), [IMAGE, IMAGE], ("N", None, "C", "H", "W")),
        (operator("split", parts=2, axis="C"), [IMAGE], (("N", "C", "H", "W"),) * 2),
        (operator("flatten", start_axis=2), [IMAGE], ("N", "C", None)),
        (operator("reshape", shape=("N", 2, 4, "H", "W")), [IMAGE], ("N", None, None, "H", "W")),
        (operator("permute", axes=(0, "W", "H", 1)), [IMAGE], ("N", "W", "H", "C")),
        (operator("transpose", axis0=1, axis1=-1), [SEQUENCE], ("B", "D", "T")),
        (operator("unsqueeze", axis=1), [SEQUENCE], ("B", None, "T", "D")),
        (operator("slice", axis="T", start=1), [SEQUENCE], ("B", "T", "D")),
        (operator("select", axis="T", index=0), [SEQUENCE], ("B", "D")),
        (
            operator("rearrange", pattern="b t (h e) -> b h t e", sizes={"h": 3}),
            [SEQUENCE],
            ("b", "h", "t", "e"),
        ),
        (operator("rearrange", pattern="n c h w -> n (h w) c"), [IMAGE], ("n", None, "c")),
        (
            operator("split", parts="B T (3 h e) -> 3 B h T e", sizes={"h": 2}),
            [SEQUENCE],
            (("B", "h", "T", "e"),) * 3,
        ),
        (
            operator("einsum", pattern="B i d, B j d -> B i j"),
            [SEQUENCE, SEQUENCE],
            ("B", "i", "j"),
        ),
        (operator("arange", end="T"), [], ("T",)),
        (operator("interpolate", scale_factor=2.0), [IMAGE], ("N", "C", "H", "W")),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Op) else "",
)
def test_axes_keep_their_names(op: Op, inputs: list[TensorType], expected: Any) -> None:
    assert names(op, *inputs) == expected


def test_einsum_counts_a_multiply_add_for_every_combination_of_places() -> None:
    scores = operator("einsum", pattern="B i d, B j d -> B i j")
    assert scores.macs(SEQUENCE, SEQUENCE) == Dim.parse("12*B*T*T")


def test_einsum_of_one_value_costs_nothing() -> None:
    assert operator("einsum", pattern="B i d -> B d i").macs(SEQUENCE) == 0


def test_einsum_of_three_values_costs_what_the_two_products_cost() -> None:
    chain = operator("einsum", pattern="i k, k l, l j -> i j")
    types = given(2, 3), given(3, 5), given(5, 7)
    assert chain.macs(*types) == 2 * 3 * 5 + 2 * 5 * 7
