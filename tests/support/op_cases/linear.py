"""Linear layers, embeddings and matrix products."""

from __future__ import annotations

from op_harness import Case, Refused
from torch.nn import functional as F

ALL_OPSETS = (17, 18, 21, 23)
ROWS = [{"N": 1, "T": 5}, {"N": 4, "T": 2}]


def product(
    left: tuple[int | str, ...], right: tuple[int | str, ...], dtype: str = "float32"
) -> Case:
    return Case(
        "matmul",
        [(dtype, left), (dtype, right)],
        sizes=[{"N": 1, "T": 5, "K": 3}, {"N": 4, "T": 2, "K": 7}],
        oracle=lambda a, b: a @ b,
        opsets=ALL_OPSETS,
    )


CASES = [
    *(
        Case(
            "Linear",
            [("float32", dims)],
            sizes=ROWS,
            attributes={"out_features": 7, "bias": bias},
            oracle=lambda x, w: F.linear(x, w["weight"], w.get("bias")),
            opsets=ALL_OPSETS,
        )
        for dims in ((6,), ("N", 6), ("N", "T", 6), ("N", 2, "T", 6))
        for bias in (True, False)
    ),
    Case(
        "linear",
        [("float32", ("N", "T", 6)), ("float32", (7, 6))],
        sizes=ROWS,
        oracle=lambda x, weight: x @ weight.T,
        exact=False,
    ),
    Case(
        "linear",
        [("float32", ("N", "T")), ("float32", (7, "T")), ("float32", (7,))],
        sizes=ROWS,
        oracle=lambda x, weight, bias: x @ weight.T + bias,
        exact=False,
    ),
    Case(
        "linear",
        [("float32", ("N", 2, 6)), ("float32", ("T", 6)), ("float32", ("T",))],
        sizes=ROWS,
        oracle=lambda x, weight, bias: x @ weight.T + bias,
        exact=False,
    ),
    Case(
        "Embedding",
        [("int64", ("N", "T"))],
        sizes=ROWS,
        attributes={"num_embeddings": 11, "embedding_dim": 4},
        oracle=lambda x, w: w["weight"][x],
        opsets=ALL_OPSETS,
        values="integers(0, 11)",
    ),
    Case(
        "Embedding",
        [("int32", ("N",))],
        sizes=ROWS,
        attributes={"num_embeddings": 11, "embedding_dim": 4, "padding_idx": -3},
        oracle=lambda x, w: F.embedding(x, w["weight"], padding_idx=-3),
        values="integers(0, 11)",
    ),
    Case(
        "embedding",
        [("int64", ("N", "T")), ("float32", (11, "T"))],
        sizes=ROWS,
        oracle=lambda x, weight: weight[x],
        values=["integers(0, 11)", None],
    ),
    # -------------------------------------------------------------------------- matmul
    product(("K",), ("K",)),
    product(("N", "K"), ("K",)),
    product(("K",), ("K", "T")),
    product(("N", "K"), ("K", "T")),
    product(("N", "T", "K"), ("K",)),
    product(("K",), ("N", "K", "T")),
    product(("N", 2, "T", "K"), ("K", 5)),
    product(("N", 1, "T", "K"), (3, "K", 5)),
    product((1, 3, "T", "K"), ("N", 1, "K", "T")),
    product((2, "K"), ("N", "T", "K", 3)),
    product(("N", "K"), ("K", "T"), "int64"),
    product(("N", "T", "K"), ("K",), "int32"),
    # ------------------------------------------------------------------------ refused
    Refused("Linear", [("float32", ())], {"out_features": 7}, match="at least 1 axis"),
    Refused(
        "Linear",
        [("int64", ("N", 6))],
        {"out_features": 7},
        code="dtype-mismatch",
        match="floating point",
    ),
    Refused(
        "Linear",
        [("float32", ("N", "D"))],
        {"out_features": 7},
        match="number of input features must be a known number.*axis 1.*is D",
    ),
    Refused(
        "Linear", [("float32", ("N", 6))], {"out_features": 0}, code="invalid-attribute", match=""
    ),
    Refused(
        "linear",
        [("float32", ("N", 6)), ("float32", (7, 5))],
        match="takes 5 features.*has 6",
    ),
    Refused("linear", [("float32", ("N", 6)), ("float32", (6,))], match="must have 2 axes"),
    Refused(
        "linear",
        [("float32", ("N", 6)), ("float32", (7, 6)), ("float32", (1,))],
        match="the bias has 1 elements.*gives 7",
    ),
    Refused(
        "linear",
        [("float32", ("N", 6)), ("float64", (7, 6))],
        code="dtype-mismatch",
        match="one element type",
    ),
    Refused(
        "Embedding",
        [("float32", ("N",))],
        {"num_embeddings": 3, "embedding_dim": 4},
        code="dtype-mismatch",
        match="indices must be int32 or int64",
    ),
    Refused(
        "Embedding",
        [("int64", ("N",))],
        {"num_embeddings": 3, "embedding_dim": 4, "padding_idx": 3},
        match="one of the 3 rows, but is 3",
    ),
    Refused("embedding", [("int64", ("N",)), ("float32", (4,))], match="must have 2 axes"),
    Refused("matmul", [("float32", ("N", 6)), ("float32", (5, 2))], match="6 columns.*5 rows"),
    Refused("matmul", [("float32", ()), ("float32", (5,))], match="at least 1 axis"),
    Refused(
        "matmul",
        [("float32", (2, "N", 6)), ("float32", (3, 6, 4))],
        match="axis -1 is 2 in one and 3 in the other",
    ),
    Refused(
        "matmul",
        [("float32", ("N", 2, 6)), ("float32", ("M", 6, 4))],
        match="N in one and M in the other",
    ),
    Refused(
        "matmul",
        [("bool", (2, 6)), ("bool", (6, 4))],
        code="dtype-mismatch",
        match="takes floating point, int32 or int64",
    ),
    Refused(
        "matmul",
        [("float32", (2, 6)), ("float64", (6, 4))],
        code="dtype-mismatch",
        match="one element type",
    ),
]
