"""The table of blocks: its columns add up to what is said below it."""

from __future__ import annotations

from collections import Counter

import pytest

from archdsl import api
from archdsl.reports.summary import Row
from archdsl.sizes.dims import Dim

TWICE = """edition 2026
block Scores(x: [N, T, D]) -> [N, T, T] {
  q = x -> query: Linear(8)
  near = q -> attend: {
    einsum("n i d, n j d -> n i j", it, it) + matmul(it, it -> transpose(1, 2))
  }
  return near + einsum("n i d, n j d -> n i j", q, q) + einsum("n i d, n j d -> n i j", q, q)
}
model twice(x: [N, T, 6]) -> y: [N, T, T], training aux: [N, T, T] {
  return y = x -> first: Scores, training aux = x -> second: Scores
}
"""


def below(rows: tuple[Row, ...], row: Row) -> list[Row]:
    inside = [each for each in rows if each.path.startswith(f"{row.path}.")]
    return [each for each in inside if each.depth == row.depth + 1]


@pytest.mark.parametrize(
    "name",
    [
        "gpt2",
        "bert_base",
        "dalle_small",
        "seq2seq_attention",
        "googlenet",
        "fcn_resnet50",
        "yolov3",
    ],
)
def test_multiply_adds_are_those_of_the_rows_below(name: str) -> None:
    summary = api.load(name).summary(depth=20)
    assert Dim.total(row.macs for row in summary.rows if row.depth == 0) == summary.total.macs
    applied = Counter(row.path for row in summary.rows)
    for row in summary.rows:
        inside = below(summary.rows, row)
        if inside and applied[row.path] == 1:
            assert Dim.total(each.macs for each in inside) == row.macs, row.path


def test_functions_have_a_row_for_each_name_in_each_scope() -> None:
    network = api.load(TWICE)
    rows = {row.path: row for row in network.summary(depth=5, dims={"N": 1, "T": 10}).rows}
    assert {path: row.macs.value for path, row in rows.items() if row.kind == "function"} == {
        "first.attend.einsum": 800,
        "first.attend.matmul": 800,
        "first.einsum": 1600,
    }
    assert rows["first.attend"].macs.value == 1600


def test_what_only_training_needs_costs_nothing() -> None:
    rows = {row.path: row for row in api.load(TWICE).summary(depth=5).rows}
    assert rows["second"].macs.value == rows["second.query"].macs.value == 0
    assert rows["second"].parameters == rows["first"].parameters == 56


def test_a_tied_head_is_seen() -> None:
    text = str(api.load("gpt2").summary())
    (line,) = [line for line in text.splitlines() if "function" in line]
    assert line.split() == ["linear:", "function", f"{768 * 50257}*B*T"]
    assert "84934656*B*T" in text and f"{84934656 + 768 * 50257}*B*T" in text
    with_reach = str(api.load("gpt2").summary_with_reach())
    assert "linear: function" in with_reach
