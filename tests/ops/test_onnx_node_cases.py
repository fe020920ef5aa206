"""The operators of detection on the data with which the ONNX project tests runtimes."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from archdsl import api
from archdsl.runtime.run import run_onnx

FAMILIES = ("nonmaxsuppression", "roialign", "topk", "nonzero", "scatterelements")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    cases: Any = importlib.import_module("onnx.backend.test.case.node")
    for family in FAMILIES:
        # The cases are collected when the module is loaded.
        importlib.import_module(f"{cases.__name__}.{family}")

Inputs = list[np.ndarray]
Call = tuple[str, Inputs]
"""A call of the language, in which the inputs are a, b, c."""


def suppression(given: Inputs, attributes: Mapping[str, Any]) -> Call | None:
    if attributes:
        return None
    boxes, scores, most, iou, score = given
    settings = f"{iou.item()}, score_threshold={score.item()}, most={most.item()}"
    return f"non_max_suppression(a, b, {settings})", [boxes, scores]


def alignment(given: Inputs, attributes: Mapping[str, Any]) -> Call | None:
    features, corners, images = given
    if attributes.get("mode", b"avg") == b"max":
        return None
    aligned = attributes.get("coordinate_transformation_mode", b"half_pixel") == b"half_pixel"
    settings = (
        f"[{attributes['output_height']}, {attributes['output_width']}],"
        f" {attributes.get('spatial_scale', 1.0)},"
        f" sampling_ratio={attributes.get('sampling_ratio', 0)}, aligned={str(aligned).lower()}"
    )
    rois = np.concatenate((images[:, None].astype(corners.dtype), corners), 1)
    return f"roi_align(a, b, {settings})", [features, rois]


def first(given: Inputs, attributes: Mapping[str, Any]) -> Call | None:
    x, count = given
    largest = str(bool(attributes.get("largest", 1))).lower()
    settings = f"{count.item()}, axis={attributes.get('axis', -1)}, largest={largest}"
    return (f"topk(a, {settings})", [x]) if x.dtype != np.uint64 else None


def places(given: Inputs, attributes: Mapping[str, Any]) -> Call | None:
    return "nonzero(a) -> transpose(0, 1)", given


def scattering(given: Inputs, attributes: Mapping[str, Any]) -> Call | None:
    name = {b"none": "scatter", b"add": "scatter_add"}.get(attributes.get("reduction", b"none"))
    if name is None or (given[1] < 0).any():
        return None
    return f"{name}(a, b, c, axis={attributes.get('axis', 0)})", given


WRITTEN: Mapping[str, Callable[[Inputs, Mapping[str, Any]], Call | None]] = {
    "NonMaxSuppression": suppression,
    "RoiAlign": alignment,
    "TopK": first,
    "NonZero": places,
    "ScatterElements": scattering,
}


def trials() -> Iterator[Any]:
    for case in cases._NodeTestCases:
        nodes = case.model.graph.node
        if len(nodes) != 1 or nodes[0].op_type not in WRITTEN:
            continue
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in nodes[0].attribute}
        given, expected = case.data_sets[0]
        call = WRITTEN[nodes[0].op_type](list(given), attributes)
        if call is not None:
            yield pytest.param(*call, list(expected), id=case.name)


TRIALS = list(trials())


def test_there_is_data_of_every_operator() -> None:
    names = " ".join(str(trial.id) for trial in TRIALS)
    for name in ("nonmaxsuppression", "roialign", "top_k", "nonzero", "scatter_elements"):
        assert name in names


@pytest.mark.parametrize(("call", "inputs", "expected"), TRIALS)
def test_both_back_ends_give_what_onnx_expects(call: str, inputs: Inputs, expected: Inputs) -> None:
    names = "abc"[: len(inputs)]
    ports = ", ".join(
        f"{name}: {x.dtype}[{', '.join(map(str, x.shape))}]"
        for name, x in zip(names, inputs, strict=True)
    )
    results = ", ".join("xyz"[: len(expected)])
    network = api.load(
        f"edition 2026\nmodel m({ports}) {{\n  {results} = {call}\n  return {results}\n}}"
    )
    found = network.to_torch()(*(torch.from_numpy(x.copy()) for x in inputs))
    mine = [y.numpy() for y in (found if isinstance(found, tuple) else (found,))]
    exported = network.to_onnx().SerializeToString()
    for ours in (mine, run_onnx(exported, dict(zip(names, inputs, strict=True)))):
        for got, want in zip(ours, expected, strict=True):
            assert got.shape == want.shape
            # The expected means are written with four digits.
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
