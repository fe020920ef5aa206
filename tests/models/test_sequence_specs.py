"""The shipped language models and translation beside PyTorch's layers and the papers' equations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import pytest
import sequence_references as references
import torch
from op_parity import assert_parity
from torch import Tensor, nn

import archdsl
from archdsl.backends.torch.source import root_class
from archdsl.compiler import Compilation
from archdsl.passes.costs import figures
from archdsl.resources import shipped_models
from archdsl.runtime.run import run_onnx

VOCAB = 11
SIZES = [(1, 1), (3, 1), (1, 6), (2, 5)]


@dataclass(frozen=True)
class Case:
    """A family of a shipped file at a small size, and what it must equal."""

    spec: str
    family: str
    settings: dict[str, Any]
    oracles: tuple[references.Reference, ...]
    exact: bool = False
    """Whether the oracle computes in the same order, so that the bits are the same."""

    @cached_property
    def network(self) -> archdsl.Network:
        return archdsl.load(self.spec, self.family, vocab=VOCAB, **self.settings)

    @cached_property
    def module(self) -> nn.Module:
        """The live module, no weight of which is as a fresh one has it."""
        module = self.network.to_torch().eval()
        generator = torch.Generator().manual_seed(1)
        for weight in module.parameters():
            nn.init.normal_(weight, std=0.5, generator=generator)
        return module

    @cached_property
    def onnx(self) -> bytes:
        return self.network.to_onnx(self.module).SerializeToString()

    def run_onnx(self, *inputs: Tensor) -> np.ndarray:
        names = [port.name for port in self.network.ir.root.inputs]
        given = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
        (found,) = run_onnx(self.onnx, given)
        return found

    def state(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """The weights, as a module has them: PyTorch multiplies by others in another order."""
        found = self.module.state_dict().items()
        return {path: nn.Parameter(weight.to(dtype)) for path, weight in found}


CELL = {"width": 6, "hidden": 5}
WINDOW = {"window": 3, "width": 4, "hidden": 6}
rnn, lstm, gru = references.rnn_weights, references.lstm_weights, references.gru_weights

CASES = {
    "markov_lm": Case("markov_lm", "MarkovChain", {}, (references.markov,), exact=True),
    "autoregressive_lm": Case(
        "autoregressive_lm", "CausalConvolution", WINDOW, (references.causal_convolution,)
    ),
    "autoregressive_lm_mlp": Case(
        "autoregressive_lm", "WindowMLP", WINDOW, (references.window_mlp,)
    ),
    "one_word": Case(
        "autoregressive_lm", "WindowMLP", {**WINDOW, "window": 1}, (references.window_mlp,)
    ),
    "latent_rnn_lm": Case(
        "latent_rnn_lm",
        "RecurrentLanguageModel",
        CELL,
        (references.by_layer(nn.RNN, rnn), references.by_cell(nn.RNNCell, rnn)),
    ),
    "lstm_lm": Case(
        "lstm_lm",
        "LSTMLanguageModel",
        CELL,
        (references.by_layer(nn.LSTM, lstm), references.by_cell(nn.LSTMCell, lstm)),
    ),
    "gru_lm": Case(
        "gru_lm",
        "GRULanguageModel",
        CELL,
        (references.by_layer(nn.GRU, gru), references.by_cell(nn.GRUCell, gru)),
    ),
    "lstm_lm_builtin": Case(
        "lstm_lm_builtin",
        "StackedLSTM",
        {"hidden": 5, "layers": 3},
        (references.stacked_lstm,),
        exact=True,
    ),
    "lstm_lm_builtin_tied": Case(
        "lstm_lm_builtin",
        "StackedLSTM",
        {"hidden": 5, "layers": 1, "tied": True},
        (references.stacked_lstm,),
        exact=True,
    ),
}

REACH = {
    "markov_lm": 1,
    "autoregressive_lm": 3,
    "autoregressive_lm_mlp": 3,
    "one_word": 1,
}
"""How many places a token is seen from; from all that follow, where nothing is said."""


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def tokens(batch: int, length: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + 10 * batch + length)
    return torch.randint(VOCAB, (batch, length), generator=generator)


# ------------------------------------------------------------------------------------------ values


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", CASES)
def test_values(name: str, sizes: tuple[int, int]) -> None:
    """The live module and ONNX Runtime beside what PyTorch has of the same name."""
    case, x = CASES[name], tokens(*sizes)
    single = case.module(x)
    found = case.run_onnx(x)
    assert single.abs().max() >= 1e-3
    for oracle in case.oracles:
        wanted, right = (oracle(case.state(t), x) for t in (torch.float32, torch.float64))
        assert_parity(name, single.numpy(), wanted, right, exact=case.exact)
        assert_parity(name, found, single, right)


@pytest.mark.parametrize("name", CASES)
def test_the_emitted_source_is_the_live_module(name: str) -> None:
    case, x = CASES[name], tokens(2, 5)
    source = case.network.to_source()
    scope: dict[str, Any] = {"__name__": "emitted"}
    exec(compile(source, "emitted.py", "exec"), scope)  # noqa: S102
    module = scope[root_class(source)]().eval()
    module.load_state_dict(case.module.state_dict(), strict=True)
    assert torch.equal(module(x), case.module(x))


def test_a_window_is_a_convolution() -> None:
    """The matrix over `window` words, its columns by place, is the kernel; all else is the same."""
    mlp, convolution = CASES["autoregressive_lm_mlp"], CASES["autoregressive_lm"]
    assert mlp.network.ir.root.symbols == convolution.network.ir.root.symbols
    width, window = WINDOW["width"], WINDOW["window"]
    module = convolution.network.to_torch().eval()
    kernels = {
        path: weight
        if weight.dim() == 1 or path.startswith("embedding")
        else weight.unflatten(1, (-1, width)).transpose(1, 2)
        if weight.shape[1] == width * window
        else weight[..., None]
        for path, weight in mlp.module.state_dict().items()
    }
    module.load_state_dict(kernels, strict=True)
    x = tokens(3, 7)
    right = references.window_mlp(mlp.state(torch.float64), x)
    assert_parity("window", module(x).numpy(), mlp.module(x), right)


# --------------------------------------------------------------------------------------- causality


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("by", ["torch", "onnx"])
def test_what_follows_moves_nothing(name: str, by: str) -> None:
    """A change of one token moves its own place and those that see it, and no bit of another."""
    case, length = CASES[name], 6
    run = case.run_onnx if by == "onnx" else lambda x: case.module(x).numpy()
    x = tokens(2, length)
    before = run(x)
    for place in range(length):
        moved = x.clone()
        moved[:, place] = (moved[:, place] + 1) % VOCAB
        after = run(moved)
        changed = [not np.array_equal(before[:, t], after[:, t]) for t in range(length)]
        end = place + REACH.get(name, length)
        assert changed == [place <= t < end for t in range(length)]


@pytest.mark.parametrize("name", ["latent_rnn_lm", "lstm_lm", "gru_lm"])
def test_every_state_depends_on_the_past_only(name: str) -> None:
    case, length = CASES[name], 6
    x = tokens(2, length)
    before = states_of(case.module, x)
    for place in range(length):
        moved = x.clone()
        moved[:, place] = (moved[:, place] + 1) % VOCAB
        for t, (then, now) in enumerate(zip(before, states_of(case.module, moved), strict=True)):
            same = [torch.equal(a, b) for a, b in zip(then, now, strict=True)]
            assert all(same) if t < place else not any(same)


def states_of(module: nn.Module, x: Tensor) -> list[tuple[Tensor, ...]]:
    """What is carried from each step to the next."""
    found: list[tuple[Tensor, ...]] = []

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        found.append(output if isinstance(output, tuple) else (output,))

    hook = module.get_submodule("step").register_forward_hook(keep)
    module(x)
    hook.remove()
    assert len(found) == x.shape[1]
    return found


# ----------------------------------------------------------------------------------------- figures

SPECS = [
    *("markov_lm", "autoregressive_lm", "autoregressive_lm_mlp", "latent_rnn_lm", "lstm_lm"),
    *("gru_lm", "lstm_lm_builtin", "lstm_lm_builtin_tied", "lstm_lm_builtin_large"),
    "seq2seq_attention",
]


@cache
def shipped(name: str) -> archdsl.Network:
    return archdsl.load(name)


@pytest.mark.parametrize("name", SPECS)
def test_check_is_clean_and_the_figures_are_expected(name: str) -> None:
    compilation = Compilation(shipped_models()[name], model=name)
    assert not list(compilation.check())
    assert len(compilation.expectations(name)) == 2
    assert compilation.model is not None
    assert compilation.model.doc
    found = figures(compilation.model)[compilation.model.entry].parameters
    module = shipped(name).to_torch(device="meta")
    assert found == sum(weight.numel() for weight in module.parameters())


@pytest.mark.parametrize(
    ("name", "hidden", "is_tied"),
    [
        ("lstm_lm_builtin", 650, False),
        ("lstm_lm_builtin_tied", 650, True),
        ("lstm_lm_builtin_large", 1500, False),
    ],
)
def test_parameters_are_those_of_torch_layers(name: str, hidden: int, is_tied: bool) -> None:
    with torch.device("meta"):
        layers = nn.ModuleDict(
            {
                "embedding": nn.Embedding(10_000, hidden),
                "rnn": nn.LSTM(hidden, hidden, 2),
                "head": nn.Linear(hidden, 10_000),
            }
        )
    if is_tied:
        del layers["head"].weight
    count = sum(weight.numel() for weight in layers.parameters())
    assert figures(shipped(name).ir)[shipped(name).ir.entry].parameters == count
    state = shipped(name).to_torch(device="meta").state_dict()
    shapes = {path: tensor.shape for path, tensor in layers.state_dict().items()}
    if is_tied:
        shapes["bias"] = shapes.pop("head.bias")
    assert {path: tensor.shape for path, tensor in state.items()} == shapes


def test_a_gru_has_three_quarters_of_the_recurrent_weights() -> None:
    assert 4 * recurrent_weights("gru_lm") == 3 * recurrent_weights("lstm_lm")
    assert recurrent_weights("lstm_lm") == 4 * recurrent_weights("latent_rnn_lm")
    with torch.device("meta"):
        layer = nn.GRU(64, 256, bias=False)
    assert recurrent_weights("gru_lm") == sum(weight.numel() for weight in layer.parameters())


def recurrent_weights(name: str) -> int:
    """Numbers in the matrices that a step multiplies with."""
    state = shipped(name).to_torch(device="meta").state_dict()
    matrices = (w for path, w in state.items() if path.startswith("step.") and w.dim() == 2)
    return sum(matrix.numel() for matrix in matrices)


@pytest.mark.parametrize("name", SPECS[:-1])
def test_a_recurrence_costs_as_much_for_each_step(name: str) -> None:
    """N for recurrence, where attention has N squared; `summary` says so."""
    model = shipped(name).ir
    macs = figures(model)[model.entry].macs
    one = macs.evaluate({"B": 1, "T": 1})
    for length in (2, 64, 1000):
        assert macs.evaluate({"B": 3, "T": length}) == 3 * length * one
    formula = f"{one}*B*T" if one else "0"
    assert f"multiply-adds  {formula}" in str(shipped(name).summary())


def test_alignment_costs_as_much_for_each_pair_of_words() -> None:
    text = str(shipped("seq2seq_attention").summary())
    assert "multiply-adds  1000000*B + 11720000*B*S + 3000*B*S*T + 30480000*B*T" in text


# ------------------------------------------------------------------------------------- translation

TRANSLATION = Case(
    "seq2seq_attention",
    "RNNSearch",
    {"width": 4, "hidden": 5, "align": 3, "maxout": 6},
    (),
)


def sentences(lengths: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Words filled up with anything, and where there are words."""
    places = torch.arange(max(lengths))
    return tokens(len(lengths), max(lengths)), places < torch.tensor(lengths)[:, None]


@pytest.mark.parametrize("length", [1, 4])
@pytest.mark.parametrize("lengths", [(1,), (6,), (3, 1, 5), (4, 4)])
def test_translation_follows_the_equations(lengths: tuple[int, ...], length: int) -> None:
    """Each sentence alone, without padding, gives what it gives in a batch."""
    (source, is_word), previous = sentences(lengths), tokens(len(lengths), length, seed=5)
    single = TRANSLATION.module(source, is_word, previous)
    found = TRANSLATION.run_onnx(source, is_word, previous)
    assert single.abs().max() >= 1e-3
    wanted, right = (
        torch.stack(
            [
                references.Bahdanau(TRANSLATION.state(dtype)).logits(words[:n], before)
                for words, before, n in zip(source, previous, lengths, strict=True)
            ]
        )
        for dtype in (torch.float32, torch.float64)
    )
    assert_parity("translation", single.numpy(), wanted, right)
    assert_parity("translation in ONNX Runtime", found, single, right)


def test_padding_moves_nothing() -> None:
    """Neither what stands behind a sentence, in bits, nor how much."""
    (source, is_word), previous = sentences((3, 5)), tokens(2, 4)
    before = TRANSLATION.module(source, is_word, previous)
    other = torch.where(is_word, source, (source + 1) % VOCAB)
    assert torch.equal(TRANSLATION.module(other, is_word, previous), before)
    longer = torch.cat([source, source], 1), torch.cat([is_word, torch.zeros_like(is_word)], 1)
    after = TRANSLATION.module(*longer, previous)
    assert torch.allclose(after, before, rtol=0, atol=1e-6 * float(before.abs().max()))


@pytest.mark.parametrize("by", ["torch", "onnx"])
def test_the_decoder_is_causal_and_sees_the_whole_source(by: str) -> None:
    module = TRANSLATION.module
    run = TRANSLATION.run_onnx if by == "onnx" else lambda *given: module(*given).numpy()
    (source, is_word), previous = sentences((5, 5)), tokens(2, 6)
    before = run(source, is_word, previous)
    for place in range(6):
        moved = previous.clone()
        moved[:, place] = (moved[:, place] + 1) % VOCAB
        after = run(source, is_word, moved)
        changed = [not np.array_equal(before[:, t], after[:, t]) for t in range(6)]
        assert changed == [t >= place for t in range(6)]
    for place in range(5):
        moved = source.clone()
        moved[:, place] = (moved[:, place] + 1) % VOCAB
        after = run(moved, is_word, previous)
        assert all(not np.array_equal(before[:, t], after[:, t]) for t in range(6))
