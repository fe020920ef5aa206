"""Recurrent layers beside torch's modules with the same weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from op_harness import Case, Refused
from torch import nn

OPSETS = (17, 22)

Weights = Mapping[str, torch.Tensor]

SIZES = [
    {"T": 7, "N": 3},
    {"T": 1, "N": 1},
    {"T": 2, "N": 1},
    {"T": 1, "N": 3},
]


def torchs(
    name: str, hidden: int, *, backwards: bool = False, **settings: Any
) -> Callable[..., tuple[torch.Tensor, ...]]:
    """The module of torch, its weights set, and its nested outputs in a row.

    Backwards is what the module does to the steps in reverse order, in their own order again.
    """
    time = int(settings.get("batch_first", False))

    def oracle(x: torch.Tensor, *others: Any) -> tuple[torch.Tensor, ...]:
        *states, weights = others
        x = x.flip(time) if backwards else x
        module = getattr(nn, name)(x.shape[2], hidden, dtype=x.dtype, **settings).eval()
        module.load_state_dict(weights)
        given = tuple(states) if name == "LSTM" and states else states[0] if states else None
        y, final = module(x, given)
        y = y.flip(time) if backwards else y
        return (y, *final) if isinstance(final, tuple) else (y, final)

    return oracle


def case(
    name: str,
    hidden: int = 5,
    dtype: str = "float32",
    states: bool = False,
    opsets: Sequence[int] = OPSETS,
    sizes: Sequence[Mapping[str, int]] = SIZES,
    **settings: Any,
) -> Case:
    first = settings.get("batch_first", False)
    inputs: list[Any] = [(dtype, ("N", "T", 4) if first else ("T", "N", 4))]
    if states:
        cells = settings.get("num_layers", 1) * (1 + settings.get("bidirectional", False))
        inputs.append((dtype, (cells, "N", settings.get("proj_size") or hidden)))
        if name == "LSTM":
            inputs.append((dtype, (cells, "N", hidden)))
    return Case(
        name,
        inputs,
        {"hidden_size": hidden, **settings},
        sizes=sizes,
        oracle=torchs(name, hidden, **settings),
        opsets=opsets,
        # With larger weights a recurrence is chaotic, and no two ways to compute it agree.
        spread=0.5,
    )


def combinations(name: str) -> Iterator[Case]:
    """One and two layers, every direction, with and without states, in both layouts."""
    for layers in (1, 2):
        for direction in ("forwards", "backwards", "bidirectional"):
            for states in (False, True):
                for first in (False, True):
                    settings: dict[str, Any] = {}
                    if layers == 2:
                        settings |= {"num_layers": 2, "dropout": 0.25}
                    if direction != "forwards":
                        settings[direction] = True
                    if first:
                        settings["batch_first"] = True
                    yield case(name, states=states, **settings)


def others(name: str) -> Iterator[Case]:
    """Without biases, in other element types, and with one feature."""
    yield case(name, bias=False, bidirectional=True)
    yield case(name, bias=False, num_layers=3)
    yield case(name, hidden=1)
    yield case(name, dtype="float64", states=True, num_layers=2, bidirectional=True)
    for dtype in ("float16", "bfloat16"):
        yield case(name, dtype=dtype, opsets=(), states=True, num_layers=2, bidirectional=True)
    yield case(name, dtype="float64", batch_first=True)
    yield case(name, dtype="float64", batch_first=True, states=True, num_layers=2, backwards=True)
    yield case(name, dtype="float64", bias=False)
    yield case(name, sizes=[{"T": 300, "N": 2}])


def refusals(name: str) -> Iterator[Refused]:
    line = ("float32", ("T", "N", 4))
    yield Refused(name, [("float32", ("T", 4))], {"hidden_size": 5}, match="a batch axis of size 1")
    yield Refused(name, [("int64", ("T", "N", 4))], {"hidden_size": 5}, code="dtype-mismatch",
                  match="must be floating point")  # fmt: skip
    yield Refused(name, [("float32", ("T", "N", "I"))], {"hidden_size": 5},
                  match="input features must be a known number")  # fmt: skip
    yield Refused(name, [("float32", (0, "N", 4))], {"hidden_size": 5}, match="at least 1 step")
    yield Refused(name, [("float32", ("N", 0, 4))], {"hidden_size": 5, "batch_first": True},
                  match="at least 1 step, but axis 1")  # fmt: skip
    yield Refused(name, [line], {"hidden_size": 5, "dropout": 0.5}, match="there is 1 layer")
    yield Refused(name, [line], {"hidden_size": 5, "backwards": True, "bidirectional": True},
                  match="walks both ways")  # fmt: skip
    yield Refused(name, [line], {"hidden_size": 0}, code="invalid-attribute", match="hidden_size")
    yield Refused(name, [line], {"hidden_size": 5, "num_layers": 100_000},
                  code="invalid-attribute", match="num_layers")  # fmt: skip


def wrong_states(name: str) -> Iterator[Refused]:
    """Initial states of another count, batch, width, rank or type."""
    line = ("float32", ("T", "N", 4))
    settings = {"hidden_size": 5, "num_layers": 2}
    right = "`h0` must be float32\\[2, N, 5\\], but is "
    for given, found, code in (
        (("float32", (1, "N", 5)), "float32\\[1, N, 5\\]", "shape-mismatch"),
        (("float32", (2, "M", 5)), "float32\\[2, M, 5\\]", "shape-mismatch"),
        (("float32", (2, "N", 4)), "float32\\[2, N, 4\\]", "shape-mismatch"),
        (("float32", (2, "N")), "float32\\[2, N\\]", "shape-mismatch"),
        (("float64", (2, "N", 5)), "float64\\[2, N, 5\\]", "dtype-mismatch"),
    ):
        more = [("float32", (2, "N", 5))] if name == "LSTM" else []
        yield Refused(name, [line, given, *more], settings, code=code, match=right + found)


LONG_SHORT_TERM: list[Case | Refused] = [
    *(
        case("LSTM", proj_size=3, states=states, **settings)
        for states in (False, True)
        for settings in (
            {},
            {"batch_first": True},
            {"num_layers": 2, "bidirectional": True},
            {"num_layers": 2, "bidirectional": True, "batch_first": True, "bias": False},
        )
    ),
    case("LSTM", proj_size=3, dtype="float64", num_layers=2),
    Refused("LSTM", [("float32", ("T", "N", 4))], {"hidden_size": 5, "proj_size": 5},
            match="less than `hidden_size`, 5, but is 5"),
    Refused("LSTM", [("float32", ("T", "N", 4)), ("float32", (1, "N", 5))], {"hidden_size": 5},
            code="wrong-input-count", match="only `h0` is"),
    Refused("LSTM", [("float32", ("T", "N", 4)), ("float32", (1, "N", 5)),
                     ("float32", (1, "N", 3))], {"hidden_size": 5},
            match="`c0` must be float32\\[1, N, 5\\], but is float32\\[1, N, 3\\]"),
]  # fmt: skip

PLAIN = [
    case("RNN", nonlinearity="relu"),
    case("RNN", nonlinearity="relu", states=True, num_layers=2, bidirectional=True),
    case("RNN", nonlinearity="relu", dtype="float64", bidirectional=True),
    Refused("RNN", [("float32", ("T", "N", 4))], {"hidden_size": 5, "nonlinearity": "gelu"},
            code="invalid-attribute", match="tanh"),
]  # fmt: skip

CASES: list[Case | Refused] = [
    entry
    for name in ("RNN", "LSTM", "GRU")
    for part in (combinations(name), others(name), refusals(name), wrong_states(name))
    for entry in part
]
GATED = [
    # PyTorch has no such layer: tests/test_recurrent.py compares it with one written by hand.
    Refused("GRU", [("float32", ("T", "N", 4))], {"hidden_size": 5, "reset_after": 2.5},
            code="invalid-attribute", match="reset_after"),
]  # fmt: skip

CASES += [*LONG_SHORT_TERM, *PLAIN, *GATED]
