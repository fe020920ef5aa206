"""Attention written out is the one operator: fused exactly where the two are the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch.nn import functional as F

from archdsl import api

SDPA = "F.scaled_dot_product_attention("
LOWEST = torch.finfo(torch.float32).min


@dataclass(frozen=True, slots=True)
class Form:
    """A way to write attention, what plain torch gives, and what is emitted for it."""

    body: str
    oracle: Callable[..., torch.Tensor]
    emitted: str | None = "scaled_dot_product_attention(q, k, v)"
    """A part of the emitted source; None where it must stay as it is written."""
    more: str = ""
    """Further inputs of the model."""
    keys: str = "S"
    """How many keys there are; `L` for as many as queries."""


def plain(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scale: float | None = None,
    bias: torch.Tensor | float = 0.0,
    keep: torch.Tensor | None = None,
    fill: float = LOWEST,
) -> torch.Tensor:
    """Attention by hand, with what is not kept filled as `mask` fills it."""
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale) + bias
    if keep is not None:
        scores = scores.masked_fill(~keep, fill)
    return scores.softmax(-1) @ v


def places(q: torch.Tensor, k: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.arange(q.shape[-2])[:, None], torch.arange(k.shape[-2])


def predicate(text: str) -> Callable[..., torch.Tensor]:
    def oracle(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        i, j = places(q, k)
        keep = torch.as_tensor(eval(text, {"i": i, "j": j}))  # noqa: S307
        return plain(q, k, v, keep=keep)

    return oracle


QK = 'einsum("B h i e, B h j e -> B h i j", q, k)'
AV = 'return einsum("B h i j, B h j e -> B h i e", a, v)'


def scores(text: str, axis: str = "j") -> str:
    """What is done to the scores `s`, before and after the usual."""
    return f"s = {QK}\n  a = {text} -> softmax(axis={axis})\n  {AV}"


def causal(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def padded(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    return plain(q, k, v, keep=keep[:, None, None, :])


def padded_causal(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, keep: torch.Tensor
) -> torch.Tensor:
    i, j = places(q, k)
    return plain(q, k, v, keep=keep[:, None, None, :] & (j <= i))


def below(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    i, j = places(q, k)
    return j <= i


def slopes(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """ALiBi of two heads, as in the paper."""
    i, j = places(q, k)
    return -(i - j).abs() * torch.tensor([1 / 16, 1 / 256], dtype=q.dtype)[:, None, None]


IS_CAUSAL = "scaled_dot_product_attention(q, k, v, is_causal=True)"
KEEP = ", keep: bool[B, S]"
RAISED = "(keep -> unsqueeze(1) -> unsqueeze(1))"

FORMS = {
    "scale after": Form(scores("s * rsqrt(4)"), plain),
    "scale first": Form(scores("rsqrt(4) * s"), plain),
    "divided": Form(scores("s / sqrt(4)"), plain),
    "divided by a number": Form(scores("s / 2.0"), plain),
    "no scale": Form(
        scores("s"),
        lambda q, k, v: plain(q, k, v, 1.0),
        "scaled_dot_product_attention(q, k, v, scale=1.0)",
    ),
    "another scale": Form(
        scores("s * 0.3 * 2.0"),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.6),
        "scaled_dot_product_attention(q, k, v, scale=0.6)",
    ),
    "negative scale": Form(scores("s * -0.5"), lambda q, k, v: plain(q, k, v, -0.5), "scale=-0.5"),
    "scale on q": Form(f"q = q * rsqrt(4)\n  {scores('s')}", plain),
    "scale on k": Form(f"k = k / sqrt(4)\n  {scores('s')}", plain),
    "scale on both": Form(f"q = q * 4.0 ** -0.25\n  k = k * 4.0 ** -0.25\n  {scores('s')}", plain),
    "key first": Form(
        f's = einsum("B h j e, B h i e -> B h i j", k, q) * 0.5\n'
        f"  a = s -> softmax(axis=j)\n  {AV}",
        plain,
    ),
    "value first": Form(
        f'a = {QK} * 0.5 -> softmax(axis=j)\n  return einsum("B h j e, B h i j -> B h i e", v, a)',
        plain,
    ),
    "matmul": Form(
        "a = matmul(q, k -> transpose(2, 3)) * 0.5 -> softmax(axis=-1)\n  return matmul(a, v)",
        plain,
    ),
    "matmul, permuted": Form(
        "a = matmul(q * 0.5, k -> permute(0, 1, 3, 2)) -> softmax(axis=3)\n  return matmul(a, v)",
        plain,
    ),
    "matmul of what is turned before": Form(
        'turned = k -> rearrange("B h j e -> B h e j")\n'
        "  a = matmul(q, turned) * 0.5 -> softmax(axis=-1)\n  return matmul(a, v)",
        plain,
        "scaled_dot_product_attention(",
    ),
    "layers": Form(f"a = {QK} * 0.5 -> Softmax(axis=j) -> Dropout(0.0)\n  {AV}", plain),
    "dropout": Form(
        scores("s * 0.5").replace("softmax(axis=j)", "softmax(axis=j) -> Dropout(0.25)"),
        plain,
        "dropout_p=0.25 * self.training",
    ),
    "causal": Form(scores("s * 0.5 -> mask(j <= i)"), causal, IS_CAUSAL),
    "causal, otherwise": Form(scores("s * 0.5 -> mask(i > j - 1)"), causal, IS_CAUSAL),
    "causal, scaled after": Form(scores("(s -> mask(j <= i)) * 0.5"), causal, IS_CAUSAL),
    "window": Form(
        scores("s * 0.5 -> mask(0 <= i - j and i - j < 3)"),
        predicate("(i - j >= 0) & (i - j < 3)"),
        "torch.ones(L, L, dtype=torch.bool, device=device).tril().triu(-2)",
        keys="L",
    ),
    "a window that may be over": Form(
        scores("s * 0.5 -> mask(0 <= i - j and i - j < 3)"),
        predicate("(i - j >= 0) & (i - j < 3)"),
        "torch.zeros(1, 1, L, S",
    ),
    "prefix": Form(
        scores("s * 0.5 -> mask(j <= i or j < 2)"), predicate("(j <= i) | (j < 2)"), SDPA
    ),
    "the first keys": Form(
        scores("s * 0.5 -> mask(j < 3)"), predicate("(j < 3).expand(len(i), -1)"), SDPA
    ),
    "row": Form(
        scores("s * 0.5 -> mask(j <= i and (i - j) % 3 == 0 or j == 0)"),
        predicate("((j <= i) & ((i - j) % 3 == 0)) | (j == 0)"),
        SDPA,
    ),
    "two masks": Form(
        scores("s * 0.5 -> mask(j <= i) -> mask(i - j < 2 or j == 0)"),
        predicate("(j <= i) & ((i - j < 2) | (j == 0))"),
        SDPA,
    ),
    "no key for the first": Form(
        scores("s * 0.5 -> mask(j < i)"), predicate("j < i"), "torch.zeros(1, 1, L, S"
    ),
    "padding": Form(scores(f"mask(s * 0.5, {RAISED})"), padded, "torch.zeros(B, 1, 1, S", KEEP),
    "causal padding": Form(
        scores(f"mask(s * 0.5, {RAISED}, j <= i)"), padded_causal, "torch.zeros(B, 1, L, S", KEEP
    ),
    "padding, then causal": Form(
        scores(f"mask(s * 0.5, {RAISED}) -> mask(j <= i)"), padded_causal, SDPA, KEEP
    ),
    "alibi": Form(
        scores("s * 0.5 + alibi(2, L, S)", "-1"),
        lambda q, k, v: plain(q, k, v, bias=slopes(q, k)),
        "attn_mask=",
    ),
    "alibi, causal": Form(
        scores("alibi(2, L, S) + s * 0.5 -> mask(_3 <= _2)", "-1"),
        lambda q, k, v: plain(q, k, v, bias=slopes(q, k), keep=below(q, k)),
        "torch.where(",
    ),
    "alibi, padding": Form(
        scores(f"mask(s * 0.5, {RAISED}) + alibi(2, L, S)", "-1"),
        lambda q, k, v, keep: plain(q, k, v, bias=slopes(q, k), keep=keep[:, None, None, :]),
        SDPA,
        KEEP,
    ),
    "by positions": Form(
        "bias = at -> unsqueeze(1) -> unsqueeze(1) -> cast(float32)\n  "
        + scores("s * 0.5 + bias", "-1"),
        lambda q, k, v, at: plain(q, k, v, bias=at[:, None, None, :].float()),
        "attn_mask=bias",
        ", at: int64[B, S]",
    ),
    "merged heads": Form(
        f"a = {QK} * 0.5 -> softmax(axis=j)\n"
        '  y = einsum("B h i j, B h j e -> B i (h e)", a, v)\n'
        '  return y -> rearrange("B i (h e) -> B h i e", h=2)',
        plain,
    ),
    "no heads apart": Form(
        'q = q -> rearrange("B h i e -> B i (h e)")\n'
        '  k = k -> rearrange("B h i e -> B i (h e)")\n'
        '  v = v -> rearrange("B h i e -> B i (h e)")\n'
        '  a = einsum("B i (h e), B j (h e) -> B h i j", q, k, h=2) * 0.5 -> softmax(axis=j)\n'
        '  return einsum("B h i j, B j (h e) -> B h i e", a, v, h=2)',
        plain,
        SDPA,
    ),
    "other letters": Form(
        f'a = {QK} * 0.5 -> softmax(axis=-1)\n  return einsum("n g s t, n g t d -> n g s d", a, v)',
        plain,
    ),
    # ------------------------------------------------------------ what is not, or not surely, one
    "scores used elsewhere": Form(
        f"s = {QK} * 0.5\n  a = s -> softmax(axis=j)\n"
        f"  {AV} + (s -> sum(axis=-1) -> unsqueeze(-1))",
        lambda q, k, v: plain(q, k, v) + (q @ k.mT * 0.5).sum(-1, keepdim=True),
        None,
    ),
    "softmax over queries": Form(
        f"a = {QK} * 0.5 -> softmax(axis=i)\n  {AV}",
        lambda q, k, v: (q @ k.mT * 0.5).softmax(-2) @ v,
        None,
    ),
    "something after softmax": Form(
        f"a = {QK} * 0.5 -> softmax(axis=j) -> relu\n  {AV}", plain, None
    ),
    "something before softmax": Form(
        scores("s * 0.5 -> tanh"), lambda q, k, v: (q @ k.mT * 0.5).tanh().softmax(-1) @ v, None
    ),
    "a scale that is learned": Form(
        scores("s * scale"),
        lambda q, k, v, scale: plain(q, k, v, scale),
        None,
        ", scale: [B, 1, 1, 1]",
    ),
    "a bias that may be infinite": Form(
        scores("s * 0.5 + bias", "-1"),
        lambda q, k, v, bias: plain(q, k, v, bias=bias),
        None,
        ", bias: [B, 1, 1, S]",
    ),
    "a mask that lets some through": Form(
        scores("s * 0.5 -> mask(j <= i, fill=-2.0)"),
        lambda q, k, v: plain(q, k, v, keep=below(q, k), fill=-2.0),
        None,
    ),
    "a mask turned round": Form(
        scores("(s -> mask(j <= i)) * -0.5"),
        lambda q, k, v: (q @ k.mT).masked_fill(~below(q, k), LOWEST).mul(-0.5).softmax(-1) @ v,
        None,
    ),
    "a sum over values": Form(
        f"a = {QK} * 0.5 -> softmax(axis=j)\n"
        '  y = einsum("B h i j, B g j e -> B h i e", a, v)\n  return y',
        lambda q, k, v: (q @ k.mT * 0.5).softmax(-1) @ v.sum(1, keepdim=True),
        None,
    ),
}


def model(form: Form) -> api.Network:
    inputs = f"q: [B, 2, L, 4], k: [B, 2, {form.keys}, 4], v: [B, 2, {form.keys}, 4]{form.more}"
    return api.load(f"edition 2026\nmodel m({inputs}) -> y: [B, 2, L, 4] {{\n  {form.body}\n}}\n")


LENGTHS = ((1, 1, 1), (2, 5, 5), (3, 1, 4), (2, 3, 7), (1, 6, 2))
"""Batch, queries and keys."""


def lengths(form: Form) -> list[tuple[int, int, int]]:
    return [sizes for sizes in LENGTHS if form.keys == "S" or sizes[1] == sizes[2]]


def inputs(form: Form, batch: int, queries: int, keys: int) -> list[torch.Tensor]:
    """Random values; of the first sample no key is kept."""
    generator = torch.Generator().manual_seed(queries * 10 + keys)
    shapes = ((batch, 2, queries, 4), (batch, 2, keys, 4), (batch, 2, keys, 4))
    given = [torch.randn(shape, generator=generator) for shape in shapes]
    if "keep" in form.more:
        keep = torch.rand((batch, keys), generator=generator) > 0.4
        keep[0] = False
        given.append(keep)
    elif "int64" in form.more:
        given.append(torch.randint(-3, 3, (batch, keys), generator=generator))
    elif form.more:
        columns = keys if "S" in form.more else 1
        given.append(torch.randn((batch, 1, 1, columns), generator=generator))
    return given


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_it_is_fused_where_it_is_the_same(form: Form) -> None:
    source = model(form).to_source()
    if form.emitted is None:
        assert SDPA not in source
    else:
        assert form.emitted in source
        assert SDPA in source
        assert "softmax" not in source
    assert "softmax" in model(form).expanded().lower()


def allowed(found: torch.Tensor, single: torch.Tensor, exact: torch.Tensor) -> bool:
    """The parity rule."""
    greatest = exact.abs().max().item()
    error = (found.double() - exact).abs().max().item()
    own = (single.double() - exact).abs().max().item()
    return error <= 1e-5 * greatest and error <= 4 * own + 1e-6 * greatest


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_torch_agrees_with_plain_torch(form: Form) -> None:
    module = model(form).to_torch().eval()
    for sizes in lengths(form):
        given = inputs(form, *sizes)
        exact = form.oracle(*(x.double() if x.is_floating_point() else x for x in given))
        assert allowed(module(*given), form.oracle(*given), exact), sizes


@pytest.mark.parametrize("opset", [17, 21, 23])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_onnx_agrees_with_plain_torch(form: Form, opset: int) -> None:
    graph = model(form).to_onnx(opset=opset)
    onnx.checker.check_model(graph, full_check=True)
    types = [node.op_type for node in graph.graph.node]
    fused = form.emitted not in (None, "scale=-0.5") and opset >= 23
    assert types.count("Attention") == int(fused)
    assert types.count("Softmax") == int(not fused)
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [port.name for port in graph.graph.input]
    for sizes in lengths(form):
        given = inputs(form, *sizes)
        exact = form.oracle(*(x.double() if x.is_floating_point() else x for x in given))
        feed = {name: x.numpy() for name, x in zip(names, given, strict=True)}
        (found,) = session.run(None, feed)
        assert np.isfinite(found).all()
        assert allowed(torch.from_numpy(found), form.oracle(*given), exact), sizes
