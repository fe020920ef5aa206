"""The shipped language models as PyTorch has them, or as their papers' equations read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

State = Mapping[str, Tensor]
Reference = Callable[[State, Tensor], Tensor]


def markov(state: State, tokens: Tensor) -> Tensor:
    return F.embedding(tokens, state["table.weight"])


def window_mlp(state: State, tokens: Tensor) -> Tensor:
    """Bengio 2003, equation 1, one place after the other."""
    features = state["embedding.weight"]
    window = state["hidden.weight"].shape[1] // features.shape[1]
    nothing = torch.zeros_like(features[tokens[:, 0]])
    words = [nothing] * (window - 1) + [features[column] for column in tokens.unbind(1)]
    logits: list[Tensor] = []
    for place in range(tokens.shape[1]):
        x = torch.cat(words[place : place + window], 1)
        y = torch.tanh(x @ state["hidden.weight"].T + state["hidden.bias"])
        y = y @ state["output.weight"].T + state["output.bias"]
        logits.append(y + x @ state["direct.weight"].T)
    return torch.stack(logits, 1)


def causal_convolution(state: State, tokens: Tensor) -> Tensor:
    """The same with kernels: each is the matrix with its columns taken apart by place."""
    flat = {
        path: weight.transpose(1, 2).flatten(1) if weight.dim() == 3 else weight
        for path, weight in state.items()
    }
    return window_mlp(flat, tokens)


def embedded(state: State, tokens: Tensor) -> Tensor:
    return F.embedding(tokens, state["embedding.weight"])


def head(state: State, states: Tensor) -> Tensor:
    return F.linear(states, state["head.weight"], state["head.bias"])


def with_weights(layer: nn.Module, weights: State) -> nn.Module:
    """A recurrent layer of one direction, or one cell, with these weights."""
    suffix = "" if isinstance(layer, nn.RNNCellBase) else "_l0"
    layer.load_state_dict({f"{name}{suffix}": weight for name, weight in weights.items()})
    return layer.to(weights["weight_hh"].dtype).eval()


def rnn_weights(state: State, path: str) -> State:
    weight, bias = state[f"{path}.state.weight"], state[f"{path}.state.bias"]
    width = weight.shape[1] - weight.shape[0]
    return {
        "weight_ih": weight[:, :width],
        "weight_hh": weight[:, width:],
        "bias_ih": bias,
        "bias_hh": torch.zeros_like(bias),
    }


def lstm_weights(state: State, path: str) -> State:
    gates = [f"{path}.{name}_gate" for name in ("input", "forget", "cell", "output")]
    weight = torch.cat([state[f"{gate}.weight"] for gate in gates])
    bias = torch.cat([state[f"{gate}.bias"] for gate in gates])
    width = weight.shape[1] - weight.shape[0] // 4
    return {
        "weight_ih": weight[:, :width],
        "weight_hh": weight[:, width:],
        "bias_ih": bias,
        "bias_hh": torch.zeros_like(bias),
    }


def gru_weights(state: State, path: str) -> State:
    gates = [state[f"{path}.{name}_gate.weight"] for name in ("reset", "update")]
    biases = [state[f"{path}.{name}_gate.bias"] for name in ("reset", "update")]
    width = state[f"{path}.new_input.weight"].shape[1]
    nothing = [torch.zeros_like(bias) for bias in biases]
    return {
        "weight_ih": torch.cat(
            [*(gate[:, :width] for gate in gates), state[f"{path}.new_input.weight"]]
        ),
        "weight_hh": torch.cat(
            [*(gate[:, width:] for gate in gates), state[f"{path}.new_state.weight"]]
        ),
        "bias_ih": torch.cat([*biases, state[f"{path}.new_input.bias"]]),
        "bias_hh": torch.cat([*nothing, state[f"{path}.new_state.bias"]]),
    }


def by_layer(kind: Callable[..., nn.Module], weights: Callable[[State, str], State]) -> Reference:
    """A language model around PyTorch's layer."""

    def run(state: State, tokens: Tensor) -> Tensor:
        found, words = weights(state, "step"), embedded(state, tokens)
        size = found["weight_hh"].shape[1]
        layer = with_weights(kind(words.shape[2], size, batch_first=True), found)
        return head(state, layer(words)[0])

    return run


def by_cell(kind: Callable[..., nn.Module], weights: Callable[[State, str], State]) -> Reference:
    """A language model around PyTorch's cell, step by step."""

    def run(state: State, tokens: Tensor) -> Tensor:
        found, words = weights(state, "step"), embedded(state, tokens)
        size = found["weight_hh"].shape[1]
        cell = with_weights(kind(words.shape[2], size), found)
        zeros = words.new_zeros(len(tokens), size)
        carried = (zeros, zeros) if kind is nn.LSTMCell else zeros
        states: list[Tensor] = []
        for word in words.unbind(1):
            carried = cell(word, carried)
            states.append(carried[0] if isinstance(carried, tuple) else carried)
        return head(state, torch.stack(states, 1))

    return run


def stacked_lstm(state: State, tokens: Tensor) -> Tensor:
    """`nn.LSTM` itself; the head is the embedding where it has no matrix of its own."""
    weights = {path[4:]: weight for path, weight in state.items() if path.startswith("rnn.")}
    size = weights["weight_hh_l0"].shape[1]
    layer = nn.LSTM(size, size, len(weights) // 4, batch_first=True).to(weights["weight_hh_l0"])
    layer.load_state_dict(weights)
    states, _ = layer.eval()(embedded(state, tokens))
    if "head.weight" in state:
        return head(state, states)
    return F.linear(states, state["embedding.weight"], state["bias"])


class Bahdanau:
    """Appendix A of the paper, for one sentence without padding; the encoder is `nn.GRU`."""

    def __init__(self, state: State) -> None:
        self.state = state
        there = gru_weights(state, "encoder.there")
        back = gru_weights(state, "encoder.back")
        self.size = there["weight_hh"].shape[1]
        width = there["weight_ih"].shape[1]
        self.encoder = nn.GRU(width, self.size, batch_first=True, bidirectional=True)
        both = {f"{name}_l0": weight for name, weight in there.items()}
        both |= {f"{name}_l0_reverse": weight for name, weight in back.items()}
        self.encoder.to(there["weight_hh"]).load_state_dict(both)

    def parts(self, path: str, *sizes: int) -> tuple[Tensor, ...]:
        """A matrix taken apart into those that the equations name."""
        return self.state[f"{path}.weight"].split(sizes, 1)

    def logits(self, source: Tensor, previous: Tensor) -> Tensor:
        """`source` has the words of a sentence, `previous` those before each place."""
        n, weights = self.size, self.state
        m = weights["target_embedding.weight"].shape[1]
        h = self.encoder(weights["source_embedding.weight"][source][None])[0][0]
        s = torch.tanh(weights["initial.weight"] @ h[0, n:] + weights["initial.bias"])
        w_r, c_r, u_r = self.parts("step.reset_gate", m, 2 * n, n)
        w_z, c_z, u_z = self.parts("step.update_gate", m, 2 * n, n)
        w_s, c_s, u_s = self.parts("step.new_state", m, 2 * n, n)
        u_o, v_o, c_o = self.parts("deep", n, m, 2 * n)
        found: list[Tensor] = []
        for y in weights["target_embedding.weight"][previous]:
            e = torch.tanh(weights["attend.query.weight"] @ s + h @ weights["answer.weight"].T)
            alpha = torch.softmax(e @ weights["attend.score.weight"][0], 0)
            c = alpha @ h
            t = u_o @ s + v_o @ y + c_o @ c + weights["deep.bias"]
            t = torch.maximum(t[0::2], t[1::2])
            found.append(weights["head.weight"] @ t + weights["head.bias"])
            r = torch.sigmoid(w_r @ y + u_r @ s + c_r @ c + weights["step.reset_gate.bias"])
            z = torch.sigmoid(w_z @ y + u_z @ s + c_z @ c + weights["step.update_gate.bias"])
            new = torch.tanh(w_s @ y + u_s @ (r * s) + c_s @ c + weights["step.new_state.bias"])
            s = (1 - z) * s + z * new
        return torch.stack(found)
