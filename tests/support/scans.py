"""Small models with scans of every kind."""

from __future__ import annotations

STEPS = """
cell LSTMStep(hidden: int)(x: [B, I], h: [B, hidden], c: [B, hidden])
    -> [B, hidden], [B, hidden] {
  z = concat(x, h, axis=1)
  forget = z -> forget_gate: Linear(hidden) -> sigmoid
  input  = z -> input_gate:  Linear(hidden) -> sigmoid
  update = z -> cell_gate:   Linear(hidden) -> tanh
  output = z -> output_gate: Linear(hidden) -> sigmoid
  c = forget * c + input * update
  return output * tanh(c), c
}
cell GRUStep(hidden: int)(x: [B, I], h: [B, hidden]) -> [B, hidden] {
  rx, zx, nx = x -> input: Linear(3 * hidden) -> chunk(3, axis=1)
  rh, zh, nh = h -> state: Linear(3 * hidden) -> chunk(3, axis=1)
  r = sigmoid(rx + rh)
  z = sigmoid(zx + zh)
  n = tanh(nx + r * nh)
  return (1 - z) * n + z * h
}
"""

SCANS: dict[str, str] = {
    "lstm": """
model net(hidden: int = 6)(words: [B, T, 4]) -> y: [B, T, 6], h: [B, 6], c: [B, 6] {
  step = LSTMStep(hidden)
  ys, h, c = scan word over words(axis=T) carry h = zeros(B, hidden), c = zeros(B, hidden) {
    h, c = step(word, h, c)
    yield h
  }
  return y = ys, h = h, c = c
}
""",
    "gru": """
model net(words: [B, T, 4], h: [B, 6]) -> y: [B, T, 6], last: [B, 6] {
  ys, h = scan reverse word over words(axis=T) carry h = h {
    h = word -> step: GRUStep(6)(h)
    yield h
  }
  return y = ys, last = h
}
""",
    "both_ways": """
model net(x: [T, B, 4]) -> y: [T, B, 10] {
  there = scan e over x(axis=T) carry h = zeros(B, 5) {
    h = e -> forwards: GRUStep(5)(h)
    yield h
  }
  back = scan reverse e over x(axis=T) carry h = zeros(B, 5) {
    h = e -> backwards: GRUStep(5)(h)
    yield h
  }
  return concat(there, back, axis=2)
}
""",
    "several": """
model net(x: [B, T, 4], mask: [B, T]) -> y: [B, T, 12], h: [B, 4] {
  z = zeros(B, 4)
  old, new, sums, h, total = scan reverse e, m over x(axis=T), mask(axis=1) carry h = z, total = z {
    before = h
    h = tanh(e -> mix: Linear(4)) * reshape(m, B, 1) + h
    total = total + before
    yield before, h, total
  }
  return y = concat(old, new, sums, axis=2), h = h * total
}
""",
    "nested": """
model net(x: [B, S, T, 4], h0: [B, 5]) -> y: [B, S, T, 5], last: [B, 5] {
  rows, h = scan row over x(axis=S) carry h = h0 {
    cells, g = scan reverse cell over row(axis=T) carry g = h {
      g = tanh((cell -> inner: Linear(5)) + g + h)
      yield g
    }
    h = tanh(g -> outer: Linear(5))
    yield cells
  }
  return y = rows, last = h
}
""",
    "no_states": """
model net(x: [B, T, 4]) -> [B, T, 3] {
  w = mean(x, axis=T)
  y = scan e over x(axis=T) {
    yield (e + w) -> body: { Linear(8) -> ReLU -> Linear(3) } -> dropout(0.1)
  }
  return y
}
""",
    "no_yields": """
model net(x: [T, B, 4]) -> [B, 4] {
  total = scan e over x(axis=T) carry total = ones(B, 4) { total = total * 0.5 + e }
  return total
}
""",
    "weights": """
model net(x: [B, T, 4], y: [B, 4]) -> [B, T, 4] {
  param h0: [4] = constant(0.5)
  param w: [4] = constant(0.25)
  shared = Linear(4)
  k = 2.0
  y = y -> shared
  ys = scan x over x(axis=T) carry h = h0 * y {
    u = x -> shared
    h = h * w + u * y * k
    for i in 0..9 { h = h -> layer{i}: Linear(4) -> tanh }
    yield h
  }
  return ys
}
""",
    "merged": """
block Recurrent(width: int, layers: int, both: bool = false)(x: [B, T, C]) {
  for i in 0..layers {
    y = scan e over x(axis=T) carry h = zeros(B, width) {
      h = concat(e, h, axis=1) -> cell{i}: Linear(width) -> tanh
      if both { h = h + (h -> more{i}: Linear(width)) }
      yield h
    }
    if both {
      z = scan reverse e over x(axis=T) carry h = zeros(B, width) {
        h = concat(e, h, axis=1) -> back{i}: Linear(width) -> tanh
        yield h
      }
      y = y + z
    }
    x = y
  }
  return x
}
model net(x: [B, T, 4]) -> [B, T, 6] {
  x -> a: Recurrent(5, 3) -> b: Recurrent(6, 2, true) -> c: Recurrent(6, 1)
}
""",
    "loop_around": """
model net(x: [B, T, 4]) -> [B, T, 4] {
  scale = mean(x, axis=T)
  for i in 0..10 {
    x, scale = scan e over x(axis=T) carry s = scale {
      s = tanh(e -> layer{i}: Linear(4)) + s
      yield s
    }
  }
  return x
}
""",
}
