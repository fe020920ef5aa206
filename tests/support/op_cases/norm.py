"""Normalisations, each in inference, with weights that are not their initial ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from op_harness import Case, Refused
from torch.nn import functional as F

ALL_OPSETS = (17, 18, 20, 21, 22, 23)

PAIR = ("float32", ("N", 4))
LINE = ("float32", ("N", 4, "L"))
IMAGE = ("float32", ("N", 4, "H", "W"))
VOLUME = ("float32", ("N", 4, "D", "H", "W"))

PAIRS = [{"N": 2}, {"N": 5}]
LINES = [{"N": 2, "L": 9}, {"N": 1, "L": 12}]
IMAGES = [{"N": 2, "H": 5, "W": 6}, {"N": 1, "H": 7, "W": 4}]
VOLUMES = [{"N": 2, "D": 2, "H": 5, "W": 3}, {"N": 1, "D": 3, "H": 2, "W": 4}]
SHAPES = [(PAIR, PAIRS), (LINE, LINES), (IMAGE, IMAGES), (VOLUME, VOLUMES)]

Weights = Mapping[str, torch.Tensor]


def by_running_statistics(eps: float) -> Callable[[torch.Tensor, Weights], torch.Tensor]:
    def oracle(x: torch.Tensor, w: Weights) -> torch.Tensor:
        mean, variance = w["running_mean"], w["running_var"]
        return F.batch_norm(x, mean, variance, w.get("weight"), w.get("bias"), eps=eps)

    return oracle


def by_own_statistics(x: torch.Tensor, w: Weights | None = None) -> torch.Tensor:
    w = w or {}
    return F.batch_norm(x, None, None, w.get("weight"), w.get("bias"), training=True)


def grouped(groups: int, eps: float = 1e-5) -> Callable[..., torch.Tensor]:
    def oracle(x: torch.Tensor, w: Weights | None = None) -> torch.Tensor:
        w = w or {}
        return F.group_norm(x, groups, w.get("weight"), w.get("bias"), eps)

    return oracle


def of_instances(x: torch.Tensor, w: Weights | None = None) -> torch.Tensor:
    w = w or {}
    return F.instance_norm(x, weight=w.get("weight"), bias=w.get("bias"), eps=1e-3)


def over_last(shape: Sequence[int], eps: float = 1e-5) -> Callable[..., torch.Tensor]:
    def oracle(x: torch.Tensor, w: Weights | None = None) -> torch.Tensor:
        w = w or {}
        return F.layer_norm(x, tuple(shape), w.get("weight"), w.get("bias"), eps)

    return oracle


def root_mean_square(axes: tuple[int, ...], eps: float | None) -> Callable[..., torch.Tensor]:
    def oracle(x: torch.Tensor, w: Weights | None = None) -> torch.Tensor:
        own = torch.finfo(torch.float32).eps if eps is None else eps
        y = x / (x.square().mean(axes, keepdim=True) + own).sqrt()
        return y if w is None else y * w["weight"]

    return oracle


def tiny(generator: Any, shape: tuple[int, ...]) -> Any:
    """Inputs so small that a wrong epsilon shows."""
    return generator.standard_normal(shape) * 1e-3


CASES = [
    # ------------------------------------------------------------------------ batch
    *(
        Case(
            "BatchNorm",
            [given],
            attributes,
            sizes=sizes,
            oracle=by_running_statistics(attributes.get("eps", 1e-5)),
            opsets=ALL_OPSETS,
        )
        for given, sizes in SHAPES
        for attributes in ({}, {"affine": False, "eps": 0.1}, {"momentum": None, "eps": 1e-3})
    ),
    *(
        Case(
            "BatchNorm",
            [given],
            attributes,
            sizes=sizes,
            oracle=by_own_statistics,
            opsets=ALL_OPSETS,
        )
        for given, sizes in SHAPES
        for attributes in (
            {"track_running_stats": False},
            {"track_running_stats": False, "affine": False, "momentum": 0.3},
        )
    ),
    # ------------------------------------------------------------------------ layer
    Case(
        "LayerNorm",
        [("float32", ("N", "L", 6))],
        sizes=LINES,
        oracle=over_last((6,)),
        opsets=ALL_OPSETS,
    ),
    Case("LayerNorm", [("float32", (6,))], sizes=[{}], oracle=over_last((6,))),
    Case(
        "LayerNorm",
        [("float32", ("N", "L", 3, 5))],
        {"axes": 2, "eps": 1e-12},
        sizes=LINES,
        oracle=over_last((3, 5), 1e-12),
        opsets=ALL_OPSETS,
    ),
    Case(
        "LayerNorm",
        [("float32", ("N", "L", 6))],
        {"bias": False, "eps": 1e-6},
        sizes=LINES,
        values=tiny,
        oracle=over_last((6,), 1e-6),
        opsets=ALL_OPSETS,
    ),
    Case(
        "LayerNorm",
        [("float32", (2, 3, 4))],
        {"elementwise_affine": False, "axes": 3},
        sizes=[{}],
        oracle=over_last((2, 3, 4)),
        opsets=ALL_OPSETS,
    ),
    # ------------------------------------------------------------------------ root mean square
    *(
        Case(
            "RMSNorm",
            [("float32", ("N", "L", 3, 5))],
            attributes,
            sizes=LINES,
            values=values,
            oracle=root_mean_square(
                tuple(range(-attributes.get("axes", 1), 0)), attributes.get("eps")
            ),
            opsets=ALL_OPSETS,
            exact=False,
        )
        for attributes in (
            {},
            {"eps": 1e-6},
            {"axes": 2, "eps": 0.01},
            {"elementwise_affine": False},
            {"elementwise_affine": False, "axes": 2},
        )
        for values in (None, tiny)
    ),
    # ------------------------------------------------------------------------ groups
    *(
        Case(
            "GroupNorm",
            [given],
            attributes,
            sizes=sizes,
            oracle=grouped(attributes["num_groups"], attributes.get("eps", 1e-5)),
            opsets=ALL_OPSETS,
        )
        for given, sizes in SHAPES
        for attributes in (
            {"num_groups": 2},
            {"num_groups": 1, "affine": False},
            {"num_groups": 4, "eps": 1e-2},
        )
        if not (given is PAIR and attributes["num_groups"] == 4)
    ),
    Case(
        "GroupNorm",
        [("float32", ("N", 6, "2*L"))],
        {"num_groups": 3},
        sizes=LINES,
        oracle=grouped(3),
        opsets=ALL_OPSETS,
        context=[("float32", ("L",))],
    ),
    # ------------------------------------------------------------------------ instances
    *(
        Case(
            "InstanceNorm",
            [given],
            {"eps": 1e-3, "affine": affine, "momentum": 0.5},
            sizes=sizes,
            oracle=of_instances,
            opsets=ALL_OPSETS,
        )
        for given, sizes in SHAPES[1:]
        for affine in (False, True)
    ),
    *(
        Case(
            "InstanceNorm",
            [given],
            {"track_running_stats": True, "affine": affine},
            sizes=sizes,
            oracle=by_running_statistics(1e-5),
            exact=False,
        )
        for given, sizes in SHAPES[1:]
        for affine in (False, True)
    ),
    # ------------------------------------------------------------------------ neighbours
    *(
        Case(
            "LocalResponseNorm",
            [(given[0], ("N", 9, *given[1][2:]))],
            attributes,
            sizes=sizes,
            oracle=lambda x, settings=attributes: F.local_response_norm(x, **settings),
            opsets=(17, 22, 23),
        )
        for given, sizes in SHAPES[1:]
        for attributes in (
            {"size": 5, "alpha": 0.3},
            {"size": 4, "alpha": 0.5, "beta": 0.4, "k": 2.0},
            {"size": 1, "alpha": 0.7, "k": 0.5},
            {"size": 12, "alpha": 2.0},
            {"size": 2},
        )
    ),
    # ------------------------------------------------------------------------ refused
    Refused("BatchNorm", [("float32", (4,))], match="2 or 3 or 4 or 5 axes"),
    Refused("BatchNorm", [("int64", ("N", 4))], code="dtype-mismatch", match="floating point"),
    Refused("BatchNorm", [("float32", ("N", "C"))], match="channels must be a known number"),
    Refused("BatchNorm", [("float32", (1, 4))], {"track_running_stats": False}, match="has 1"),
    *(
        Refused("BatchNorm", [PAIR], attributes, code="invalid-attribute", match="")
        for attributes in ({"eps": 0}, {"eps": float("nan")}, {"momentum": 1.5}, {"features": 4})
    ),
    Refused("LayerNorm", [PAIR], {"axes": 2}, match="normalised size must be a known number"),
    Refused("LayerNorm", [PAIR], {"axes": 3}, match="last 3 axes cannot be normalised.* has 2"),
    Refused("LayerNorm", [("int32", ("N", 4))], code="dtype-mismatch", match="floating point"),
    Refused("RMSNorm", [("float32", ("N", "D"))], match="normalised size must be a known"),
    Refused("GroupNorm", [LINE], {"num_groups": 3}, match="4 channels do not split into 3 groups"),
    Refused(
        "GroupNorm", [("float32", (1, 4, 1))], {"num_groups": 4}, match="more than one .* has 1"
    ),
    Refused("InstanceNorm", [PAIR], match="3 or 4 or 5 axes"),
    Refused("InstanceNorm", [("float32", ("N", 4, 1, 1))], match="channel of a sample.* has 1"),
    Refused("InstanceNorm", [LINE], {"momentum": None}, code="invalid-attribute", match="momentum"),
    Refused("LocalResponseNorm", [PAIR], {"size": 3}, match="3 or 4 or 5 axes"),
    Refused(
        "LocalResponseNorm", [LINE], {"size": 0}, code="invalid-attribute", match="greater than"
    ),
    Refused(
        "local_response_norm",
        [LINE],
        {"size": 3, "beta": float("inf")},
        code="invalid-attribute",
        match="finite",
    ),
]
