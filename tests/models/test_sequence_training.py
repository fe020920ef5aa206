"""Every shipped language model learns from text, and translation from a toy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import archdsl

SMALL = {"width": 16, "hidden": 48}
WINDOW = {"window": 4, **SMALL}

LANGUAGE = {
    "markov_lm": ("MarkovChain", {}, 0.3),
    "autoregressive_lm": ("CausalConvolution", WINDOW, 0.02),
    "autoregressive_lm_mlp": ("WindowMLP", WINDOW, 0.02),
    "latent_rnn_lm": ("RecurrentLanguageModel", SMALL, 0.02),
    "lstm_lm": ("LSTMLanguageModel", SMALL, 0.03),
    "gru_lm": ("GRULanguageModel", SMALL, 0.02),
    "lstm_lm_builtin": ("StackedLSTM", {"hidden": 48, "p": 0.1}, 0.02),
    "lstm_lm_builtin_tied": ("StackedLSTM", {"hidden": 48, "p": 0.1, "tied": True}, 0.02),
}

TEXT = " ".join((str.__doc__, dict.__doc__, int.__doc__, bytes.__doc__, type.__doc__))


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def trained(
    module: nn.Module, loss: Callable[[], Tensor], rate: float, steps: int
) -> tuple[float, float]:
    """The mean loss of the first and of the last five steps."""
    optimiser = torch.optim.Adam(module.train().parameters(), rate)
    losses: list[float] = []
    for _ in range(steps):
        found = loss()
        optimiser.zero_grad()
        found.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        losses.append(found.item())
    assert all(map(math.isfinite, losses))
    return sum(losses[:5]) / 5, sum(losses[-5:]) / 5


@pytest.mark.parametrize("name", LANGUAGE)
def test_a_language_model_learns_text(name: str) -> None:
    """From about the logarithm of the alphabet to less than how common letters are would tell."""
    family, settings, rate = LANGUAGE[name]
    spec = name.removesuffix("_mlp").removesuffix("_tied")
    module = archdsl.load(spec, family, vocab=128, **settings).to_torch()
    codes = torch.tensor(list(TEXT.encode("ascii")))

    def loss() -> Tensor:
        pieces = codes[torch.randint(len(codes) - 24, (16, 1)) + torch.arange(25)]
        return F.cross_entropy(module(pieces[:, :-1]).flatten(0, 1), pieces[:, 1:].flatten())

    before, after = trained(module, loss, rate, 50)
    share = codes.bincount() / len(codes)
    letters = -(share * share.clamp(min=1e-9).log()).sum().item()
    assert before > 1.2 * letters
    assert after < 0.95 * letters


def test_translation_learns_to_reverse() -> None:
    """A sequence turned round, which only attention to the right places can give."""
    sizes = {"vocab": 8, "width": 16, "hidden": 24, "align": 24, "maxout": 16}
    module = archdsl.load("seq2seq_attention", "RNNSearch", **sizes).to_torch()
    is_word = torch.ones(32, 4, dtype=torch.bool)

    def loss() -> Tensor:
        source = torch.randint(1, 8, (32, 4))
        target = source.flip(1)
        previous = F.pad(target[:, :-1], (1, 0))  # 0 is the start symbol.
        return F.cross_entropy(module(source, is_word, previous).flatten(0, 1), target.flatten())

    before, after = trained(module, loss, 0.02, 120)
    assert before > 0.8 * math.log(7)
    assert after < 0.5 * math.log(7)
