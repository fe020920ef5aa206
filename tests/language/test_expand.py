"""`expand`: the flat text compiles to the same network, and expands to itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import op_harness as harness
import pytest

from archdsl import api
from archdsl.backends.arch.source import emit
from archdsl.backends.onnx.export import Request, prepare
from archdsl.backends.onnx.file import Initializer
from archdsl.compiler import Compilation
from archdsl.diagnostics import ArchError
from archdsl.ir.model import Block, Member, Model, Node, Port, Requirement, Value
from archdsl.ir.obligations import Obligations
from archdsl.ir.types import DType, TensorType
from archdsl.passes.costs import figures
from archdsl.passes.flatten import flatten, inline
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Condition, Facts
from archdsl.source import Span
from archdsl.weights.state_dict import state

SPECS = sorted((Path(__file__).parents[2] / "specs").glob("*.arch"))
SPAN = Span("case.arch", 0, 0)


MODELS = [(path, name) for path in SPECS for name in Compilation(path).model_names]


def skeleton(block: Block) -> dict[str, Any]:
    """What a flat block is, without the names and places of its values."""
    numbers: dict[int, object] = {port.value: port.name for port in block.inputs}
    numbers |= {borrowed.value: borrowed.path for borrowed in block.borrowed}
    nodes = [applied(block, node, numbers) for node in block.nodes]
    return {
        "inputs": [(port.name, typed(block, port.value)) for port in block.inputs],
        "outputs": [(p.name, p.training, numbers[p.value]) for p in block.outputs],
        "nodes": nodes,
        "symbols": block.symbols,
        "requirements": [(r.condition, r.reason) for r in block.requirements],
        "weights": sorted(block.weights, key=lambda weight: weight.name),
        "members": {member.path: member.weights for member in block.members},
        "borrowed": {borrowed.path for borrowed in block.borrowed},
    }


def applied(block: Block, node: Node, numbers: dict[int, object]) -> object:
    inputs, step, scan = [numbers[value] for value in node.inputs], None, node.scan
    if scan is not None:
        # What a step uses of the values around it follows from its nodes.
        inputs = inputs[: len(scan.axes) + len(scan.states)]
        for value in (*scan.elements, *scan.states):
            numbers[value] = len(numbers)
        nodes = [applied(block, inner, numbers) for inner in scan.nodes]
        results = [numbers[value] for value in scan.results]
        step = (scan.length, scan.reverse, scan.axes, nodes, results, scan.stacked)
    for value in node.outputs:
        numbers[value] = len(numbers)
    types = [typed(block, value) for value in node.outputs]
    attributes = {name: canonical(value) for name, value in dict(node.op or {}).items()}
    return type(node.op), attributes, step, node.member, inputs, types


def canonical(value: object) -> object:
    """The language has no `not` before a comparison: it turns the comparison round."""
    return value.negated().negated() if isinstance(value, Condition) else value


def typed(block: Block, value: int) -> tuple[object, tuple[Dim, ...]]:
    """A type with its sizes from data called in the order in which they come to be."""
    born = [name for node in block.nodes for name in node.fresh]
    called = {name: Dim.symbol(f"fresh_{number}") for number, name in enumerate(born)}
    type = block.type(value).substitute(called)
    return type.dtype, type.dims


def check_round_trip(model: Model) -> Model:
    """The network that the expanded text describes, if it is the same and expands to itself."""
    text = emit(model)
    again = api.load(text).ir
    assert skeleton(inline(again)) == skeleton(inline(model))
    assert emit(again) == text
    assert again.doc == model.doc
    return again


def test_the_numbers_of_a_weight_come_back_from_json() -> None:
    written = api.load(
        "edition 2026\n"
        "model m(x: [N, 2, 2]) -> [N, 2, 2] {\n"
        "  buffer table: [2, 2] = [[0.5, 2], [1e999, -3.0]]\n"
        "  x * table\n"
        "}\n"
    ).ir
    assert Model.model_validate_json(written.model_dump_json()) == written


@pytest.mark.parametrize(("path", "name"), MODELS, ids=[name for _, name in MODELS])
def test_a_spec_expands_to_the_same_network(path: Path, name: str) -> None:
    model = api.load(path, name).ir
    again = check_round_trip(model)
    assert state(again) == state(model)
    before, after = figures(model)[model.entry], figures(again)[again.entry]
    assert after.parameters == before.parameters
    # What a size from data is called inside is not said by the flat text.
    sizes = {size.name: 7 for size in (*model.root.fresh, *again.root.fresh)}
    assert after.macs.substitute(sizes) == before.macs.substitute(sizes)


@pytest.mark.parametrize("path", SPECS, ids=[path.stem for path in SPECS])
def test_the_expanded_text_exports_to_the_same_graph(path: Path) -> None:
    network = api.load(path, Compilation(path).model_names[0])
    again = api.load(network.expanded())
    graphs = [
        prepare(Request(each.ir, None, 17, 0, fold=True, fuse=True, training_outputs=False))
        for each in (network, again)
    ]
    (graph, weights), (other, others) = graphs
    assert operators(other.graph) == operators(graph.graph)
    assert Counter(map(shaped, others)) == Counter(map(shaped, weights))


def shaped(weight: Initializer) -> tuple[DType, tuple[int, ...]]:
    return weight.dtype, weight.shape


SMALL = ["lenet5", "squeezenet1_0", "mobilenet_v2", "gru_lm", "llama_small", "dalle_small"]


@pytest.mark.parametrize("name", SMALL)
def test_the_expanded_text_begins_with_the_same_weights(name: str) -> None:
    network = api.load(name)
    graph, again = network.to_onnx().graph, api.load(network.expanded()).to_onnx().graph
    weights = {weight.raw_data for weight in graph.initializer}
    assert {weight.raw_data for weight in again.initializer} == weights


def operators(graph: onnx.GraphProto) -> list[Any]:
    """The operators with their attributes, those of graphs inside them too, without any name."""
    return [
        (
            node.op_type,
            [operators(each.g) if each.HasField("g") else each for each in node.attribute],
        )
        for node in graph.node
    ]


TEXTS = {
    "a layer that is applied twice": """
        model m(x: [N, 8]) -> [N, 8] {
          head = Linear(8)
          return x -> head -> relu -> head
        }""",
    "a block that is applied twice, to two sizes": """
        block Encoder(width: int)(x: [N, T, D]) -> [N, T, width] {
          param scale: [width] = ones
          return scale * (x -> proj: Linear(width) -> LayerNorm)
        }
        model m(a: [N, T, 8], b: [N, S, 8]) -> [N, T + S, 4] {
          encoder = Encoder(4)
          return concat(a -> encoder, b -> encoder, axis=1)
        }""",
    "repetition that shares": """
        model m(x: [N, 8]) -> [N, 8] { return x -> core: repeat 3 share { Linear(8) } }""",
    "a tied weight": """
        model m(tokens: int64[B, T]) -> logits: [B, T, 10] {
          h = tokens -> embedding: Embedding(10, 4)
          return h -> linear(embedding.weight)
        }""",
    "tied weights of numbered layers": """
        model m(x: [N, 8]) -> [N, 8] {
          h = x -> body: { Linear(8, bias=false) -> ReLU -> Linear(8, bias=false) } -> Linear(8)
          return linear(linear(h, body.2.weight), 0.weight)
        }""",
    "weights in the open": """
        block Scaled()(x: [N, D]) {
          param scale: [D] = normal(std=0.5)
          buffer shift: [D] = [1.0, -2.5, 1e-7]
          return x * scale + shift
        }
        model m(x: [N, 3]) -> [N, 3] {
          param gain: [] = 0.5
          return gain * (x -> first: Scaled -> second: Scaled)
        }""",
    "initialisers": """
        model m(x: [N, 3, H, W]) -> [N, 8, H, W] {
          return x -> Conv(8, 1, weight_init=kaiming_normal(mode="fan_out", nonlinearity="relu"))
                   -> Conv(8, 1, bias_init=0.5) -> BatchNorm(weight_init=zeros)
        }""",
    "outputs that only training has": """
        model m(x: [N, 8]) -> logits: [N, 2], training helper: [N, 3] {
          return logits = x -> fc: Linear(2), training helper = x -> aux: Linear(3)
        }""",
    "what no output needs": """
        model m(x: [N, 8]) -> [N, 8] {
          param spare: [2] = ones
          unused = x -> extra: Linear(3)
          return x -> Linear(8)
        }""",
    "axes by name in a block that names them otherwise": """
        block Mix()(x: [N, C, T]) -> [N, C, T] {
          return x -> softmax(axis=C) -> Softmax(axis=T) -> rearrange("N C T -> N C T")
        }
        model m(x: [B, K, S]) -> [B, K, S] { return x -> Mix }""",
    "patterns": """
        model m(x: [B, T, 12]) -> [B, 3, T, 4] {
          a, b, c = x -> split("B T (3 h e) -> 3 B h T e", h=1)
          s = einsum("B h i e, B h j e -> B h i j", a, b) -> softmax(axis=j)
          y = einsum("B h i j, B h j e -> B i (h e)", s, c)
          return rearrange("B T (h e) -> B h T e", concat(y, y, y, axis=-1), h=3)
        }""",
    "several results of one operator": """
        model m(x: [N, 6]) -> [N, 3] {
          a, b = x -> split(2, axis=1)
          c, d = x -> chunk(2, axis=1)
          return a * b + c / d
        }""",
    "sizes as numbers": """
        model m(x: [N, T]) -> [N, T] {
          return x * T + (-1) * zeros(N, T) + arange(T) - full([N, 1], -1e-8) + where(x > 0, 0, x)
        }""",
    "numbers that are not finite": """
        model m(x: [N, T]) -> [N, T] { return where(x > 0, x, -1e999) }""",
    "what is required": """
        block Heads(heads: int)(x: [B, T, D]) -> [B, T, D] {
          require D % heads == 0, "{D} into \\"{heads}\\" \\{heads\\}"
          y = x -> rearrange("B T (h e) -> B h T e", h=heads)
          return y -> rearrange("B h T e -> B T (h e)")
        }
        model m(x: [B, T, D]) -> [B, T, D] {
          require D % 4 == 0 and (T > 2 or not T != 1), "a\\tb"
          return x -> Heads(4)
        }""",
    "names that mean something already": """
        model m(relu: [N, 4], v_0: [N, 4]) -> softmax: [N, 4] {
          exp_1 = relu -> Linear(4)
          x = exp(exp_1) + exp(v_0)
          return softmax = x -> Linear(4) -> in: Linear(4) -> concat: Linear(4)
        }""",
    "recurrence": """
        cell Step(hidden: int)(x: [B, I], h: [B, hidden], c: [B, hidden])
            -> [B, hidden], [B, hidden] {
          param bias: [hidden] = zeros
          z = concat(x, h, axis=1)
          c = sigmoid(z -> forget: Linear(hidden)) * c + tanh(z -> update: Linear(hidden)) + bias
          return sigmoid(z -> output: Linear(hidden)) * tanh(c), c
        }
        model m(tokens: int64[B, T]) -> logits: [B, T, 9], last: [B, 4] {
          words = tokens -> embedding: Embedding(9, 8)
          step = Step(4)
          ys, h, c = scan word over words(axis=T) carry h = zeros(B, 4), c = zeros(B, 4) {
            h, c = step(word, h, c)
            yield h
          }
          return logits = ys -> head: Linear(9), last = h
        }""",
    "states that change places": """
        model m(x: [T, N], y: [T, N]) -> [T, N], [N], [N] {
          ys, a, b = scan reverse p, q over x(axis=0), y(axis=T) carry a = zeros(N), b = ones(N) {
            before = a
            a = b
            b = before
            zs = scan r over y(axis=0) carry s = p { s = s + r * q; yield s }
            yield a + b + sum(zs, axis=0)
          }
          return ys, a, b
        }""",
    "documentation": """
        ## Two lines,
        ##
        ## with an empty one: "quoted" {braces}.
        model m(x: [N]) -> [N] { return x }""",
}


@pytest.mark.parametrize("text", list(TEXTS.values()), ids=list(TEXTS))
def test_a_text_expands_to_the_same_network(text: str) -> None:
    model = api.load("edition 2026\n" + text).ir
    again = check_round_trip(model)
    # Weights of a block stand before its layers, and all weights are the model's in flat text.
    assert dict(sorted(state(again).items())) == dict(sorted(state(model).items()))


def test_training_outputs_are_dropped_from_the_expanded_text_as_from_the_model() -> None:
    model = api.load("edition 2026\n" + TEXTS["outputs that only training has"]).ir
    again = api.load(emit(model)).ir
    assert skeleton(flatten(again)) == skeleton(flatten(model))


def test_the_expanded_text_loads_the_same_weights_in_torch() -> None:
    import torch

    for name in ("weights in the open", "a block that is applied twice, to two sizes"):
        network = api.load("edition 2026\n" + TEXTS[name])
        module, again = network.to_torch(), api.load(network.expanded()).to_torch()
        again.load_state_dict(module.state_dict(), strict=True)
        inputs = [torch.randn(2, 5, 8)] * 2 if "twice" in name else [torch.randn(2, 3)]
        assert torch.equal(module(*inputs), again(*inputs))


def test_what_hides_an_operator_is_refused() -> None:
    network = api.load(
        "edition 2026\nblock B()(x: [N]) { return relu(x) }\n"
        "model m(relu: [N]) -> [N] { return relu -> B }"
    )
    with pytest.raises(ArchError, match="hides the operator"):
        network.expanded()


# --------------------------------------------------------------------------- every operator


def case_model(case: harness.Case) -> Model:
    """The model of one application, as a layer if the operator has that form."""
    op = harness.build_op(case)
    types = [harness.tensor_type(given) for given in case.inputs]
    context = [harness.tensor_type(given) for given in case.context]
    # A size that no axis has alone must be told by a further input.
    context += [TensorType.of(DType.FLOAT32, *sorted(symbols(types) - plain_symbols(types)))]
    inputs = range(len(context), len(context) + len(types))
    types = [*context, *types]
    values = [Value(f"x{place}", type, SPAN) for place, type in enumerate(types)]
    check = Obligations(Facts(assumptions=[Condition.parse(text) for text in case.facts]))
    results = op.infer(check, *(types[place] for place in inputs))
    results = results if isinstance(results, tuple) else (results,)
    outputs = range(len(values), len(values) + len(results))
    values += [Value("", result, SPAN) for result in results]
    member = "0" if op.layer else None
    weights = op.weights(*(types[place] for place in inputs))
    conditions = list(map(Condition.parse, case.facts))
    for condition, _ in check.deferred:
        if not Facts(assumptions=conditions).prove(condition).proved:
            conditions.append(condition)
    block = Block(
        name="m",
        symbols=tuple(dict.fromkeys(d.symbol_name for t in types for d in t.dims if d.symbol_name)),
        fresh=tuple(check.born),
        inputs=tuple(Port(name=f"x{place}", value=place) for place in range(len(types))),
        outputs=tuple(Port(name=f"y{number}", value=value) for number, value in enumerate(outputs)),
        values=tuple(values),
        members=(Member(path=member, weights=weights, span=SPAN),) if member else (),
        nodes=(
            Node(
                op=op,
                member=member,
                inputs=tuple(inputs),
                outputs=tuple(outputs),
                fresh=tuple(size.name for size in check.born),
                span=SPAN,
            ),
        ),
        requirements=tuple(Requirement(condition=c, reason="known", span=SPAN) for c in conditions),
        span=SPAN,
    )
    return Model(edition=2026, name="m", entry="m", blocks={"m": block})


def symbols(types: Sequence[TensorType]) -> set[str]:
    return {name for type in types for dim in type.dims for name in dim.symbols}


def plain_symbols(types: Sequence[TensorType]) -> set[str]:
    return {dim.symbol_name for type in types for dim in type.dims if dim.symbol_name}


def telling_cases() -> list[harness.Case]:
    """Of every operator the cases that set something that none before has set in that way."""
    seen: set[object] = set()
    chosen: list[harness.Case] = []
    for case in harness.entries():
        if isinstance(case, harness.Case):
            ways = {
                (case.op, name, type(value), value if isinstance(value, str) else None)
                for name, value in case.attributes.items()
            }
            ways |= {(case.op, len(case.inputs), len(case.facts))}
            if not ways <= seen:
                chosen.append(case)
            seen |= ways
    return chosen


CASES = telling_cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_every_operator_expands_to_itself(case: harness.Case) -> None:
    check_round_trip(case_model(case))
