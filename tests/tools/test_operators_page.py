"""The operators' pages."""

import json

import pytest

from archdsl.ir.op import Op
from archdsl.reports import operators as reference

OPERATORS = reference.operators()


@pytest.mark.parametrize("op", OPERATORS, ids=reference.name_of)
def test_every_operator_has_a_whole_page(op: type[Op]) -> None:
    sentence = reference.sentence(op)
    assert sentence.endswith(".")
    page = reference.page(op)
    assert sentence in page
    for attribute in reference.attributes(op):
        assert attribute["values"] != "any value"
        assert f"  {attribute['name']}" in page
    json.dumps(reference.record(op))


def test_an_operator_is_found_by_each_of_its_names() -> None:
    assert reference.operator("ReLU") is reference.operator("relu")
    assert reference.operator("relu6x") is None
    assert {"ReLU", "relu"} <= set(reference.operator_names())


def test_what_an_attribute_takes_is_said_as_the_language_has_it() -> None:
    conv = {each["name"]: each for each in reference.attributes(OPERATORS_BY_NAME["Conv"])}
    assert conv["out_channels"]["values"] == "int >= 1"
    assert conv["out_channels"]["positional"]
    assert conv["padding"]["values"] == 'int >= 0 or [int >= 0, ...] or "same" or "valid"'
    assert conv["bias"]["default"] == "true"
    softmax = reference.attributes(OPERATORS_BY_NAME["Softmax"])
    assert softmax[0]["values"] == "int or str"


OPERATORS_BY_NAME = {reference.name_of(op): op for op in OPERATORS}
