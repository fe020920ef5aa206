"""Activations, softmax, dropout and the identity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from op_harness import Case, Refused
from torch.nn import functional as F

ALL_OPSETS = (17, 18, 20, 22, 23)

VECTOR = ("float32", ("N",))
IMAGE = ("float32", ("N", 4, "H", "W"))
VECTORS = [{"N": 30}, {"N": 200}]
IMAGES = [{"N": 2, "H": 5, "W": 3}, {"N": 1, "H": 1, "W": 7}]
WIDE = "uniform(-30, 30)"


def spread(generator: Any, shape: tuple[int, ...]) -> Any:
    """Large and small numbers, and exact zeros."""
    array = generator.uniform(-8, 8, shape)
    array[..., ::3] = 0
    return array


def activation(name: str, function: Callable[..., Any], **settings: Any) -> list[Case]:
    return [
        Case(
            name,
            [given],
            settings,
            sizes=sizes,
            oracle=lambda x: function(x, **settings),
            opsets=ALL_OPSETS,
            values=values,
            exact=False,
        )
        for given, sizes, values in (
            (VECTOR, VECTORS, WIDE),
            (IMAGE, IMAGES, None),
            (VECTOR, VECTORS, spread),
        )
    ]


def along(name: str, function: Callable[..., Any], axis: int | str, place: int) -> list[Case]:
    return [
        Case(
            name,
            [given],
            {"axis": axis},
            sizes=sizes,
            oracle=lambda x: function(x, place),
            opsets=(17, 23),
            values=values,
        )
        for given, sizes in (
            (("float32", ("N", "T", "D")), [{"N": 2, "T": 3, "D": 5}, {"N": 1, "T": 1, "D": 9}]),
        )
        for values in (None, WIDE)
    ]


def slopes(x: torch.Tensor, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    slope = weights["weight"].reshape(-1, *[1] * (x.dim() - 2))
    return torch.where(x > 0, x, slope * x)


HALVES = [{"N": 2, "K": 1}, {"N": 1, "K": 4}]

CASES = [
    *activation("ReLU", torch.relu),
    *activation("ReLU6", lambda x: x.clamp(0, 6)),
    *activation("LeakyReLU", F.leaky_relu),
    *activation("LeakyReLU", F.leaky_relu, negative_slope=0.3),
    *activation("LeakyReLU", F.leaky_relu, negative_slope=-0.5),
    *activation("ELU", F.elu),
    *activation("ELU", F.elu, alpha=0.4),
    *activation("ELU", F.elu, alpha=-1.5),
    *activation("GELU", F.gelu),
    *activation("GELU", F.gelu, approximate="tanh"),
    *activation("SiLU", lambda x: x * torch.sigmoid(x)),
    *activation("Sigmoid", torch.sigmoid),
    *activation("LogSigmoid", F.logsigmoid),
    *activation("Tanh", torch.tanh),
    *activation("Hardswish", lambda x: x * (x + 3).clamp(0, 6) / 6),
    *activation("Hardsigmoid", lambda x: (x / 6 + 0.5).clamp(0, 1)),
    *activation("Hardtanh", F.hardtanh),
    *activation("Hardtanh", F.hardtanh, min_val=-2.5, max_val=0.25),
    *activation("Softplus", F.softplus),
    *activation("Softplus", F.softplus, beta=2.5),
    *activation("Softplus", F.softplus, beta=0.5, threshold=3.0),
    *activation("Softplus", F.softplus, threshold=-1.0),
    *activation("Mish", F.mish),
    *activation("SELU", F.selu),
    *activation("CELU", F.celu),
    *activation("CELU", F.celu, alpha=2.5),
    *activation("Softsign", lambda x: x / (1 + x.abs())),
    *activation("Identity", lambda x: x),
    *activation("Dropout", lambda x: x),
    *activation("Dropout", lambda x, p: x, p=0.1),
    Case(
        "identity",
        [("bool", ("N", "K"))],
        sizes=HALVES,
        oracle=lambda x: x,
    ),
    *(
        case
        for name, function in (("Softmax", torch.softmax), ("LogSoftmax", torch.log_softmax))
        for axis, place in ((0, 0), (1, 1), (-1, 2), ("T", 1), ("N", 0))
        for case in along(name, function, axis, place)
    ),
    *(
        Case(
            "GLU",
            [("float32", ("N", "2*K", 6))],
            {"axis": axis} if axis != -1 else {},
            sizes=HALVES,
            oracle=lambda x, place=place: x.chunk(2, place)[0] * x.chunk(2, place)[1].sigmoid(),
            opsets=(17, 18, 23),
            exact=False,
        )
        for axis, place in ((1, 1), (-1, 2), (-2, 1))
    ),
    *(
        Case(
            "PReLU",
            [("float32", dims)],
            {"num_parameters": count, "init": 0.1} if count != 1 else {},
            sizes=IMAGES,
            oracle=slopes,
            opsets=ALL_OPSETS,
            exact=False,
        )
        for count, dims in (
            (1, ("N", "H")),
            (1, ("N", 4, "H", "W")),
            (4, ("N", 4)),
            (4, ("N", 4, "H")),
            (4, ("N", 4, "H", "W")),
        )
    ),
    Refused("relu", [("int64", ("N",))], code="dtype-mismatch", match="must be floating point"),
    Refused("Dropout", [VECTOR], {"p": 1.5}, code="invalid-attribute", match="less than or equal"),
    Refused("softmax", [VECTOR], {"axis": 1}, code="unknown-axis", match="axis 1 does not exist"),
    Refused("softmax", [VECTOR], {"axis": "C"}, code="unknown-axis", match="names no axis"),
    Refused("softmax", [VECTOR], code="invalid-attribute", match="axis"),
    Refused("GLU", [("float32", ("N", 5))], match="does not split into two halves"),
    Refused("GLU", [("float32", ("N", "C"))], match="does not split into two halves"),
    Refused("PReLU", [IMAGE], {"num_parameters": 3}, match="but is 3 for 4 channels"),
    Refused("PReLU", [VECTOR], {"num_parameters": 3}, match="but is 3 for 1 channels"),
    Refused("Hardtanh", [VECTOR], {"min_val": 2.0, "max_val": 1.0}, match="2.0 and 1.0"),
    Refused("Softplus", [VECTOR], {"beta": 0.0}, code="invalid-attribute", match="greater than 0"),
    Refused("CELU", [VECTOR], {"alpha": 0.0}, code="invalid-attribute", match="greater than 0"),
    Refused("ELU", [VECTOR], {"alpha": float("nan")}, code="invalid-attribute", match="finite"),
]
