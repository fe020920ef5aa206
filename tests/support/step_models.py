"""Models that walk along time, each of another kind, for the tests of steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MLP = """
block Layer(heads: int)(x: [B, T, D]) -> [B, T, D] {
  x = x + (x -> ln_1: LayerNorm -> attn: Attention(heads))
  return x + (x -> ln_2: LayerNorm -> mlp: { Linear(4 * D) -> GELU -> Linear(D) })
}
"""

WRITTEN_OUT = """
block Attention(heads: int)(x: [B, T, D]) -> [B, T, D] {
  require D % heads == 0, "width {D} does not split into {heads} heads"
  q, k, v = x -> c_attn: Linear(3 * D) -> split("B T (3 h e) -> 3 B h T e", h=heads)
  a = einsum("B h i e, B h j e -> B h i j", q, k) * rsqrt(D // heads)
  a = a -> mask(PREDICATE) -> softmax(axis=j) -> Dropout(0.1)
  return einsum("B h i j, B h j e -> B i (h e)", a, v) -> c_proj: Linear(D)
}
"""

GPT = (
    WRITTEN_OUT
    + MLP
    + """
model example(tokens: int64[B, T]) -> logits: [B, T, 50] {
  require T <= 16
  param wpe: [16, 16] = normal(std=1.0)
  x = (tokens -> wte: Embedding(50, 16)) + slice(wpe, axis=0, end=T)
  x = x -> h: repeat 2 { Layer(4) } -> ln_f: LayerNorm
  return x -> linear(wte.weight)
}
"""
)

GATES = """
cell Gates(hidden: int)(x: [B, I], h: [B, hidden], c: [B, hidden]) -> [B, hidden], [B, hidden] {
  z = concat(x, h, axis=1)
  forget = z -> forget_gate: Linear(hidden) -> sigmoid
  update = z -> cell_gate: Linear(hidden) -> tanh
  c = forget * c + (1 - forget) * update
  return (z -> output_gate: Linear(hidden) -> sigmoid) * tanh(c), c
}
"""

HAND_WRITTEN = (
    GATES
    + """
model example(tokens: int64[B, T]) -> logits: [B, T, 20], last: [B, 8] {
  x = tokens -> embedding: Embedding(20, 6)
  for layer in 0..2 {
    x, h, c = scan word over x(axis=T) carry h = zeros(B, 8), c = zeros(B, 8) {
      h, c = word -> layer{layer}: Gates(8, h, c)
      yield h
    }
  }
  return logits = x -> head: Linear(20), last = h
}
"""
)

SCANS_IN_SCANS = """
model example(frames: [T, B, 3, 5]) -> a: [B, 4, T], b: [T, B, 4] {
  map = Linear(4)
  a, b = scan frame over frames(axis=0) carry h = zeros(B, 4) {
    h = scan row over frame(axis=1) carry h = h {
      h = tanh(concat(row, h, axis=1) -> map)
    }
    yield h, h * 2.0
  }
  return a = rearrange("T B D -> B D T", a), b = b
}
"""

RECURRENT = """
model example(x: [B, T, 5]) -> y: [B, T, 6], last: [B, 6] {
  y, h, c = x -> lstm: LSTM(8, num_layers=2, proj_size=6, batch_first=true)
  y = y + (y -> gru: GRU(6, batch_first=true))
  z = y -> transpose(0, 1) -> rnn: RNN(6, nonlinearity="relu") -> transpose(0, 1)
  return y = z + y, last = c -> select(axis=0, index=1) -> head: Linear(6)
}
"""

BEGUN = """
model example(x: [T, B, 5], begin: [B, 7]) -> y: [T, B, 7] {
  h = begin -> enter: Linear(7) -> tanh -> unsqueeze(0)
  y, h = x -> gru: GRU(7, h)
  return y
}
"""

LLAMA = """
block Attention(heads: int, shared: int)(x: [B, T, D]) -> [B, T, D] {
  require D % heads == 0, "width {D} does not split into {heads} heads"
  e = D // heads
  q = x -> q_proj: Linear(D) -> rearrange("B T (h e) -> B h T e", h=heads) -> rotary
  k = x -> k_proj: Linear(shared * e) -> rearrange("B T (h e) -> B h T e", h=shared) -> rotary
  v = x -> v_proj: Linear(shared * e) -> rearrange("B T (h e) -> B h T e", h=shared)
  y = scaled_dot_product_attention(q, k, v, is_causal=true, enable_gqa=true)
  return y -> rearrange("B h T e -> B T (h e)") -> o_proj: Linear(D, bias=false)
}

model example(tokens: int64[B, T]) -> logits: [B, T, 50] {
  x = tokens -> embed: Embedding(50, 32)
  for i in 0..2 {
    x = x + (x -> norm{i}: RMSNorm -> attn{i}: Attention(4, 2))
    x = x + (x -> post{i}: RMSNorm -> mlp{i}: { Linear(2 * 24) -> GLU -> Linear(32) })
  }
  return x -> norm: RMSNorm -> lm_head: Linear(50, bias=false)
}
"""

INTERLEAVED = """
block Attention(heads: int, shared: int)(x: [B, T, D]) -> [B, T, D] {
  require D % heads == 0, "width {D} does not split into {heads} heads"
  require heads % shared == 0
  e = D // heads
  q = x -> q_proj: Linear(D) -> unflatten(axis=2, shape=[heads, e])
  q = q -> rotary(axis=1, interleaved=true)
  k = x -> k_proj: Linear(shared * e) -> unflatten(axis=2, shape=[shared, e])
  v = x -> v_proj: Linear(shared * e) -> unflatten(axis=2, shape=[shared, e])
  k = k -> rotary(axis=1, interleaved=true, rotary_dim=4) -> transpose(1, 2)
  k = k -> repeat_interleave(heads // shared, axis=1)
  v = v -> transpose(1, 2) -> unsqueeze(2) -> expand(-1, -1, heads // shared, -1, -1)
  v = v -> reshape(B, heads, T, e)
  a = matmul(transpose(q, 1, 2), transpose(k, 2, 3)) / sqrt(e)
  a = a -> mask(_3 <= _2) -> softmax(axis=-1)
  y = matmul(a, v) -> transpose(1, 2) -> flatten(2)
  return y -> o_proj: Linear(D)
}

model example(tokens: int64[B, T]) -> logits: [B, T, 50] {
  x = tokens -> embed: Embedding(50, 32)
  x = x + (x -> attn: Attention(4, 2))
  return x -> head: Linear(50)
}
"""

T5 = """
block Attention(heads: int)(x: [B, T, D], memory: [B, S, D]) -> q: [B, heads, T, D // heads],
    k: [B, heads, S, D // heads], v: [B, heads, S, D // heads] {
  q = x -> q: Linear(D, bias=false) -> rearrange("B T (h e) -> B h T e", h=heads)
  k = memory -> k: Linear(D, bias=false) -> rearrange("B S (h e) -> B h S e", h=heads)
  v = memory -> v: Linear(D, bias=false) -> rearrange("B S (h e) -> B h S e", h=heads)
  return q, k, v
}

block Encoder(heads: int)(x: [B, S, D], keep: bool[B, S]) -> [B, S, D] {
  q, k, v = x -> self: Attention(heads, memory=x)
  bias = relative_position_bucket(S, S) -> bias: Embedding(32, heads) -> permute(2, 0, 1)
  a = matmul(q, transpose(k, 2, 3)) + bias
  a = mask(a, keep -> unsqueeze(1) -> unsqueeze(1)) -> softmax(axis=3)
  return x + (matmul(a, v) -> rearrange("B h S e -> B S (h e)") -> o: Linear(D))
}

block Decoder(heads: int)(x: [B, T, D], memory: [B, S, D], keep: bool[B, S]) -> [B, T, D] {
  q, k, v = x -> self: Attention(heads, memory=x)
  bias = relative_position_bucket(T, T, bidirectional=false) -> bias: Embedding(32, heads)
  scores = matmul(q, transpose(k, 2, 3)) + rearrange("i j h -> h i j", bias)
  a = scores -> mask(_3 <= _2) -> softmax(axis=3)
  x = x + (matmul(a, v) -> rearrange("B h T e -> B T (h e)") -> o: Linear(D))
  q, k, v = x -> cross: Attention(heads, memory=memory)
  a = mask(matmul(q, transpose(k, 2, 3)), keep -> unsqueeze(1) -> unsqueeze(1)) -> softmax(axis=3)
  return x + (matmul(a, v) -> rearrange("B h T e -> B T (h e)") -> cross_o: Linear(D))
}

model example(tokens: int64[B, T], source: int64[B, S], keep: bool[B, S])
    -> logits: [B, T, 30], memory: [B, S, 12] {
  memory = source -> shared: Embedding(30, 12) -> encoder: Encoder(3, keep=keep)
  x = tokens -> share shared: Embedding(30, 12) -> decoder: Decoder(3, memory=memory, keep=keep)
  return logits = x -> head: Linear(30), memory = memory
}
"""

BIASED = """
model example(x: [B, T, 12]) -> y: [B, T, 12], weights: [B, 3, T, T] {
  q, k, v = x -> qkv: Linear(36) -> split("B T (3 h e) -> 3 B h T e", h=3)
  scores = einsum("B h i e, B h j e -> B h i j", q, k) + alibi(3, T, T)
  a = scores -> mask(_3 <= _2 and _2 - _3 < 4) -> softmax(axis=3)
  y = einsum("B h i j, B h j e -> B i (h e)", a, v) -> out: Linear(12)
  return y = y, weights = a
}
"""

COUNTED = """
model example(tokens: int64[B, T]) -> logits: [B, T, 20] {
  x = (tokens -> embedding: Embedding(20, 8)) * sqrt(8) + sinusoidal_positions(T, 8)
  return x -> lstm: LSTM(8, batch_first=true) -> head: Linear(20)
}
"""

MULTIHEAD = """
model example(tokens: int64[B, T], memory: [S, B, 12]) -> last: [B, 20] {
  x = (tokens -> embedding: Embedding(20, 12)) + sinusoidal_positions(T, 12, interleaved=false)
  x = x + (x -> attn: MultiheadAttention(3, batch_first=true, is_causal=true))
  y = x -> transpose(0, 1)
  y = y + (y -> cross: MultiheadAttention(3, memory))
  return y -> select(axis=0, index=-1) -> head: Linear(20)
}
"""

ADDED = """
model example(x: [B, T, 12]) -> y: [B, T, 12] {
  q, k, v = x -> qkv: Linear(36) -> split("B T (3 h e) -> 3 B h T e", h=3)
  hidden = zeros(T, T) -> mask(_1 <= _0)
  y = scaled_dot_product_attention(q, k, v, hidden + alibi(3, T, T))
  return y -> rearrange("B h T e -> B T (h e)") -> out: Linear(12)
}
"""

CHANNELS_FIRST = """
model example(x: [B, 6, T], keep: bool[B, T]) -> y: [B, 4, T], last: [B, 4, 1] {
  x = x -> norm: BatchNorm -> rearrange("B C T -> B T C") -> in: Linear(8) -> relu
  scores = einsum("B i d, B j d -> B j i", x, x -> key: Linear(8))
  scores = mask(scores, keep -> unsqueeze(2), predicate=j <= i, fill=LOWEST)
  y = einsum("B j i, B j d -> B d i", scores -> softmax(axis=j), x -> value: Linear(4))
  y = where(isnan(y), 0.0, y) -> PReLU(4)
  return y = y, last = y -> slice(axis=2, start=-1)
}
""".replace("LOWEST", "-1e999")


CONVOLVED = """
block Causal(width: int, reach: int, dilation: int = 1)(x: [B, C, T]) -> [B, width, T] {
  return x -> pad([(reach - 1) * dilation, 0]) -> conv: Conv(width, reach, dilation=dilation)
}

model example(tokens: int64[B, T]) -> logits: [B, T, 20] {
  x = tokens -> embedding: Embedding(20, 8) -> transpose(1, 2)
  x = x + (x -> a: Causal(8, 3) -> relu -> b: Causal(8, 2, 3) -> c: Causal(8, 1))
  before = x -> pad([1, -1], axis=2)
  x = concat(x, before, axis=1) -> d: Conv(6, 1)
  x = x -> unsqueeze(2) -> pad([3, 0, 1, 1]) -> e: Conv(6, [3, 4], groups=2) -> squeeze(2)
  return x -> transpose(1, 2) -> head: Linear(20)
}
"""


@dataclass(frozen=True)
class StepModel:
    """A text, how many states and caches it has, and the axes of time of inputs and outputs."""

    text: str
    states: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    latest: tuple[str, ...] = ()
    """Outputs without an axis of time: what there is after the last step."""
    rows: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """Outputs with one row a step over all steps: both axes."""
    most: int = 100
    """The longest it takes."""
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """For a shipped model, whose name is the text: which family, and how small."""


TOKENS, LOGITS = {"tokens": 1}, {"logits": 1}

SMALL = {"layers": 2, "heads": 4, "width": 32, "vocabulary": 15}
IDS = {"input_ids": 1}

MODELS = {
    "shipped gpt2": StepModel(
        "gpt2", 4, IDS, LOGITS, most=16, settings=SMALL | {"model": "GPT2", "positions": 16}
    ),
    "shipped llama": StepModel(
        "llama", 4, IDS, LOGITS, settings=SMALL | {"model": "LLaMA", "groups": 2, "hidden": 48}
    ),
    "gpt": StepModel(GPT.replace("PREDICATE", "j <= i"), 4, TOKENS, LOGITS, most=16),
    "window": StepModel(
        GPT.replace("PREDICATE", "0 <= i - j and i - j < 3"), 4, TOKENS, LOGITS, most=16
    ),
    "prefix": StepModel(
        GPT.replace("PREDICATE", "j <= i and (j < 2 or i - j < 2)"), 4, TOKENS, LOGITS, most=16
    ),
    "hand-written": StepModel(HAND_WRITTEN, 4, TOKENS, LOGITS, ("last",)),
    "scans-in-scans": StepModel(SCANS_IN_SCANS, 1, {"frames": 0}, {"a": 2, "b": 0}),
    "recurrent": StepModel(RECURRENT, 4, {"x": 1}, {"y": 1}, ("last",)),
    "begun": StepModel(BEGUN, 1, {"x": 0}, {"y": 0}),
    "llama": StepModel(LLAMA, 4, TOKENS, LOGITS),
    "interleaved": StepModel(INTERLEAVED, 2, TOKENS, LOGITS),
    "t5": StepModel(T5, 2, TOKENS, LOGITS),
    "biased": StepModel(BIASED, 2, {"x": 1}, {"y": 1}, rows={"weights": (2, 3)}),
    "convolved": StepModel(CONVOLVED, 4, TOKENS, LOGITS),
    "counted": StepModel(COUNTED, 3, TOKENS, LOGITS),
    "multihead": StepModel(MULTIHEAD, 1, TOKENS, {}, ("last",)),
    "added": StepModel(ADDED, 2, {"x": 1}, {"y": 1}),
    "channels-first": StepModel(CHANNELS_FIRST, 3, {"x": 2, "keep": 1}, {"y": 2}, ("last",)),
}


def attention(scores: str) -> str:
    """A model with these scores between all steps, as they come in."""
    return f"""
model example(x: [B, T, 8]) -> y: [B, T, 8] {{
  q, k, v = x -> qkv: Linear(24) -> split("B T (3 e) -> 3 B T e")
  scores = einsum("B i e, B j e -> B i j", q, k)
  a = {scores}
  return einsum("B i j, B j e -> B i e", a, v)
}}
"""


def along(pipeline: str) -> str:
    """A recurrent model with this in it."""
    return f"""
model example(x: [B, T, 8]) -> y: [B, T, 8] {{
  x, h = x -> gru: GRU(8, batch_first=true)
  return x -> {pipeline}
}}
"""


REFUSED = {
    "no mask": (attention("scores -> softmax(axis=j)"), "nothing hides them before this softmax"),
    "late mask": (
        attention("scores -> mask(j <= i + 1) -> softmax(axis=j)"),
        r"place (\d+) sees place \d+",
    ),
    "wrong axis": (attention("scores -> mask(j <= i) -> softmax(axis=i)"), "mixes all places of T"),
    "other way": (attention("scores -> mask(i <= j) -> softmax(axis=j)"), "sees place"),
    "empty rows": (attention("scores -> mask(j < i) -> softmax(axis=j)"), "nothing is kept"),
    "a weak mask": (
        attention("scores -> mask(j <= i, fill=-100.0) -> softmax(axis=j)"),
        "which softmax does not make 0",
    ),
    "after the mask": (
        attention("-(scores -> mask(j <= i)) -> softmax(axis=j)"),
        "what a mask hid is changed before this",
    ),
    "two masks": (
        attention("scores -> mask(j < 2) -> mask(j <= i and i - j < 2) -> softmax(axis=j)"),
        "where two masks keep nothing",
    ),
    "two masks, one scaled": (
        attention("(scores -> mask(j < 2)) * 0.5 -> mask(j <= i) -> softmax(axis=j)"),
        "where two masks keep nothing",
    ),
    "two masks, added": (
        attention("scores + (zeros(T, T) -> mask(_1 < 2)) -> mask(_2 <= _1) -> softmax(axis=2)"),
        "where two masks keep nothing",
    ),
    "no softmax": (attention("scores -> mask(j <= i)"), "mixes all places of T"),
    "hidden by the length": (
        attention("scores -> mask(j <= i and j < T - 1) -> softmax(axis=j)"),
        "nothing is kept",
    ),
    "bidirectional": (
        """
model example(x: [T, B, 8]) -> y: [T, B, 8] {
  y, h = x -> gru: GRU(4, bidirectional=true)
  return y
}
""",
        "mixes all places of T",
    ),
    "a layer backwards": (
        """
model example(x: [T, B, 8]) -> y: [T, B, 8] {
  y, h = x -> gru: GRU(8, backwards=true)
  return y
}
""",
        "mixes all places of T",
    ),
    "backwards": (
        """
model example(x: [B, T, 8]) -> y: [B, T, 8] {
  return scan reverse word over x(axis=T) carry h = zeros(B, 8) {
    h = tanh(word + h)
    yield h
  }
}
""",
        "this scan goes backwards",
    ),
    "last state used": (
        """
model example(x: [B, T, 8]) -> y: [B, T, 8] {
  y, h = x -> gru: GRU(8, batch_first=true)
  return y + (h -> transpose(0, 1))
}
""",
        "this depends on all steps, also on later ones",
    ),
    "attention sees all": (
        along("MultiheadAttention(2, batch_first=true)"),
        "mixes all places of T",
    ),
    "causal over what is fixed": (
        """
model example(x: [B, T, 8], memory: [B, S, 8]) -> y: [B, T, 8] {
  x, h = x -> gru: GRU(8, batch_first=true)
  return scaled_dot_product_attention(x, memory, memory, is_causal=true)
}
""",
        "mixes all places of T",
    ),
    "causal, but keys in front": (
        """
model example(x: [B, T, 8]) -> y: [B, T, 8] {
  k = x -> key: Linear(8) -> pad([1, 0], axis=1)
  return scaled_dot_product_attention(x, k, k, is_causal=true)
}
""",
        "mixes all places of T",
    ),
    "ahead": (
        along("{ transpose(1, 2) -> pad([1, 1]) -> Conv(8, 3) -> transpose(1, 2) }"),
        "mixes all places of T",
    ),
    "softmax": (along("softmax(axis=T)"), "mixes all places of T"),
    "cumsum": (along("cumsum(axis=T)"), "mixes all places of T"),
    "flip": (along("flip(axis=T)"), "mixes all places of T"),
    "mean": (along("{ it - (it -> mean(axis=T, keepdim=true)) }"), "this depends on all steps"),
    "pooling": (
        along("{ transpose(1, 2) -> max_pool(3, stride=1, padding=1) -> transpose(1, 2) }"),
        "mixes all places of T",
    ),
    "length": (along("{ it / T }"), "this depends on all steps"),
    "merged": (along('{ rearrange("B T D -> (B T) D") -> reshape(B, T, 8) }'), r"the size B\*T"),
    "nothing carried": (
        "model example(x: [B, T, 8]) -> y: [B, T, 8] { return x -> Linear(8) }",
        "no axis of an input is carried",
    ),
}
