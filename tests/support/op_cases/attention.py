"""Masks, scaled dot products and the layer of several heads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from op_harness import Case, Given, Refused
from torch.nn import functional as F

from archdsl.sizes.conditions import Condition

OPSETS = (17, 23)
SCORES: list[Given] = [("float32", ("B", 2, "Q", "K"), ("B", "h", "i", "j"))]
SQUARE: list[Given] = [("float32", ("B", 2, "T", "T"), ("B", "h", "i", "j"))]
KNOWN: list[Given] = [("float32", ("B", 2, 7, 5), ("B", "h", "i", "j"))]
LENGTHS = [{"B": 1, "Q": 1, "K": 1}, {"B": 3, "Q": 2, "K": 7}, {"B": 1, "Q": 7, "K": 2}]
SQUARES = [{"B": 3, "T": 1}, {"B": 1, "T": 2}, {"B": 3, "T": 7}]
LOWEST = -3.4028234663852886e38


# ---------------------------------------------------------------------------------------- mask


def holds(text: str, x: torch.Tensor, axes: tuple[str, ...], **sizes: int) -> torch.Tensor:
    """Where a condition holds, asked at every place by itself."""
    condition = Condition.parse(text)
    found = np.empty(tuple(x.shape), bool)
    for place in np.ndindex(found.shape):
        found[place] = condition.evaluate(dict(zip(axes, place, strict=True)) | sizes)
    return torch.from_numpy(found)


def masked(
    predicate: str,
    inputs: list[Given],
    sizes: list[dict[str, int]],
    fill: float | None = None,
    **known: Any,
) -> Case:
    def oracle(x: torch.Tensor) -> torch.Tensor:
        sizes = {name: value(x) if callable(value) else value for name, value in known.items()}
        axes = tuple(str(name) for name in inputs[0][2])  # pyright: ignore[reportGeneralTypeIssues]
        keep = holds(predicate, x, axes, **sizes)
        return torch.where(keep, x, LOWEST if fill is None else fill)

    attributes: dict[str, Any] = {"predicate": predicate}
    if fill is not None:
        attributes["fill"] = fill
    return Case("mask", inputs, attributes, sizes=sizes, oracle=oracle, opsets=OPSETS)


PREDICATES = (
    "j <= i",
    "j < i",
    "i >= j",
    "j - i > 1",
    "j == i",
    "j != i",
    "i - j >= 0 and i - j < 3",
    "j <= i or j < 2",
    "i//2 == j//2",
    "(j - i)//3 == 0 - 1",
    "(j - i) % 3 == 0",
    "not (j <= i) or j % 2 == 0",
    "i*i <= 3*j + 1",
    "max(i, 2) >= min(j, i + 1)",
    "j < 4",
    "B + h <= j",
)

MASKS: list[Case | Refused] = [
    *(masked(predicate, SCORES, LENGTHS) for predicate in PREDICATES),
    *(masked(predicate, KNOWN, [{"B": 1}, {"B": 3}]) for predicate in PREDICATES),
    masked("j <= i", SQUARE, SQUARES),
    masked("i - j < T", SQUARE, SQUARES, T=lambda x: x.shape[3]),
    masked("j <= i + K - Q", SCORES, LENGTHS, K=lambda x: x.shape[3], Q=lambda x: x.shape[2]),
    masked("j//2 < K//2 + Q - i", SCORES, LENGTHS, K=lambda x: x.shape[3], Q=lambda x: x.shape[2]),
    masked("j <= i", SCORES, LENGTHS, fill=-1e9),
    masked("j <= i", KNOWN, [{"B": 2}], fill=float("-inf")),
    Case(
        "mask",
        SCORES,
        {"predicate": "_3 <= _2"},
        sizes=LENGTHS,
        oracle=lambda x: torch.where(torch.ones_like(x).tril().bool(), x, LOWEST),
        opsets=OPSETS,
    ),
    Case(
        "mask",
        [*SCORES, ("bool", ("B", 1, 1, "K"))],
        sizes=LENGTHS,
        oracle=lambda x, keep: torch.where(keep.bool(), x, LOWEST),
        opsets=OPSETS,
    ),
    Case(
        "mask",
        [*SCORES, ("bool", ("Q", "K"))],
        {"predicate": "j <= i", "fill": 0.0},
        sizes=LENGTHS,
        oracle=lambda x, keep: x * torch.ones_like(x).tril() * keep,
        opsets=OPSETS,
    ),
    *(
        Case(
            "mask",
            [(dtype, ("B", "T", "T"), ("B", "i", "j"))],
            {"predicate": "j <= i"},
            sizes=SQUARES,
            oracle=lambda x, dtype=dtype: torch.where(
                torch.ones(x.shape[-2:]).tril().bool(),
                x,
                torch.finfo(getattr(torch, dtype)).min,
            ),
            opsets=OPSETS,
        )
        for dtype in ("float64",)
    ),
    Refused("mask", SCORES, {"predicate": "k <= i"}, code="unknown-axis", match="`k` of `k <= i`"),
    Refused("mask", SCORES, {"predicate": "k <= 3"}, code="unknown-axis", match="B, h, i, j"),
    Refused("mask", SCORES, {"predicate": "K <= 3"}, code="unknown-axis", match="names no axis"),
    Refused("mask", SCORES, {"predicate": "_4 <= 3"}, code="unknown-axis", match="`_4`"),
    Refused(
        "mask",
        [("float32", ("T", "T"))],
        {"predicate": "T <= 3"},
        code="unknown-axis",
        match="more than one axis",
    ),
    Refused("mask", SQUARE, {"predicate": "j > i + T"}, match="holds nowhere"),
    Refused("mask", SCORES, match="needs a condition"),
    Refused("mask", [("int64", ("i", "j"))], {"predicate": "j <= i"}, code="dtype-mismatch",
            match="must be floating point"),
    Refused("mask", [*SCORES, ("float32", ("Q", "K"))], code="dtype-mismatch",
            match="must be bool"),
    Refused("mask", [*SCORES, ("bool", ("B", "K"))], match="do not fit together"),
    Refused("mask", [("float32", (1, "K")), ("bool", ("Q", "K"))], match="larger than the scores"),
]  # fmt: skip


# ---------------------------------------------------------------- scaled dot-product attention

QUERY: Given = ("float32", ("B", 4, "Q", 8))
KEY: Given = ("float32", ("B", 4, "K", 8))
VALUE: Given = ("float32", ("B", 4, "K", 6))
SHARED_KEY: Given = ("float32", ("B", 2, "K", 8))
SHARED_VALUE: Given = ("float32", ("B", 2, "K", 6))


def some_rows_empty(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Truths with every second row false throughout."""
    found = generator.integers(0, 2, shape).astype(bool)
    found[..., ::2, :] = False
    return found


def added(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers and minus infinities, every second row of these alone."""
    keep = some_rows_empty(generator, shape)
    return np.where(keep, generator.standard_normal(shape), -np.inf)


def lowest(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Zeros and the least finite number, every second row of it alone."""
    return np.where(some_rows_empty(generator, shape), 0.0, LOWEST)


def attends(
    *masks: Given,
    key: Given = KEY,
    value: Given = VALUE,
    query: Given = QUERY,
    values: Any = None,
    **settings: Any,
) -> Case:
    def oracle(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *mask: Any) -> torch.Tensor:
        known = {name: value for name, value in settings.items() if name != "dropout_p"}
        return F.scaled_dot_product_attention(q, k, v, *mask, **known)

    return Case(
        "scaled_dot_product_attention",
        [query, key, value, *masks],
        settings,
        sizes=LENGTHS,
        oracle=oracle,
        opsets=OPSETS,
        values=[None, None, None, values] if masks else None,
    )


def sees(
    predicate: str,
    keep: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    *masks: Given,
    values: Any = None,
    **settings: Any,
) -> Case:
    """Attention with a condition on places, which torch is told as a mask."""

    def oracle(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *given: Any) -> torch.Tensor:
        found = keep(torch.arange(q.shape[-2])[:, None], torch.arange(k.shape[-2]))
        found = found.expand(q.shape[-2], k.shape[-2])
        for mask in given:
            is_bool = mask.dtype is torch.bool
            found = found & mask if is_bool else torch.where(found, mask, -torch.inf)
        return F.scaled_dot_product_attention(q, k, v, found, **settings)

    return replace(attends(*masks, values=values, predicate=predicate, **settings), oracle=oracle)


SDPA: list[Case | Refused] = [
    attends(),
    attends(scale=-0.3),
    attends(scale=0.0),
    sees("_3 <= _2", lambda i, j: j <= i),
    sees("_3 < _2", lambda i, j: j < i),
    sees("_3 <= _2 and _2 - _3 < 3", lambda i, j: (j <= i) & (i - j < 3), scale=0.3),
    sees("_3 % 2 == 0", lambda i, j: j % 2 == 0),
    sees("_2 % 2 == 0", lambda i, j: i % 2 == 0),
    *(
        sees("_3 < _2 or _3 > 3", lambda i, j: (j < i) | (j > 3), ("bool", dims),
             values=some_rows_empty)
        for dims in (("Q", "K"), ("B", 1, 1, "K"))
    ),
    *(
        sees("_3 < _2 or _3 > 3", lambda i, j: (j < i) | (j > 3), ("float32", dims), values=added)
        for dims in (("Q", "K"), (1, "K"))
    ),
    Refused("scaled_dot_product_attention", [QUERY, KEY, VALUE],
            {"is_causal": True, "predicate": "_3 <= _2"}, match="exclude each other"),
    Refused("scaled_dot_product_attention", [QUERY, KEY, VALUE], {"predicate": "e <= 3"},
            code="unknown-axis", match="`e`"),
    attends(is_causal=True),
    attends(scale=0.3, dropout_p=0.1),
    attends(scale=1.0, is_causal=True),
    *(
        attends(("bool", dims), values=some_rows_empty)
        for dims in (("Q", "K"), ("B", 1, "Q", "K"), ("B", 1, 1, "K"), (1, "K"), ("B", 4, "Q", 1))
    ),
    *(
        attends(("float32", dims), values=added)
        for dims in (("Q", "K"), ("B", 4, "Q", "K"), (1, "K"), ("B", 1, "Q", "K"))
    ),
    *(attends(("float32", dims), values=lowest) for dims in (("Q", "K"), ("B", 1, 1, "K"))),
    attends(key=SHARED_KEY, value=SHARED_VALUE, enable_gqa=True),
    attends(key=SHARED_KEY, value=SHARED_VALUE, enable_gqa=True, is_causal=True, scale=0.2),
    attends(
        ("bool", ("B", 1, "Q", "K")),
        key=SHARED_KEY, value=SHARED_VALUE, enable_gqa=True, values=some_rows_empty,
    ),
    attends(
        ("float32", ("Q", "K")),
        key=SHARED_KEY, value=SHARED_VALUE, enable_gqa=True, values=added,
    ),
    attends(enable_gqa=True),
    attends(query=("float32", ("Q", 8)), key=("float32", ("K", 8)), value=("float32", ("K", 3))),
    attends(
        query=("float32", ("B", "Q", 8)), key=("float32", ("B", "K", 8)),
        value=("float32", ("B", "K", 3)), is_causal=True,
    ),
    attends(
        query=("float32", ("B", 1, 2, "Q", 8)), key=("float32", ("B", 1, 2, "K", 8)),
        value=("float32", ("B", 1, 2, "K", 3)),
    ),
    attends(
        query=("float32", ("B", "Q", "K")), key=("float32", ("B", 5, "K")),
        value=("float32", ("B", 5, 3)),
    ),
    attends(
        query=("float64", ("B", 2, "Q", 8)), key=("float64", ("B", 2, "K", 8)),
        value=("float64", ("B", 2, "K", 3)), is_causal=True,
    ),
    Refused("scaled_dot_product_attention", [QUERY, ("float32", ("B", 4, "K", 6)), VALUE],
            match="8 features, but keys .* have 6"),
    Refused("scaled_dot_product_attention", [QUERY, KEY, ("float32", ("B", 4, "Q", 6))],
            match="K keys in .* but Q values"),
    Refused("scaled_dot_product_attention", [QUERY, SHARED_KEY, SHARED_VALUE],
            match="axis 1 is 4 in the queries .* but 2"),
    Refused("scaled_dot_product_attention",
            [QUERY, ("float32", ("B", 3, "K", 8)), ("float32", ("B", 3, "K", 8))],
            {"enable_gqa": True}, match="do not share 3 heads"),
    Refused("scaled_dot_product_attention", [QUERY, SHARED_KEY, VALUE], {"enable_gqa": True},
            match="2 heads, but values .* have 4"),
    Refused("scaled_dot_product_attention",
            [("float32", ("Q", 8)), ("float32", ("K", 8)), ("float32", ("K", 8))],
            {"enable_gqa": True}, match="axis of heads"),
    Refused("scaled_dot_product_attention", [QUERY, ("float32", ("B", "K", 8)), VALUE],
            match="as many axes"),
    Refused("scaled_dot_product_attention", [("float32", (8,)), KEY, VALUE],
            match="at least 2 axes"),
    Refused("scaled_dot_product_attention", [QUERY, ("float64", ("B", 4, "K", 8)), VALUE],
            code="dtype-mismatch", match="one element type"),
    Refused("scaled_dot_product_attention", [QUERY, KEY, VALUE, ("bool", ("Q", "K"))],
            {"is_causal": True}, match="exclude each other"),
    Refused("scaled_dot_product_attention", [QUERY, KEY, VALUE, ("int64", ("Q", "K"))],
            code="dtype-mismatch", match="bool or float32"),
    Refused("scaled_dot_product_attention", [QUERY, KEY, VALUE, ("bool", ("K", "Q"))],
            match="do not fit together"),
    Refused("scaled_dot_product_attention", [QUERY, KEY, VALUE], {"dropout_p": 1.5},
            code="invalid-attribute", match="less than or equal to 1"),
]  # fmt: skip


# ------------------------------------------------------------------------------- several heads

TIME_FIRST: Given = ("float32", ("Q", "B", 12))
BATCH_FIRST: Given = ("float32", ("B", "Q", 12))
OTHER: Given = ("float32", ("B", "K", 12))
KEY_OF_7: Given = ("float32", ("B", "K", 7))
VALUE_OF_5: Given = ("float32", ("B", "K", 5))
PADDING: Given = ("bool", ("B", "K"))


def padded(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Padding of all keys in the first sample, and of some in the others."""
    found = generator.integers(0, 2, shape).astype(bool)
    found[0] = True
    return found


def heads_of(
    *inputs: Given,
    values: tuple[Any, ...] = (),
    sizes: list[dict[str, int]] = LENGTHS,
    exact: bool = True,
    **settings: Any,
) -> Case:
    """Against torch's function, whose masks are not seen where they are true."""
    count = settings["num_heads"]
    batch_first = settings.get("batch_first", False)

    def oracle(query: torch.Tensor, *rest: Any) -> torch.Tensor:
        *others, weights = rest
        tensors = [query, *others[:2]]
        while len(tensors) < 3:
            tensors.append(tensors[-1])
        masks = dict(zip(("key_padding_mask", "attn_mask"), others[2:], strict=False))
        q, k, v = (x.transpose(0, 1) if batch_first else x for x in tensors)
        if settings.get("is_causal"):
            seen = torch.ones(q.shape[0], k.shape[0], dtype=torch.bool).tril()
            masks["attn_mask"] = ~seen
            if masks.get("key_padding_mask", seen).dtype != torch.bool:
                masks["attn_mask"] = torch.zeros_like(q[:, 0, :1] @ k[:, 0, :1].T)
                masks["attn_mask"][~seen] = float("-inf")
        result, _ = F.multi_head_attention_forward(
            q, k, v, 12, count, weights.get("in_proj_weight"), weights.get("in_proj_bias"),
            None, None, False, 0.0, weights["out_proj.weight"], weights.get("out_proj.bias"),
            training=False, need_weights=False,
            use_separate_proj_weight="q_proj_weight" in weights,
            **{f"{name}_proj_weight": weights.get(f"{name}_proj_weight") for name in "qkv"},
            **masks,
        )  # fmt: skip
        return result.transpose(0, 1) if batch_first else result

    return Case(
        "MultiheadAttention",
        list(inputs),
        settings,
        sizes=sizes,
        oracle=oracle,
        opsets=OPSETS,
        values=[*(None,) * (len(inputs) - len(values)), *values],
        exact=exact,
    )


SELF = [BATCH_FIRST, BATCH_FIRST, BATCH_FIRST]
SELF_PADDING: Given = ("bool", ("B", "Q"))
MULTIHEAD: list[Case | Refused] = [
    heads_of(TIME_FIRST, num_heads=3, exact=False),
    heads_of(BATCH_FIRST, num_heads=4, batch_first=True, exact=False),
    heads_of(TIME_FIRST, num_heads=1, bias=False, dropout=0.1, exact=False),
    heads_of(TIME_FIRST, num_heads=2, is_causal=True, exact=False),
    heads_of(BATCH_FIRST, num_heads=2, is_causal=True, batch_first=True, exact=False),
    heads_of(BATCH_FIRST, OTHER, num_heads=3, batch_first=True, exact=False),
    heads_of(BATCH_FIRST, OTHER, num_heads=3, batch_first=True, is_causal=True, exact=False),
    heads_of(BATCH_FIRST, OTHER, OTHER, num_heads=2, batch_first=True, exact=False),
    heads_of(BATCH_FIRST, KEY_OF_7, num_heads=2, batch_first=True, exact=False),
    heads_of(BATCH_FIRST, KEY_OF_7, VALUE_OF_5, num_heads=2, batch_first=True, exact=False),
    heads_of(BATCH_FIRST, KEY_OF_7, VALUE_OF_5, num_heads=2, batch_first=True, bias=False,
             exact=False),
    heads_of(
        ("float32", ("Q", "B", 12)), ("float32", ("K", "B", 12)), ("float32", ("K", "B", 5)),
        PADDING, num_heads=6, values=(padded,), exact=False,
    ),
    heads_of(*SELF, SELF_PADDING, num_heads=2, batch_first=True, values=(padded,), exact=False),
    heads_of(*SELF, SELF_PADDING, num_heads=2, batch_first=True, is_causal=True, values=(padded,),
             exact=False),
    heads_of(BATCH_FIRST, OTHER, OTHER, PADDING, ("bool", ("Q", "K")), num_heads=2,
             batch_first=True, values=(padded, some_rows_empty), exact=False),
    heads_of(BATCH_FIRST, OTHER, OTHER, PADDING, ("bool", ("2*B", "Q", "K")), num_heads=2,
             batch_first=True, values=(padded, some_rows_empty), exact=False),
    heads_of(BATCH_FIRST, OTHER, OTHER, ("float32", ("B", "K")), ("float32", ("Q", "K")),
             num_heads=2, batch_first=True, values=(None, added), exact=False),
    heads_of(BATCH_FIRST, OTHER, OTHER, ("float32", ("B", "K")), num_heads=3, is_causal=True,
             batch_first=True, values=(added,), exact=False),
    heads_of(("float64", ("Q", "B", 12)), num_heads=3, is_causal=True, exact=False),
    Refused("MultiheadAttention", [TIME_FIRST], {"num_heads": 5},
            match="12 of .* does not split into 5 heads"),
    Refused("MultiheadAttention", [("float32", ("T", 12))], {"num_heads": 3},
            match=r"must have 3 axes \(time, batch, features\).*batch axis of size 1"),
    Refused("MultiheadAttention", [("float32", ("N", "T", "D"))], {"num_heads": 3},
            match="must be a known number"),
    Refused("MultiheadAttention", [("int64", ("N", "T", 12))], {"num_heads": 3},
            code="dtype-mismatch", match="floating point"),
    Refused("MultiheadAttention", [BATCH_FIRST, ("float32", ("C", "K", 12))],
            {"num_heads": 3, "batch_first": True}, match="the batch is B in the query .* but C"),
    Refused("MultiheadAttention", [BATCH_FIRST, ("float32", ("B", "K", "D"))],
            {"num_heads": 3, "batch_first": True}, match="width of the key must be a known"),
    Refused("MultiheadAttention", [BATCH_FIRST, ("float64", ("B", "K", 12))],
            {"num_heads": 3, "batch_first": True}, code="dtype-mismatch", match="the key must"),
    Refused("MultiheadAttention", [BATCH_FIRST, ("float32", ("B", 12))],
            {"num_heads": 3, "batch_first": True}, match="the key must have 3 axes"),
    Refused("MultiheadAttention", [BATCH_FIRST, OTHER, BATCH_FIRST],
            {"num_heads": 3, "batch_first": True}, match="K keys in .* but Q values"),
    Refused("MultiheadAttention", [BATCH_FIRST, OTHER, OTHER, ("bool", ("B", "Q"))],
            {"num_heads": 3, "batch_first": True}, match=r"must be bool\[B, K\], but is"),
    Refused("MultiheadAttention", [BATCH_FIRST, OTHER, OTHER, ("int64", ("B", "K"))],
            {"num_heads": 3, "batch_first": True}, code="dtype-mismatch", match="bool or float32"),
    Refused("MultiheadAttention", [BATCH_FIRST, OTHER, OTHER, PADDING, ("bool", ("K",))],
            {"num_heads": 3, "batch_first": True}, match=r"must be bool\[Q, K\]"),
    Refused("MultiheadAttention", [BATCH_FIRST, OTHER, OTHER, PADDING, ("bool", ("Q", "K"))],
            {"num_heads": 3, "batch_first": True, "is_causal": True}, match="exclude each other"),
    Refused("MultiheadAttention", [BATCH_FIRST, OTHER, OTHER, PADDING, ("float32", ("Q", "K"))],
            {"num_heads": 3, "batch_first": True}, code="dtype-mismatch",
            match="must have one element type"),
    Refused("MultiheadAttention", [BATCH_FIRST], {"num_heads": 3, "add_bias_kv": True},
            code="invalid-attribute", match="add_bias_kv"),
]  # fmt: skip

CASES: list[Case | Refused] = [*MASKS, *SDPA, *MULTIHEAD]
