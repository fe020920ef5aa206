"""Operators that are told by patterns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from op_harness import Case, Given, Refused

OPSETS = (17, 18, 23)


def image(*dims: int | str) -> Given:
    return ("float32", dims)


SEQUENCE = image("N", "T", 24)
SEQUENCES = [{"N": 2, "T": 5}, {"N": 1, "T": 1}]
PICTURE = image("N", 6, "2*H", "2*W")
PICTURES = [{"N": 2, "H": 2, "W": 3}, {"N": 1, "H": 1, "W": 4}]


def rearrange(
    given: Given, pattern: str, oracle: Callable[..., Any], sizes: Any, **named: Any
) -> Case:
    settings = {"pattern": pattern} | ({"sizes": named} if named else {})
    context = [image("H", "W")] if given is PICTURE else []
    return Case("rearrange", [given], settings, sizes=sizes, oracle=oracle, context=context)


def shuffled(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.channel_shuffle(x, 3)


def unshuffled(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pixel_unshuffle(x, 2)


def patches(x: torch.Tensor) -> torch.Tensor:
    n, c, h, w = x.shape
    x = x.reshape(n, c, h // 2, 2, w // 2, 2)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(n, h * w // 4, 4 * c)


def heads(x: torch.Tensor, places: tuple[int, int, int]) -> list[torch.Tensor]:
    """q, k and v with 3, heads (2) and width (4) at these places of the last axis."""
    sizes = [0, 0, 0]
    for place, size in zip(places, (3, 2, 4), strict=True):
        sizes[place] = size
    x = x.reshape(*x.shape[:2], *sizes)
    return list(x.permute(2 + places[0], 0, 2 + places[1], 1, 2 + places[2]))


REARRANGING: list[Case | Refused] = [
    rearrange(
        SEQUENCE,
        "N T (h e) -> N h T e",
        lambda x: x.unflatten(2, (4, 6)).transpose(1, 2),
        SEQUENCES,
        h=4,
    ),
    rearrange(
        SEQUENCE,
        "N T (h e) -> N h T e",
        lambda x: x.unflatten(2, (4, 6)).transpose(1, 2),
        SEQUENCES,
        e=6,
    ),
    rearrange(
        SEQUENCE,
        "N T (h e) -> (N h) e T",
        lambda x: x.unflatten(2, (4, 6)).permute(0, 2, 3, 1).flatten(0, 1),
        SEQUENCES,
        h=4,
        e=6,
    ),
    rearrange(SEQUENCE, "N T D -> N T D", lambda x: x, SEQUENCES),
    rearrange(SEQUENCE, "a b c -> c a b", lambda x: x.permute(2, 0, 1), SEQUENCES),
    rearrange(SEQUENCE, "a b c -> (a b c)", lambda x: x.flatten(), SEQUENCES),
    rearrange(SEQUENCE, "a b c -> a (c b)", lambda x: x.transpose(1, 2).flatten(1), SEQUENCES),
    rearrange(SEQUENCE, "a b c -> 1 a b (c 1) ()", lambda x: x[None, ..., None], SEQUENCES),
    rearrange(image("N", 1, "T"), "N 1 T -> T N", lambda x: x[:, 0].T, SEQUENCES),
    rearrange(image("N", 3, "T"), "N 3 T -> T 3 N", lambda x: x.permute(2, 1, 0), SEQUENCES),
    rearrange(PICTURE, "N (g c) H W -> N (c g) H W", shuffled, PICTURES, g=3),
    rearrange(PICTURE, "N C (h a) (w b) -> N (C a b) h w", unshuffled, PICTURES, a=2, b=2),
    rearrange(PICTURE, "N C (h p) (w q) -> N (h w) (p q C)", patches, PICTURES, p=2, q=2),
    rearrange(PICTURE, "N C H W -> N (H W) C", lambda x: x.flatten(2).transpose(1, 2), PICTURES),
    Case(
        "rearrange",
        [("int64", ("N", "D"))],
        {"pattern": "N (h e) -> h N e", "sizes": {"h": 3}},
        sizes=[{"N": 2, "D": 12}, {"N": 1, "D": 3}],
        facts=["D % 3 == 0"],
        oracle=lambda x: x.unflatten(1, (3, -1)).transpose(0, 1),
    ),
    *(
        Case(
            "split",
            [SEQUENCE],
            {"parts": pattern, "sizes": {"h": 2}},
            sizes=SEQUENCES,
            oracle=lambda x, places=places: heads(x, places),
            opsets=OPSETS,
        )
        for pattern, places in (
            ("B T (3 h e) -> 3 B h T e", (0, 1, 2)),
            ("B T (h 3 e) -> 3 B h T e", (1, 0, 2)),
            ("B T (h e 3) -> 3 B h T e", (2, 0, 1)),
            ("B T (3 e h) -> 3 B h T e", (0, 2, 1)),
        )
    ),
    Case(
        "split",
        [image("N", "2*C", "H")],
        {"parts": "N (2 C) H -> 2 N C H"},
        sizes=[{"N": 2, "C": 3, "H": 2}],
        oracle=lambda x: x.chunk(2, 1),
        opsets=OPSETS,
    ),
    Refused("rearrange", [SEQUENCE], {"pattern": "a b c"}, match="exactly one `->`"),
    Refused("rearrange", [SEQUENCE], {"pattern": "a b (c -> a b c"}, match="not closed"),
    Refused("rearrange", [SEQUENCE], {"pattern": "a b ((c)) -> a b c"}, match=r"`\(` does not"),
    Refused("rearrange", [SEQUENCE], {"pattern": "a ... c -> c a"}, match=r"`\.` does not belong"),
    Refused("rearrange", [SEQUENCE], {"pattern": "a b -> b a"}, match="it has 2 axes for"),
    Refused("rearrange", [SEQUENCE], {"pattern": "a b c -> a b"}, match="`c` stands on one side"),
    Refused("rearrange", [SEQUENCE], {"pattern": "a b b -> a b"}, match="`b` stands twice"),
    Refused("rearrange", [SEQUENCE], {"pattern": "a b c, d -> a b c d"}, match="one input"),
    Refused("rearrange", [SEQUENCE], {"pattern": "a b (c d) -> a b c d"}, match="`c` and `d`"),
    Refused(
        "rearrange",
        [SEQUENCE],
        {"pattern": "a b (c d) -> a b c d", "sizes": {"c": 5}},
        match=r"24 does not split into `\(c d\)`.*make 5",
    ),
    Refused(
        "rearrange",
        [SEQUENCE],
        {"pattern": "a b c -> b a c", "sizes": {"h": 5}},
        code="unknown-argument",
        match="`h` does not stand in the pattern",
    ),
    Refused(
        "rearrange",
        [SEQUENCE],
        {"pattern": "a b (c d) -> a b c d", "sizes": {"c": 5, "d": 5}},
        match="is 25, not 24",
    ),
    Refused("rearrange", [SEQUENCE], {"pattern": "a 3 c -> a c 3"}, match="`3` is 3 and T"),
    Refused("rearrange", [SEQUENCE], {"pattern": "a 1 c -> a c"}, match="`1` of .* is 1, not T"),
    Refused("split", [SEQUENCE], {"parts": "a b c -> c a b"}, match="begin with the number"),
    Refused("split", [SEQUENCE], {"parts": "a b c -> 3 a b c"}, match="must also stand in a group"),
]


def product(pattern: str, inputs: list[Given], equation: str, sizes: Any, **named: Any) -> Case:
    settings = {"pattern": pattern} | ({"sizes": named} if named else {})
    return Case(
        "einsum",
        inputs,
        settings,
        sizes=sizes,
        oracle=lambda *xs: torch.einsum(equation, *xs),
        exact=False,
    )


LETTERS = {"B": "B", "h": 2, "i": "I", "j": "J", "k": 3, "l": 5, "e": 4}
LETTER_SIZES = [{"B": 2, "I": 3, "J": 4}, {"B": 1, "I": 1, "J": 2}]

EQUATIONS = (
    "Bhie,Bhje->Bhij",
    "Bhij,Bhje->Bhie",
    "Bhij,Bhje->Bihe",
    "Bik,kj->Bij",
    "ik,kj->ij",
    "ik,jk->ij",
    "ki,kj->ij",
    "ki,kj->ji",
    "k,kj->j",
    "k,k->",
    "ik,k->i",
    "Bk,Bk->B",
    "Bik,Bk->Bi",
    "Bk,Bik->Bi",
    "Bk,Bkj->Bj",
    "kB,Bkj->jB",
    "Bie,hej->Bhij",
    "Bhie,hej->Bhij",
    "hej,Bhie->Bijh",
    "Bihe,hek->Bik",
    "Bieh,hek->Bik",
    "hk,Bkij->Bhij",
    "Bkij,hk->Bhij",
    "Bhik,lk->Bhil",
    "Bihe,Bjhe->Bhij",
    "Bihe,Bjhe->ijBh",
    "hkl,klhe->he",
    "kl,lk->",
    "i,j->ij",
    "i,j->ji",
    "Bi,Bj->Bij",
    "Bi,Bi->Bi",
    "Bi,i->iB",
    "Bi,j->iBj",
    "Bij,k->Bi",
    "Bik,jl->Bij",
    "Bikl,kj->Bj",
    "B,->B",
    "Bij->Bji",
    "Bij->B",
    "Bij->",
    "Bij->jB",
    "ii->i",
    "iik,kj->ij",
    "Bhie,Bhje,Bhje->Bhie",
    "ik,kl,lj->ij",
    "ik,jk,j->i",
    "i,i,i->i",
    "Bik,k,Bjk->Bij",
)


def written(equation: str) -> Case:
    """A case of torch's own notation."""
    left, right = equation.split("->")
    operands = left.split(",")
    return product(
        f"{', '.join(map(' '.join, operands))} -> {' '.join(right)}",
        [image(*(LETTERS[letter] for letter in operand)) for operand in operands],
        equation,
        LETTER_SIZES,
    )


PRODUCTS: list[Case | Refused] = [
    *(written(equation) for equation in EQUATIONS),
    Case(
        "einsum",
        [image("B", 2, "I", "J"), image("B", 2, "J", 4)],
        {"pattern": "B h i j, B h j e -> B i (h e)"},
        sizes=LETTER_SIZES,
        oracle=lambda a, v: (a @ v).transpose(1, 2).flatten(2),
        opsets=OPSETS,
        exact=False,
    ),
    Case(
        "einsum",
        [image("B", "I", 8), image("B", "J", 8)],
        {"pattern": "B i (h e), B j (h e) -> B h i j", "sizes": {"h": 2}},
        sizes=LETTER_SIZES,
        oracle=lambda q, k: torch.einsum(
            "bihe,bjhe->bhij", q.unflatten(2, (2, 4)), k.unflatten(2, (2, 4))
        ),
        exact=False,
    ),
    Case(
        "einsum",
        [image("B", 1, "I"), image(3, "I")],
        {"pattern": "B 1 i, 3 i -> B 1 3"},
        sizes=LETTER_SIZES,
        oracle=lambda a, b: a @ b.T,
        exact=False,
    ),
    Case(
        "einsum",
        [image("B", "I"), image("K", "J")],
        {"pattern": "B i, B j -> (i B) j 1"},
        sizes=[{"B": 2, "K": 2, "I": 3, "J": 4}],
        facts=["B == K"],
        oracle=lambda a, b: torch.einsum("bi,bj->ibj", a, b).flatten(0, 1)[..., None],
        exact=False,
    ),
    Case(
        "einsum",
        [image("B", "I"), image("I", "J")],
        {"pattern": "row same, same seed -> row seed"},
        sizes=LETTER_SIZES,
        oracle=torch.matmul,
        exact=False,
    ),
    Refused("einsum", [SEQUENCE], {"pattern": "a b c, d -> a"}, match="2 inputs, but got 1"),
    Refused("einsum", [SEQUENCE], {"pattern": "a b c -> d"}, match="`d` stands on the right only"),
    Refused("einsum", [SEQUENCE], {"pattern": "a b c -> a a"}, match="`a` stands twice"),
    Refused(
        "einsum",
        [image("N", 3), image(4, "M")],
        {"pattern": "a b, b c -> a c"},
        match="`b` is 3 and 4",
    ),
    Refused(
        "einsum",
        [("int64", (3,))],
        {"pattern": "a ->"},
        code="dtype-mismatch",
        match="must be floating",
    ),
    Refused(
        "einsum",
        [image(3), ("float64", (3,))],
        {"pattern": "a, a ->"},
        code="dtype-mismatch",
        match="of one element type",
    ),
    Refused(
        "einsum",
        [image(3)],
        {"pattern": "a ->", "sizes": {"b": 2}},
        code="unknown-argument",
        match="`b` does not stand",
    ),
]

CASES = [*REARRANGING, *PRODUCTS]
