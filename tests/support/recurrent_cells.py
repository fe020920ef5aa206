"""Recurrent cells written by hand in many ways, and cells that are nearly the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

HIDDEN, INPUTS = 6, 4


@dataclass(frozen=True)
class Written:
    """The body of a cell that takes `x` and carries `h` (and `c`), and the operator that it is."""

    body: str
    operator: str
    has_c: bool = False
    only_onnx: bool = False

    @property
    def states(self) -> list[str]:
        return ["h", "c"] if self.has_c else ["h"]


_LSTM_END = "c = f * c + i * g\nh = o * tanh(c)\n"
_LSTM_GATES = "i = sigmoid(zi)\nf = sigmoid(zf)\ng = tanh(zg)\no = sigmoid(zo)\n"
_GRU_GATES = "r = sigmoid(xr + hr)\nz = sigmoid(xz + hz)\nn = tanh(xn + r * hn)\n"
_GRU_PARTS = (
    "xr, xz, xn = x -> wx: Linear(3 * H) -> chunk(3, axis=1)\n"
    "hr, hz, hn = h -> wh: Linear(3 * H) -> chunk(3, axis=1)\n"
)


def _shuffled(seed: int) -> str:
    """One Linear over input and state, its gates in some order."""
    names = ["zi", "zf", "zg", "zo"]
    Random(seed).shuffle(names)
    return f"{', '.join(names)} = concat(x, h, axis=1) -> all: Linear(4 * H) -> chunk(4, axis=1)\n"


def _lstm(gates: str, end: str = _LSTM_GATES + _LSTM_END) -> Written:
    return Written(gates + end, "LSTM", has_c=True)


def _gru(gates: str, end: str, *, only_onnx: bool = False) -> Written:
    return Written(gates + end, "GRU", only_onnx=only_onnx)


CELLS: dict[str, Written] = {
    **{f"lstm_order_{seed}": _lstm(_shuffled(seed)) for seed in range(4)},
    "lstm_state_first": _lstm(
        "zo, zg, zf, zi = concat(h, x, axis=1) -> all: Linear(4 * H) -> split(4, axis=1)\n"
    ),
    "lstm_a_layer_a_gate": Written(
        "z = concat(x, h, axis=1)\n"
        "forget = z -> forget_gate: Linear(H) -> sigmoid\n"
        "update = z -> cell_gate: Linear(H) -> Tanh\n"
        "input = z -> input_gate: Linear(H) -> Sigmoid\n"
        "output = z -> output_gate: Linear(H) -> sigmoid\n"
        "c = update * input + c * forget\n"
        "h = tanh(c) * output\n",
        "LSTM",
        has_c=True,
    ),
    "lstm_scopes": _lstm(
        "z = (x -> gates.of_x: Linear(4 * H)) + (h -> gates.of_h: { Linear(4 * H) -> identity })\n"
        "zi, zf, zo, zg = z -> chunk(4, axis=1)\n"
    ),
    "lstm_bias_of_input": _lstm(
        "z = (h -> wh: Linear(4 * H, bias=false)) + (x -> wx: Linear(4 * H))\n"
        "zi, zf, zg, zo = z -> chunk(4, axis=1)\n"
    ),
    "lstm_bias_of_state": _lstm(
        "z = (h -> wh: Linear(4 * H)) + (x -> wx: Linear(4 * H, bias=false))\n"
        "zi, zf, zg, zo = z -> chunk(4, axis=1)\n"
    ),
    "lstm_two_biases": _lstm(
        "z = (h -> wh: Linear(4 * H)) + (x -> wx: Linear(4 * H))\n"
        "zi, zf, zg, zo = z -> chunk(4, axis=1)\n"
    ),
    "lstm_no_bias": _lstm(
        "zi, zf, zg, zo = concat(x, h, axis=1) -> all: Linear(4 * H, bias=false)"
        " -> chunk(4, axis=1)\n"
    ),
    "lstm_one_biased_gate": _lstm(
        "v = concat(x, h, axis=1)\n"
        "zi = v -> wi: Linear(H, bias=false)\nzf = v -> wf: Linear(H)\n"
        "zg = v -> wg: Linear(H, bias=false)\nzo = v -> wo: Linear(H, bias=false)\n"
    ),
    "lstm_matmul": _lstm(
        "param w: [I, 4 * H] = normal(std=0.4)\nparam u: [H, 4 * H] = normal(std=0.4)\n"
        "param b: [4 * H] = normal(std=0.4)\n"
        "zi, zf, zg, zo = (matmul(x, w) + b + matmul(h, u)) -> chunk(4, axis=1)\n"
    ),
    "lstm_linear": _lstm(
        "param w: [4 * H, I + H] = normal(std=0.4)\nparam b: [4 * H] = normal(std=0.4)\n"
        "z = linear(x, w -> slice(axis=1, end=I), b) + linear(h, w -> slice(axis=1, start=I))\n"
        'zi, zf, zg, zo = z -> split("N (4 h) -> 4 N h")\n'
    ),
    "lstm_interleaved": _lstm(
        "param w: [4 * H, I + H] = normal(std=0.4)\nparam b: [4 * H] = normal(std=0.4)\n"
        "z = linear(concat(x, h, axis=1), w, b)\n"
        'zi, zf, zg, zo = z -> split("N (h 4) -> 4 N h")\n'
    ),
    "lstm_einsum": _lstm(
        "param w: [4, H, I] = normal(std=0.4)\nparam u: [4, H, H] = normal(std=0.4)\n"
        "param b: [4, 1, H] = normal(std=0.4)\n"
        'z = einsum("g o i, N i -> g N o", w, x) + einsum("N i, g o i -> g N o", h, u) + b\n'
        "zi = z -> select(axis=0, index=0)\nzf = z -> select(axis=0, index=1)\n"
        "zg = z -> select(axis=0, index=2)\nzo = z -> select(axis=0, index=-1)\n"
    ),
    "lstm_einsum_last": _lstm(
        "param w: [I, 4, H] = normal(std=0.4)\nparam u: [H, 4, H] = normal(std=0.4)\n"
        'z = einsum("N i, i g o -> N g o", x, w) + einsum("N i, i g o -> N g o", h, u)\n'
        "zi = z -> select(axis=1, index=0)\nzf = z -> select(axis=1, index=1)\n"
        "zg = z -> select(axis=1, index=2)\nzo = z -> select(axis=1, index=3)\n"
    ),
    "lstm_turned": _lstm(
        "param w: [4 * H, I] = normal(std=0.4)\nparam u: [H, 4 * H] = normal(std=0.4)\n"
        "z = matmul(x, transpose(w, 0, 1)) + matmul(h, u)\n"
        "zi, zf, zg, zo = z -> chunk(4, axis=1)\n"
    ),
    "lstm_joint_gates": _lstm(
        "z = concat(x, h, axis=1) -> all: Linear(4 * H)\n"
        "i, f, o = z -> slice(axis=1, end=3 * H) -> sigmoid -> chunk(3, axis=1)\n"
        "g = z -> slice(axis=1, start=3 * H) -> tanh\n",
        _LSTM_END,
    ),
    "lstm_forget_bias": _lstm(
        _shuffled(1),
        _LSTM_GATES.replace("sigmoid(zf)", "sigmoid(zf + 1.0)") + _LSTM_END,
    ),
    "gru": _gru(_GRU_PARTS, _GRU_GATES + "h = (1 - z) * n + z * h\n"),
    "gru_difference": _gru(_GRU_PARTS, _GRU_GATES + "h = n + z * (h - n)\n"),
    "gru_commuted": _gru(_GRU_PARTS, _GRU_GATES + "h = h * z - z * n + n\n"),
    "gru_other_update": _gru(_GRU_PARTS, _GRU_GATES + "h = (1 - z) * h + z * n\n"),
    "gru_other_update_difference": _gru(_GRU_PARTS, _GRU_GATES + "h = h + z * (n - h)\n"),
    "gru_layers": _gru(
        "v = concat(h, x, axis=1)\n"
        "r = v -> reset: Linear(H) -> sigmoid\nz = v -> update: Linear(H) -> sigmoid\n"
        "n = tanh((x -> new: Linear(H, bias=false)) + r * (h -> old: Linear(H)))\n",
        "h = z * h + (1 - z) * n\n",
    ),
    "gru_paper": _gru(
        "v = concat(x, h, axis=1)\n"
        "r = v -> reset: Linear(H) -> sigmoid\nz = v -> update: Linear(H) -> sigmoid\n"
        "n = concat(x, r * h, axis=1) -> new: Linear(H) -> tanh\n",
        "h = (1 - z) * n + z * h\n",
        only_onnx=True,
    ),
    "gru_paper_apart": _gru(
        "z, r, xn = x -> wx: Linear(3 * H) -> chunk(3, axis=1)\n"
        "uz, ur = h -> wh: Linear(2 * H, bias=false) -> chunk(2, axis=1)\n"
        "z = sigmoid(z + uz)\nr = sigmoid(ur + r)\n"
        "n = tanh((h * r -> un: Linear(H, bias=false)) + xn)\n",
        "h = (1 - z) * h + z * n\n",
        only_onnx=True,
    ),
    "rnn": Written("h = concat(x, h, axis=1) -> cell: Linear(H) -> tanh\n", "RNN"),
    "rnn_relu": Written(
        "h = (x -> wx: Linear(H)) + (h -> wh: Linear(H, bias=false)) -> relu\n", "RNN"
    ),
    "rnn_no_bias": Written(
        "param w: [H, I] = normal(std=0.4)\nparam u: [H, H] = normal(std=0.4)\n"
        'h = tanh(einsum("N i, o i -> N o", x, w) + linear(h, u))\n',
        "RNN",
    ),
}

_NEAR_LSTM = _shuffled(0) + _LSTM_GATES

NEARLY: dict[str, Written] = {
    "peephole": Written(
        "param p: [H] = normal(std=0.4)\n"
        + _shuffled(0)
        + _LSTM_GATES.replace("sigmoid(zf)", "sigmoid(zf + p * c)")
        + _LSTM_END,
        "LSTM",
        has_c=True,
    ),
    "extra_term": Written(_NEAR_LSTM + "c = f * c + i * g + h\nh = o * tanh(c)\n", "LSTM", True),
    "no_last_tanh": Written(_NEAR_LSTM + "c = f * c + i * g\nh = o * c\n", "LSTM", True),
    "sum_is_sigmoid": Written(
        _shuffled(0) + _LSTM_GATES.replace("tanh(zg)", "sigmoid(zg)") + _LSTM_END, "LSTM", True
    ),
    "coupled_gates": Written(
        _NEAR_LSTM + "c = f * c + (1 - f) * g\nh = o * tanh(c)\n", "LSTM", True
    ),
    "shared_gates": Written(
        "v = concat(x, h, axis=1)\nall = Linear(H)\nzi = all(v)\nzf = all(v)\n"
        "zg = v -> wg: Linear(H)\nzo = v -> wo: Linear(H)\n" + _LSTM_GATES + _LSTM_END,
        "LSTM",
        has_c=True,
    ),
    "layer_norm": Written(
        _shuffled(0).replace(" -> chunk", " -> norm: LayerNorm -> chunk") + _LSTM_GATES + _LSTM_END,
        "LSTM",
        has_c=True,
    ),
    "dropout": Written(
        _shuffled(0) + _LSTM_GATES.replace("tanh(zg)", "dropout(tanh(zg), 0.5)") + _LSTM_END,
        "LSTM",
        has_c=True,
    ),
    "hard_sigmoid": Written(
        _shuffled(0) + _LSTM_GATES.replace("sigmoid(zo)", "hardsigmoid(zo)") + _LSTM_END,
        "LSTM",
        has_c=True,
    ),
    "scaled": Written(
        _shuffled(0) + _LSTM_GATES.replace("sigmoid(zo)", "sigmoid(0.5 * zo)") + _LSTM_END,
        "LSTM",
        has_c=True,
    ),
    "three_biases": Written(
        "param b: [4 * H] = normal(std=0.4)\n"
        "z = (h -> wh: Linear(4 * H)) + (x -> wx: Linear(4 * H)) + b\n"
        "zi, zf, zg, zo = z -> chunk(4, axis=1)\n" + _LSTM_GATES + _LSTM_END,
        "LSTM",
        has_c=True,
    ),
    "gru_sum": Written(_GRU_PARTS + _GRU_GATES + "h = n + z * h\n", "GRU"),
    "gru_other_reset": Written(
        _GRU_PARTS + _GRU_GATES.replace("r * hn", "z * hn") + "h = (1 - z) * n + z * h\n", "GRU"
    ),
    "gru_cubed": Written(_GRU_PARTS + _GRU_GATES + "h = (1 - z) * n + z * z * h\n", "GRU"),
    "rnn_residual": Written("h = h + (concat(x, h, axis=1) -> w: Linear(H) -> tanh)\n", "RNN"),
    "rnn_product": Written("h = tanh((x -> wx: Linear(H)) * (h -> wh: Linear(H)))\n", "RNN"),
    "rnn_twice": Written("h = tanh(h -> wh: Linear(H) -> w2: Linear(H)) + x\n", "RNN"),
    "rnn_of_sum": Written("h = tanh((x + h) -> w: Linear(H))\n", "RNN"),
}
"""None of these is an operator: each keeps its loop."""


def cell(written: Written, name: str = "Step") -> str:
    """The text of the cell; the number of features is the last carried size."""
    states = ", ".join(f"{state}: [N, H]" for state in written.states)
    body = "\n".join(f"  {line}" for line in written.body.splitlines())
    results = ", ".join("[N, H]" for _ in written.states)
    return (
        f"cell {name}()(x: [N, I], {states}) -> {results} {{\n{body}\n"
        f"  return {', '.join(written.states)}\n}}\n"
    )


def network(
    written: Written,
    *,
    layers: int = 1,
    reverse: Sequence[bool] = (False,),
    given: bool = True,
    time: int = 1,
    inputs: int = INPUTS,
) -> str:
    """A model of stacked scans over the cell; every final state is an output."""
    sizes = f"N, T, {inputs}" if time else f"T, N, {inputs}"
    states = written.states
    ports = [f"{s}{layer}: [N, {HIDDEN}]" for layer in range(layers) for s in states]
    lines = [f"model net({', '.join([f'x: [{sizes}]', *(ports if given else [])])}) {{"]
    for layer in range(layers):
        begins = [f"{s} = {f'{s}{layer}' if given else f'zeros(N, {HIDDEN})'}" for s in states]
        way = "reverse " if reverse[layer % len(reverse)] else ""
        lasts = ", ".join(f"last_{s}{layer}" for s in states)
        lines += [
            f"  step{layer} = Step()",
            f"  x, {lasts} = scan {way}e over x(axis=T) carry {', '.join(begins)} {{",
            f"    {', '.join(states)} = step{layer}(e, {', '.join(states)})",
            "    yield h",
            "  }",
        ]
    finals = [f"last_{s}{layer}" for layer in range(layers) for s in states]
    lines += [f"  return y = x, {', '.join(f'{f} = {f}' for f in finals)}", "}"]
    return f"edition 2026\n\n{cell(written)}\n" + "\n".join(lines) + "\n"
