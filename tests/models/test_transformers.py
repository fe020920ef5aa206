"""The language models beside transformers': names, figures, beginnings, values, causality."""

from __future__ import annotations

import math
import pickle
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
import torchvision_shim  # noqa: F401  (transformers imports torchvision, and must find it whole)
import transformers as hf
from torch import nn

from archdsl import api
from archdsl.backends.torch.source import root_class
from archdsl.diagnostics import ArchError, Diagnostic
from archdsl.resources import shipped_models
from archdsl.runtime.compare import RELATIVE_BOUND
from archdsl.runtime.run import output_names
from archdsl.weights.fit import TiedWeightsDifferError, WeightsMismatchError

Inputs = tuple[torch.Tensor, ...]

WORDS = 100
"""The vocabulary of the small models."""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# -------------------------------------------------------------------------------------- references


@dataclass(frozen=True)
class Kind:
    """A family of models beside transformers' class for it, both small."""

    spec: str
    family: str
    theirs: Callable[..., Any]
    config: Any
    settings: dict[str, int]
    ordered: bool = True
    """Whether weights are registered there in the order in which they are used."""

    def network(self, **changed: int) -> api.Network:
        return api.load(self.spec, self.family, **{**self.settings, **changed})

    def reference(self) -> nn.Module:
        torch.manual_seed(0)
        self.config._attn_implementation = "sdpa"
        return self.theirs(self.config).eval()


BERT = hf.BertConfig(
    vocab_size=WORDS,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=96,
    max_position_embeddings=40,
)
SMALL = {"layers": 2, "heads": 4, "width": 32, "vocabulary": WORDS}
KINDS = {
    "bert": Kind("bert", "BERT", hf.BertModel, BERT, {**SMALL, "hidden": 96, "positions": 40}),
    "bert_masked": Kind(
        "bert", "MaskedBERT", hf.BertForMaskedLM, BERT, {**SMALL, "hidden": 96, "positions": 40}
    ),
    "gpt2": Kind(
        "gpt2",
        "GPT2",
        hf.GPT2LMHeadModel,
        hf.GPT2Config(
            vocab_size=WORDS,
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_positions=40,
            # The same function as `gelu_new`, which computes its cube by a power.
            activation_function="gelu_pytorch_tanh",
            bos_token_id=1,
            eos_token_id=1,
        ),
        {**SMALL, "positions": 40},
    ),
    "t5": Kind(
        "t5",
        "T5",
        hf.T5ForConditionalGeneration,
        hf.T5Config(vocab_size=WORDS, d_model=32, d_kv=6, d_ff=96, num_layers=2, num_heads=4),
        {**SMALL, "size": 6, "hidden": 96},
        ordered=False,
    ),
    "llama": Kind(
        "llama",
        "LLaMA",
        hf.LlamaForCausalLM,
        hf.LlamaConfig(
            vocab_size=WORDS,
            hidden_size=32,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
        ),
        {**SMALL, "hidden": 96, "groups": 2},
        ordered=False,
    ),
}

PUBLISHED: dict[str, Callable[[], nn.Module]] = {
    "bert_base": lambda: hf.BertModel(hf.BertConfig()),
    "bert_large": lambda: hf.BertModel(BERT_LARGE),
    "bert_base_masked": lambda: hf.BertForMaskedLM(hf.BertConfig()),
    "bert_large_masked": lambda: hf.BertForMaskedLM(BERT_LARGE),
    "gpt2": lambda: hf.GPT2LMHeadModel(hf.GPT2Config()),
    "gpt2_medium": lambda: hf.GPT2LMHeadModel(hf.GPT2Config(n_embd=1024, n_layer=24, n_head=16)),
    "gpt2_large": lambda: hf.GPT2LMHeadModel(hf.GPT2Config(n_embd=1280, n_layer=36, n_head=20)),
    "gpt2_xl": lambda: hf.GPT2LMHeadModel(hf.GPT2Config(n_embd=1600, n_layer=48, n_head=25)),
    "t5_small": lambda: hf.T5ForConditionalGeneration(hf.T5Config()),
    "t5_base": lambda: hf.T5ForConditionalGeneration(
        hf.T5Config(d_model=768, d_ff=3072, num_layers=12, num_heads=12)
    ),
    "llama_7b": lambda: hf.LlamaForCausalLM(hf.LlamaConfig()),
    "llama_small": lambda: hf.LlamaForCausalLM(
        hf.LlamaConfig(
            vocab_size=256,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
    ),
}
BERT_LARGE = hf.BertConfig(
    hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
)


def lively(module: nn.Module) -> nn.Module:
    """The module with weights of which none is as a fresh one has it."""
    for path, weight in module.named_parameters():
        draw = torch.Generator().manual_seed(zlib.crc32(path.encode()))
        if weight.dim() == 1:
            middle = 1.0 if path.endswith("weight") else 0.0
            weight.data = torch.rand(weight.shape, generator=draw) * 0.5 + middle - 0.25
        else:
            spread = math.sqrt(1.5 / weight.shape[-1])
            weight.data = torch.randn(weight.shape, generator=draw) * spread
    return module


@cache
def pair(name: str) -> tuple[nn.Module, Any]:
    """Our small module and theirs, with the same lively weights."""
    theirs = lively(KINDS[name].reference())
    ours = KINDS[name].network().to_torch()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours.eval(), theirs


@cache
def emitted(name: str) -> nn.Module:
    """The module that a person gets who saves the source and imports it."""
    scope: dict[str, Any] = {"__name__": "emitted"}
    source = KINDS[name].network().to_source()
    exec(compile(source, "emitted.py", "exec"), scope)  # noqa: S102
    module = scope[root_class(source)]()
    module.load_state_dict(pair(name)[0].state_dict(), strict=True)
    return module.eval()


def tuples(outputs: Any) -> tuple[torch.Tensor, ...]:
    return tuple(outputs) if isinstance(outputs, tuple) else (outputs,)


def theirs_of(name: str, theirs: Any, inputs: Inputs) -> tuple[torch.Tensor, ...]:
    """What transformers gives for our inputs: it takes masks of integers."""
    given = [x.long() if x.dtype is torch.bool else x for x in inputs]
    match name:
        case "bert":
            found = theirs(given[0], attention_mask=given[1], token_type_ids=given[2])
            return found.last_hidden_state, found.pooler_output
        case "bert_masked":
            return (theirs(given[0], attention_mask=given[1], token_type_ids=given[2]).logits,)
        case "t5":
            return (theirs(*given).logits,)
        case _:
            return (theirs(given[0]).logits,)


PADDING = ("none", "left", "right")
SIZES = [(1, 1), (2, 2), (3, 7), (1, 40), (2, 33)]


def words(batch: int, length: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(100 * batch + length)
    return torch.randint(0, WORDS, (batch, length), generator=draw)


def kept(batch: int, length: int, padding: str) -> torch.Tensor:
    """Which tokens are no padding; every sample but the last is shorter than the longest."""
    missing = [min(length - 1, 2 * (batch - row) - 2 + length // 8) for row in range(batch)]
    lengths = torch.tensor(missing if padding != "none" else [0] * batch)[:, None]
    places = torch.arange(length)[None]
    return places >= lengths if padding == "left" else places < length - lengths


def inputs_of(name: str, batch: int, length: int, padding: str = "right") -> Inputs:
    tokens = words(batch, length)
    keep = kept(batch, length, padding)
    match name:
        case "bert" | "bert_masked":
            return tokens, keep, (tokens > WORDS // 2).long()
        case "t5":
            target = length // 2 + 1
            return tokens, keep, words(batch, target), kept(batch, target, padding)
        case _:
            return (tokens,)


# -------------------------------------------------------------------------------- names and figures


def described(state: dict[str, torch.Tensor]) -> list[tuple[str, tuple[int, ...], torch.dtype]]:
    return [(path, tuple(tensor.shape), tensor.dtype) for path, tensor in state.items()]


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_shapes_and_figures_are_those_of_transformers(name: str) -> None:
    with torch.device("meta"):
        theirs = PUBLISHED[name]()
    network = api.load(name)
    ours = network.to_torch(device="meta")
    mine, other = described(ours.state_dict()), described(theirs.state_dict())
    assert sorted(mine) == sorted(other)
    if KINDS[name.partition("_")[0]].ordered:
        assert mine == other
    count = sum(weight.numel() for weight in theirs.parameters())
    assert sum(weight.numel() for weight in ours.parameters()) == count
    assert not api.check(name).diagnostics
    assert f"expect params == {count:_}" in shipped_models()[name].read_text("utf-8")


@pytest.mark.parametrize("name", KINDS)
def test_weights_begin_as_in_transformers(name: str) -> None:
    """Means and deviations of fresh weights, within six deviations of what chance makes of them."""
    torch.manual_seed(1)
    ours = KINDS[name].network().to_torch().state_dict()
    for path, other in KINDS[name].reference().state_dict().items():
        mine = ours[path]
        if "padding" not in path:
            chance = 6 * math.sqrt(2 / mine.numel())
            assert abs(mine.mean() - other.mean()) <= chance * other.std(correction=0), path
            spread = abs(mine.std(correction=0) - other.std(correction=0))
            assert spread <= chance * other.std(correction=0), path


@pytest.mark.parametrize("name", KINDS)
def test_saved_weights_load_as_they_are(name: str, tmp_path: Path) -> None:
    """From a file of transformers, from its module, and from its state dict with all names."""
    ours, theirs = pair(name)
    theirs.save_pretrained(tmp_path)
    network = KINDS[name].network()
    for weights in (tmp_path / "model.safetensors", theirs, theirs.state_dict()):
        loaded = network.to_torch(weights).state_dict()
        assert all(torch.equal(loaded[path], w) for path, w in ours.state_dict().items())
        exported = network.to_onnx(weights)
        assert len(exported.graph.initializer) >= len(loaded)


@pytest.mark.parametrize("name", KINDS)
def test_weights_of_another_name_are_refused_unless_they_are_tied(name: str) -> None:
    state = pair(name)[1].state_dict()
    path, weight = untied(state)[0]
    network = KINDS[name].network()
    network.to_torch({**state, "another.name": weight})
    with pytest.raises(WeightsMismatchError, match=r"1 unknown \(another\.name\)"):
        network.to_torch({**state, "another.name": weight.clone()})
    with pytest.raises(WeightsMismatchError, match=r"1 unknown \(another\.name\)"):
        network.to_onnx({**state, "another.name": weight.clone()})
    with pytest.raises(WeightsMismatchError, match=f"1 missing .{path}"):
        network.to_torch({"another.name": weight, **without(state, path)})


@pytest.mark.parametrize("name", KINDS)
def test_state_dicts_go_both_ways_strictly(name: str) -> None:
    """With all names that transformers has, and as one weight afterwards."""
    theirs = pair(name)[1]
    state = theirs.state_dict()
    fresh = KINDS[name].network().to_torch()
    for module in (emitted(name), fresh, deepcopy(fresh), pickle.loads(pickle.dumps(fresh))):
        module.load_state_dict(state, strict=True)
        back = type(theirs)(deepcopy(theirs.config))
        back.load_state_dict(module.state_dict(), strict=True)
        assert all(torch.equal(back.state_dict()[path], w) for path, w in state.items())
        count = sum(weight.numel() for weight in theirs.parameters())
        assert sum(weight.numel() for weight in module.parameters()) == count


TIED = {
    "bert_masked": {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    "gpt2": {"lm_head.weight": "transformer.wte.weight"},
    "t5": {
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
        "lm_head.weight": "shared.weight",
    },
}


@pytest.mark.parametrize(
    ("name", "second", "first"),
    [(name, *pair) for name, pairs in TIED.items() for pair in pairs.items()],
)
def test_any_name_of_a_tied_weight_will_do(name: str, second: str, first: str) -> None:
    """Files of weights hold it once; other values for its other names are refused."""
    ours, theirs = pair(name)
    state, network = theirs.state_dict(), KINDS[name].network()
    assert len(untied(state)) == len(state) - len(TIED[name]) - len({*TIED[name].values()})
    assert ours.get_parameter(second) is ours.get_parameter(first)
    exact = network.to_onnx(theirs).SerializeToString()
    changed = {**state, second: state[second] + 1}
    clones = {**state, second: state[second].clone()}
    alone = without(state, first, *others_of(name, first, second))
    for given in (without(state, second), alone, clones):
        loaded = network.to_torch(given)
        assert loaded.get_parameter(second) is loaded.get_parameter(first)
        assert torch.equal(loaded.get_parameter(first), state[first])
        assert network.to_onnx(given).SerializeToString() == exact
    for build in (network.to_torch, network.to_onnx):
        with pytest.raises(TiedWeightsDifferError, match=f"{second} is another name of {first}"):
            build(changed)


def others_of(name: str, first: str, second: str) -> list[str]:
    """The further names of a weight apart from one."""
    return [path for path, owner in TIED[name].items() if owner == first and path != second]


def untied(state: dict[str, torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
    """The weights that have one name only."""
    places = Counter(weight.data_ptr() for weight in state.values())
    return [item for item in state.items() if places[item[1].data_ptr()] == 1]


def without(state: dict[str, torch.Tensor], *paths: str) -> dict[str, torch.Tensor]:
    return {path: weight for path, weight in state.items() if path not in paths}


# ------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("padding", PADDING)
@pytest.mark.parametrize(("batch", "length"), SIZES)
@pytest.mark.parametrize("name", KINDS)
def test_values_have_the_bits_of_transformers(
    name: str, batch: int, length: int, padding: str
) -> None:
    ours, theirs = pair(name)
    inputs = inputs_of(name, batch, length, padding)
    with torch.inference_mode():
        found, wanted = tuples(ours(*inputs)), theirs_of(name, theirs, inputs)
        again = tuples(emitted(name)(*inputs))
    for mine, other, written in zip(found, wanted, again, strict=True):
        assert torch.isfinite(mine).all()
        assert mine.abs().max() >= 1e-2
        assert torch.equal(mine, other)
        assert torch.equal(mine, written)


def test_the_activation_of_gpt2_is_that_of_its_weights() -> None:
    """`gelu_new` is the same function; only its rounding differs."""
    ours, theirs = pair("gpt2")
    config = deepcopy(KINDS["gpt2"].config)
    config.activation_function = "gelu_new"
    other = hf.GPT2LMHeadModel(config).eval()
    other.load_state_dict(theirs.state_dict())
    tokens = words(2, 9)
    with torch.inference_mode():
        wanted = other.double()(tokens).logits
        assert error(ours(tokens), wanted) <= 1e-6
        assert error(deepcopy(ours).double()(tokens), wanted) <= 1e-14


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_padding_on_the_right_is_seen_by_no_token(name: str) -> None:
    """A causal model needs no mask for it."""
    ours, theirs = pair(name)
    tokens, keep = words(3, 9), kept(3, 9, "right")
    with torch.inference_mode():
        wanted = theirs(tokens, attention_mask=keep.long()).logits
        found = ours(tokens)
    assert error(found[keep], wanted[keep]) <= 1e-6


@pytest.mark.parametrize("name", ["bert", "bert_masked", "t5"])
@pytest.mark.parametrize("padding", ["left", "right"])
def test_padding_changes_nothing(name: str, padding: str) -> None:
    """What the padding is does not matter, and matters where it is not masked."""
    ours, _ = pair(name)
    tokens, keep, *others = inputs_of(name, 3, 9, padding)
    changed = torch.where(keep, tokens, (tokens + 1) % WORDS)
    whole = torch.ones_like(keep)
    places = keep if name != "t5" else torch.ones(3, 5, dtype=torch.bool)
    with torch.inference_mode():
        before, after = (tuples(ours(t, keep, *others))[0] for t in (tokens, changed))
        assert torch.equal(before[places], after[places])
        before, after = (tuples(ours(t, whole, *others))[0] for t in (tokens, changed))
        assert not torch.equal(before[places], after[places])


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5"])
def test_no_output_moves_when_a_later_token_does(name: str) -> None:
    ours, _ = pair(name)
    *others, tokens, keep = inputs_of("t5", 2, 15, "none")
    with torch.inference_mode():

        def run(given: torch.Tensor) -> torch.Tensor:
            return ours(*others, given, keep) if name == "t5" else ours(given)

        before = run(tokens)
        for place in range(1, tokens.shape[1]):
            moved = tokens.clone()
            moved[:, place:] = (moved[:, place:] + 1) % WORDS
            after = run(moved)
            assert torch.equal(after[:, :place], before[:, :place])
            assert not torch.equal(after[:, place], before[:, place])


def error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """The largest difference as a part of the largest value."""
    assert found.shape == exact.shape
    assert torch.isfinite(found).all()
    return float((found.double() - exact.double()).abs().max() / exact.abs().max())


@pytest.mark.parametrize("opset", [17, 23])
@pytest.mark.parametrize("name", KINDS)
def test_onnx_runtime_agrees(name: str, opset: int) -> None:
    ours, _ = pair(name)
    network = KINDS[name].network()
    exact = deepcopy(ours).double()
    graph = network.to_onnx(ours, opset=opset)
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [port.name for port in network.ir.root.inputs]
    for place, (batch, length) in enumerate(SIZES):
        inputs = inputs_of(name, batch, length, PADDING[place % 3])
        feed = {port: x.numpy() for port, x in zip(names, inputs, strict=True)}
        found = session.run(output_names(network.ir), feed)
        with torch.inference_mode():
            singles, doubles = tuples(ours(*inputs)), tuples(exact(*inputs))
        for mine, single, double in zip(found, singles, doubles, strict=True):
            allowed = min(RELATIVE_BOUND, 4 * error(single, double) + 1e-6)
            assert error(torch.from_numpy(mine), double) <= allowed


# ----------------------------------------------------------------------------------------- refusals


def refusal(
    spec: str, model: str, change: tuple[str, str] | None = None, **given: Any
) -> Diagnostic:
    """The one thing that is wrong with a spec after a change, or with other settings."""
    text = spec_named(spec).read_text("utf-8")
    if change is not None:
        assert change[0] in text
        text = text.replace(*change)
    with pytest.raises(ArchError) as caught:
        api.load(text, model, **given)
    (found,) = caught.value.diagnostics
    return found


def spec_named(stem: str) -> Path:
    (path,) = {path for path in shipped_models().values() if path.stem == stem}
    return path


@pytest.mark.parametrize(
    ("spec", "model", "settings"),
    [
        ("gpt2", "GPT2", {"layers": 1, "heads": 5, "width": 64}),
        ("bert", "BERT", {"layers": 1, "heads": 5, "width": 64}),
        ("llama", "LLaMA", {"layers": 1, "heads": 5, "width": 64, "hidden": 8}),
    ],
)
def test_heads_must_divide_the_width(spec: str, model: str, settings: dict[str, int]) -> None:
    found = refusal(spec, model, **settings)
    assert found.code == "requirement-failed"
    assert found.message == "a width of 64 does not split into 5 heads"


def test_heads_must_share_evenly_and_turn_in_pairs() -> None:
    small = {"layers": 1, "heads": 4, "width": 64, "hidden": 8}
    found = refusal("llama", "LLaMA", groups=3, **small)
    assert found.message == "4 heads do not share 3 heads of keys evenly"
    text = spec_named("llama").read_text("utf-8")
    with pytest.raises(ArchError, match=r"turned in pairs, but 15 of float32\[B, 4, T, 15\]"):
        api.load(text, "LLaMA", **{**small, "width": 60})


@pytest.mark.parametrize(("spec", "model"), [("gpt2", "gpt2"), ("bert", "bert_base")])
def test_a_sequence_must_not_be_longer_than_the_table(spec: str, model: str) -> None:
    found = refusal(spec, model, dims={"T": 2000})
    assert found.code == "requirement-failed"
    assert re.match(r"a sequence of 2000 is longer than the table of (1024|512)", found.message)


def test_a_model_must_say_how_long_a_sequence_may_be() -> None:
    bound = "require T <= positions,"
    found = refusal("gpt2", "gpt2", (f"  {bound}", "  require T >= 1,"))
    assert found.code == "requirement-not-met"
    assert "requires `T <= 1024`" in found.message
    assert ("T", 1025) in found.counterexample
    assert any("write `require T <= 1024`" in text for text in found.help)


@pytest.mark.parametrize("length", [41, 80])
def test_no_target_computes_anything_for_a_longer_sequence(length: int) -> None:
    network = KINDS["gpt2"].network()
    with pytest.raises(RuntimeError, match=f"size of tensor a .{length}"):
        network.to_torch()(words(1, length))
    session = onnxruntime.InferenceSession(
        network.to_onnx().SerializeToString(), providers=["CPUExecutionProvider"]
    )
    with pytest.raises(Exception, match=r"[Bb]roadcast"):
        session.run(None, {"input_ids": words(1, length).numpy()})


def test_tokens_are_integers_and_masks_are_truths_of_the_same_places() -> None:
    found = refusal("gpt2", "gpt2", ("(input_ids: int64[B, T])", "(input_ids: [B, T])"))
    assert (found.code, found.help) == ("dtype-mismatch", ("convert it with `cast(int64)`",))
    wrong = ("attention_mask: bool[B, T]", "attention_mask: int64[B, T]")
    found = refusal("bert", "bert_base", wrong)
    assert (found.code, found.help) == ("dtype-mismatch", ("convert it with `cast(bool)`",))
    wrong = ("attention_mask: bool[B, T]", "attention_mask: bool[B, S]")
    found = refusal("bert", "bert_base", wrong)
    assert found.code == "input-size-mismatch"
    assert "must be `T`, but is S" in found.message
