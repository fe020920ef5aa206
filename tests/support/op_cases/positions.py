"""Sinusoidal and rotary positions, ALiBi's biases, T5's buckets: against the papers' formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from op_harness import Case, Given, Refused

OPSETS = (17, 23)
CONTEXT: list[Given] = [("float32", ("B", "T", "S"))]
SIZES = [{"B": 3, "T": 1, "S": 7}, {"B": 1, "T": 2, "S": 1}, {"B": 2, "T": 7, "S": 30}]

Size = Any
"""A size, or what tells it from the shape of the context."""


def known(size: Size, x: torch.Tensor) -> int:
    """What an attribute is at these sizes."""
    batch, time, other = x.shape
    sizes = {"T": time, "S": other, "B": batch, "T + B": time + batch, "S - T": other - time}
    return sizes.get(size, size)


def source(
    op: str, attributes: dict[str, Any], oracle: Callable[..., Any], **settings: Any
) -> Case:
    """A source whose attributes may be sizes of the context."""

    def at_sizes(x: torch.Tensor) -> Any:
        values = {name: known(value, x) for name, value in attributes.items()}
        return oracle(x, **values)

    return Case(
        op, attributes=attributes, context=CONTEXT, sizes=SIZES, oracle=at_sizes, opsets=OPSETS,
        **settings,
    )  # fmt: skip


# ---------------------------------------------------------------------------------- sinusoidal


def angles(positions: torch.Tensor, width: int, base: float) -> torch.Tensor:
    """Positions times frequencies, one pair of features after the other."""
    single = [1.0 / base ** (2 * pair / width) for pair in range(width // 2)]
    return positions[..., None] * torch.tensor(single, dtype=positions.dtype)


def sinusoids(positions: torch.Tensor, width: int, base: float, interleaved: bool) -> torch.Tensor:
    """The paper's formula, feature by feature."""
    found = angles(positions, width, base)
    result = positions.new_zeros(*positions.shape, width)
    if interleaved:
        result[..., 0::2], result[..., 1::2] = found.sin(), found.cos()
    else:
        result[..., : width // 2], result[..., width // 2 :] = found.sin(), found.cos()
    return result


def sinusoidal(**attributes: Any) -> Case:
    wanted = getattr(torch, attributes.get("dtype", "float32"))

    def oracle(
        x: torch.Tensor, length: int, width: int, start: int = 0, base: float = 1e4,
        interleaved: bool = True, dtype: str = "",
    ) -> torch.Tensor:  # fmt: skip
        precise = torch.float64 if wanted == torch.float64 else x.dtype
        positions = torch.arange(start, start + length, dtype=precise)
        result = sinusoids(positions, width, base, interleaved)
        return result.to(wanted) if precise != torch.float64 or dtype else result

    return source("sinusoidal_positions", attributes, oracle, exact=False)


def sinusoidal_of(given: Given, values: Any, **attributes: Any) -> Case:
    def oracle(positions: torch.Tensor) -> torch.Tensor:
        floats = positions if positions.is_floating_point() else positions.float()
        base = attributes.get("base", 1e4)
        return sinusoids(floats, attributes["width"], base, attributes.get("interleaved", True))

    return Case(
        "sinusoidal_positions", [given], attributes, sizes=SIZES, oracle=oracle, opsets=OPSETS,
        values=values, exact=False,
    )  # fmt: skip


SINUSOIDAL: list[Case | Refused] = [
    sinusoidal(length=7, width=6),
    sinusoidal(length="T", width=6),
    sinusoidal(length="T + B", width=2, start="S", base=500.0),
    sinusoidal(length="T", width=8, interleaved=False),
    sinusoidal(length=5, width=8, interleaved=False, start=3),
    sinusoidal(length="T", width=4, dtype="float64"),
    sinusoidal_of(("int64", ("B", "T")), "integers(0, 9)", width=6),
    sinusoidal_of(("float32", ("B",)), "uniform(0, 20)", width=4, interleaved=False, base=100.0),
    Refused("sinusoidal_positions", attributes={"length": 3, "width": 5}, match="must be even"),
    Refused("sinusoidal_positions", attributes={"width": 4}, match="but got neither"),
    Refused("sinusoidal_positions", [("int64", ("B",))], {"length": 3, "width": 4},
            match="but got both"),
    Refused("sinusoidal_positions", [("int64", ("B",))], {"width": 4, "start": 2},
            match="count from it"),
    Refused("sinusoidal_positions", [("float16", ("B",))], {"width": 4}, code="dtype-mismatch",
            match="integers or float32"),
    Refused("sinusoidal_positions", attributes={"length": -1, "width": 4},
            match="cannot be negative, but is -1"),
    Refused("sinusoidal_positions", attributes={"length": 3, "width": 4, "dtype": "int64"},
            match="floating point type"),
]  # fmt: skip


# -------------------------------------------------------------------------------------- rotary


def turned(
    x: torch.Tensor, positions: torch.Tensor, width: int, base: float, interleaved: bool
) -> torch.Tensor:
    """Each pair of features as a complex number, turned; `positions` broadcast to all but one."""
    found = angles(positions.to(x.dtype), width, base)
    pairs = [
        (2 * pair, 2 * pair + 1) if interleaved else (pair, pair + width // 2)
        for pair in range(width // 2)
    ]
    result = x.clone()
    for number, (one, other) in enumerate(pairs):
        cosine, sine = found[..., number].cos(), found[..., number].sin()
        result[..., one] = x[..., one] * cosine - x[..., other] * sine
        result[..., other] = x[..., one] * sine + x[..., other] * cosine
    return result


def rotary(given: Given, positions: Given | None = None, **attributes: Any) -> Case:
    axis = attributes.get("axis", -2)
    rank = len(given[1])
    place = given[1].index(axis) if isinstance(axis, str) else axis % rank

    def oracle(x: torch.Tensor, where: torch.Tensor | None = None) -> torch.Tensor:
        count = torch.arange(x.shape[place])
        shape = [1] * rank
        shape[place] = x.shape[place]
        if where is None:
            start = attributes.get("start", 0)
            count = count + (x.shape[0] if start == "B" else start)
        elif where.ndim == 0:
            count = count + where
        else:
            count = where
            if where.ndim == 2:
                shape[0] = x.shape[0]
        width = attributes.get("rotary_dim") or x.shape[-1]
        found = count.reshape(shape)[..., 0]
        base, interleaved = attributes.get("base", 1e4), attributes.get("interleaved", False)
        return turned(x, found, width, base, interleaved)

    return Case(
        "rotary", [given, *([positions] if positions else [])], attributes, sizes=SIZES,
        oracle=oracle, opsets=OPSETS, values=[None, *(["integers(0, 30)"] if positions else [])],
        exact=False,
    )  # fmt: skip


HEADS: Given = ("float32", ("B", 3, "T", 8))
HEADS_LAST: Given = ("float32", ("B", "T", 3, 8))
ROTARY: list[Case | Refused] = [
    rotary(HEADS),
    rotary(HEADS, interleaved=True),
    rotary(HEADS, rotary_dim=4, base=500.0),
    rotary(HEADS, rotary_dim=6, interleaved=True, start="B"),
    rotary(HEADS_LAST, axis="T"),
    rotary(HEADS_LAST, axis=1, interleaved=True, rotary_dim=4),
    rotary(("float32", ("B", "T", 6)), start=5),
    rotary(("float32", ("T", 2))),
    rotary(("float32", ("B", 2, 5, 4)), interleaved=True, start=2),
    rotary(("float32", ("B", 5, 2, 4)), axis=1),
    rotary(("float64", ("B", 2, "T", 4))),
    *(
        rotary(given, ("int64", dims), axis="T", **settings)
        for given in (HEADS, HEADS_LAST, ("float32", ("B", "T", 8)))
        for dims in ((), ("T",), ("B", "T"))
        for settings in ({}, {"interleaved": True, "rotary_dim": 6})
    ),
    rotary(HEADS, ("int32", ("B", "T"))),
    rotary(HEADS_LAST, ("int32", ()), axis=1),
    Refused("rotary", [("float32", (8,))], match="at least 2 axes"),
    Refused("rotary", [("int64", ("T", 8))], code="dtype-mismatch", match="floating point"),
    Refused("rotary", [("float32", ("T", 7))], match="in pairs, but 7"),
    Refused("rotary", [("float32", ("T", "E"))], match="must be a known number"),
    Refused("rotary", [("float32", ("T", 8))], {"rotary_dim": 10}, match="10 features .* has 8"),
    Refused("rotary", [("float32", ("T", 8))], {"rotary_dim": 3}, match="in pairs, but 3"),
    Refused("rotary", [("float32", ("T", 8))], {"axis": -1}, match="has the features"),
    Refused("rotary", [("float32", ("T", 8))], {"axis": "S"}, code="unknown-axis", match="`S`"),
    Refused("rotary", [HEADS, ("int64", ("T",))], {"start": 3}, match="exclude each other"),
    Refused("rotary", [HEADS, ("float32", ("T",))], code="dtype-mismatch", match="int32 or int64"),
    Refused("rotary", [HEADS, ("int64", ("S",))], match="are not those of"),
    Refused("rotary", [HEADS, ("int64", ("B", 3, "T"))], match="must be a number"),
]  # fmt: skip


# ----------------------------------------------------------------------------- biases, buckets


def slopes(heads: int) -> list[float]:
    """As in the authors' code: of the next lower power of 2, and every second of the next."""
    if heads & (heads - 1) == 0:
        first = 2 ** (-(2 ** -(math.log2(heads) - 3)))
        return [first * first**head for head in range(heads)]
    lower = 2 ** math.floor(math.log2(heads))
    return slopes(lower) + slopes(2 * lower)[0::2][: heads - lower]


def alibi(
    x: torch.Tensor, num_heads: int, query_length: int, key_length: int, start: int = 0,
    dtype: str = "float32",
) -> torch.Tensor:  # fmt: skip
    wanted = x.dtype if dtype == "float32" else getattr(torch, dtype)
    result = torch.zeros(num_heads, query_length, key_length, dtype=wanted)
    for head, slope in enumerate(slopes(num_heads)):
        for query in range(query_length):
            for key in range(key_length):
                result[head, query, key] = -slope * abs(query + start - key)
    return result


def buckets(
    x: torch.Tensor, query_length: int, key_length: int, bidirectional: bool = True,
    num_buckets: int = 32, max_distance: int = 128, start: int = 0,
) -> torch.Tensor:  # fmt: skip
    """As in transformers' T5, in float32."""
    queries = torch.arange(start, start + query_length)[:, None]
    relative = torch.arange(key_length)[None, :] - queries
    found = torch.zeros_like(relative)
    if bidirectional:
        num_buckets //= 2
        found += (relative > 0).to(torch.long) * num_buckets
        relative = torch.abs(relative)
    else:
        relative = -torch.min(relative, torch.zeros_like(relative))
    exact = num_buckets // 2
    ratio = torch.log(relative.float() / exact) / math.log(max_distance / exact)
    large = exact + (ratio * (num_buckets - exact)).to(torch.long)
    large = torch.min(large, torch.full_like(large, num_buckets - 1))
    return found + torch.where(relative < exact, relative, large)


BIASES: list[Case | Refused] = [
    *(
        source("alibi", {"num_heads": heads, "query_length": "T", "key_length": "S"}, alibi,
               exact=False)
        for heads in (1, 2, 3, 8, 12, 20)
    ),
    source("alibi", {"num_heads": 6, "query_length": "T", "key_length": "T + B", "start": "B"},
           alibi, exact=False),
    source("alibi", {"num_heads": 4, "query_length": 3, "key_length": 5, "start": 2}, alibi,
           exact=False),
    source("alibi", {"num_heads": 4, "query_length": "T", "key_length": "T", "dtype": "float64"},
           alibi, exact=False),
    Refused("alibi", attributes={"num_heads": 2, "query_length": -2, "key_length": 3},
            match="`query_length` cannot be negative, but is -2"),
    Refused("alibi", attributes={"num_heads": 2, "query_length": 2, "key_length": -3},
            match="`key_length` cannot be negative, but is -3"),
    Refused("alibi", attributes={"num_heads": 2, "query_length": 2, "key_length": 3,
                                 "dtype": "int64"}, match="floating point type"),
    Refused("alibi", attributes={"num_heads": 0, "query_length": 2, "key_length": 3},
            code="invalid-attribute", match="greater than or equal to 1"),
]  # fmt: skip


def bucket(**attributes: Any) -> Case:
    return source("relative_position_bucket", attributes, buckets)


BUCKETS: list[Case | Refused] = [
    bucket(query_length="T", key_length="S"),
    bucket(query_length="S", key_length="T", bidirectional=False),
    bucket(query_length=300, key_length=280),
    bucket(query_length=300, key_length="S", bidirectional=False, start=7),
    bucket(query_length="S", key_length="S", num_buckets=8, max_distance=20),
    bucket(query_length=40, key_length=40, num_buckets=7, max_distance=11, bidirectional=False),
    bucket(query_length="T", key_length="T + B", start="B", num_buckets=4, max_distance=2),
    Refused("relative_position_bucket",
            attributes={"query_length": 3, "key_length": 3, "num_buckets": 7},
            match="even and at least 4, but is 7"),
    Refused("relative_position_bucket",
            attributes={"query_length": 3, "key_length": 3, "num_buckets": 1,
                        "bidirectional": False}, match="at least 2, but is 1"),
    Refused("relative_position_bucket",
            attributes={"query_length": 3, "key_length": 3, "max_distance": 8},
            match="must be more than 8"),
    Refused("relative_position_bucket", attributes={"query_length": -1, "key_length": 3},
            match="cannot be negative"),
]  # fmt: skip

CASES: list[Case | Refused] = [*SINUSOIDAL, *ROTARY, *BIASES, *BUCKETS]
