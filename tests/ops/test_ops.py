"""Every operator, attribute by attribute, against torch and ONNX Runtime."""

from __future__ import annotations

import op_harness as harness
import pytest

CASES = [entry for entry in harness.entries() if isinstance(entry, harness.Case)]
REFUSED = [entry for entry in harness.entries() if isinstance(entry, harness.Refused)]


def _name(entry: harness.Case | harness.Refused) -> str:
    return entry.id


@pytest.mark.parametrize("family", [*harness.operator_families(), *harness.case_families()])
def test_family_can_be_imported(family: str) -> None:
    problem = {**harness.operator_families(), **harness.case_families()}[family]
    if problem is not None:
        raise problem


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_inferred_types_are_real(case: harness.Case) -> None:
    harness.check_inference(case)


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_torch_form_is_exact(case: harness.Case) -> None:
    harness.check_torch(case)


@pytest.mark.parametrize(
    ("case", "opset"),
    [pytest.param(case, opset, id=f"{case.id}-{opset}") for case in CASES for opset in case.opsets],
)
def test_onnx_form_is_exact(case: harness.Case, opset: int) -> None:
    harness.check_onnx(case, opset)


@pytest.mark.parametrize("entry", REFUSED, ids=_name)
def test_refused(entry: harness.Refused) -> None:
    harness.check_refusal(entry)


def test_every_operator_and_attribute_is_tried() -> None:
    assert not harness.untried_attributes(), "\n".join(harness.untried_attributes())
