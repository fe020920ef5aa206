"""Flattening: inlined calls, substituted sizes, shared instances, what only training needs."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hand_models import Build, conv_norm_block, model, op, small_classifier

import archdsl
from archdsl import Network
from archdsl.ir.op import Init, Weight
from archdsl.passes.flatten import flatten
from archdsl.sizes.dims import Dim
from archdsl.weights.state_dict import state


def _operators(block) -> list[str]:
    return [node.op.layer or node.op.function for node in block.nodes]


def test_calls_are_inlined_in_order() -> None:
    flat = flatten(small_classifier())
    once = ["Conv", "BatchNorm", "ReLU"]
    assert _operators(flat) == [*once * 3, "global_avg_pool", "Dropout", "Conv"]
    assert all(node.block is None for node in flat.nodes)


def test_member_paths_are_state_dict_prefixes_and_shared_instances_keep_one() -> None:
    flat = flatten(small_classifier())
    assert [member.path for member in flat.members] == [
        "stem.0", "stem.1", "body.0", "body.1", "drop", "fc",
    ]  # fmt: skip
    assert [node.member for node in flat.nodes[3:9]] == ["body.0", "body.1", None] * 2
    assert [node.scope for node in flat.nodes][5] == "body"


def test_sizes_are_in_the_symbols_of_the_model() -> None:
    flat = flatten(small_classifier())
    sizes = [str(flat.type(node.outputs[0])) for node in flat.nodes]
    assert sizes[3] == "float32[N, 4, (H + 1)//2, (W + 1)//2]"
    assert sizes[6] == "float32[N, 4, (H + 3)//4, (W + 3)//4]"


def test_symbols_are_substituted_all_at_once() -> None:
    inner = Build("Inner", ("N", "H", "W"))
    x = inner.input("x", "N", 2, "H", "W")
    block = inner.block(out=inner.apply(op("relu"), x))
    outer = Build("outer", ("N", "H", "W"))
    x = outer.input("x", "N", 2, "H", "W")
    (x,) = outer.call(block, x, member="a", N="N", H="W", W="H")
    flat = flatten(model(outer.block(out=x), block))
    assert str(flat.type(flat.outputs[0].value)) == "float32[N, 2, W, H]"


def test_sizes_in_attributes_are_substituted() -> None:
    inner = Build("Inner", ("A",))
    x = inner.input("x", "A", 2)
    block = inner.block(out=inner.apply(op("zeros", shape=(Dim.of("A"), 3)), scope="s"))
    outer = Build("outer", ("N",))
    x = outer.input("x", "N", 2)
    (y,) = outer.call(block, x, member="a", A=Dim.of("N"))
    flat = flatten(model(outer.block(out=y), block))
    assert flat.nodes[0].op.shape == (Dim.of("N"), Dim.of(3))
    assert flat.nodes[0].scope == "a.s"


def test_axes_keep_the_names_of_their_block() -> None:
    inner = Build("Inner", ("N", "H", "W"))
    x = inner.input("x", "N", "H", "W")
    block = inner.block(out=inner.apply(op("concat", axis="H"), x, x))
    outer = Build("outer", ("A", "B", "C"))
    x = outer.input("x", "A", "B", "C")
    (y,) = outer.call(block, x, member="a", N="A", H="B", W="C")
    (y,) = outer.call(block, y, member="b", N="A", H=2 * Dim.of("B"), W="C")
    flat = flatten(model(outer.block(out=y), block))
    assert [node.op.axis for node in flat.nodes] == [1, 1]
    assert str(flat.type(flat.outputs[0].value)) == "float32[A, 4*B, C]"


def test_training_outputs_and_what_only_they_need_are_dropped_unless_kept() -> None:
    classifier = small_classifier()
    assert [port.name for port in flatten(classifier).outputs] == ["logits"]
    kept = flatten(classifier, keep_training=True)
    assert [port.name for port in kept.outputs] == ["logits", "aux"]
    assert "aux.fc" in kept.member


def test_dead_nodes_and_their_members_are_removed() -> None:
    build = Build("dead")
    x = build.input("x", "N", 3, "H", "W")
    build.apply(op("Conv", out_channels=2, kernel_size=1), x, member="unused")
    flat = flatten(model(build.block(out=build.apply(op("relu"), x))))
    assert _operators(flat) == ["ReLU"]
    assert flat.members == ()


def test_borrowed_weights_have_full_paths_and_stand_once() -> None:
    inner = Build("Inner", ("N",))
    x = inner.input("x", "N", 4)
    scale = inner.weight(Weight("scale", (Dim.of(4),), Init("ones")))
    block = inner.block(out=inner.apply(op("mul"), x, scale))
    outer = Build("outer", ("N",))
    x = outer.input("x", "N", 4)
    (x,) = outer.call(block, x, member="a", N="N")
    (x,) = outer.call(block, x, member="a", N="N")
    whole = model(outer.block(out=x), block)
    flat = flatten(whole)
    assert [borrowed.path for borrowed in flat.borrowed] == ["a.scale"]
    assert [weight.name for weight in flat.weights] == ["a.scale"]
    assert flat.nodes[0].inputs[1] == flat.nodes[1].inputs[1]
    assert list(state(whole)) == ["a.scale"]


def test_state_has_everything_in_torch_order() -> None:
    paths = list(state(small_classifier()))
    assert paths[:3] == ["stem.0.weight", "stem.1.weight", "stem.1.bias"]
    assert "aux.fc.weight" in paths
    assert len(paths) == len(set(paths)) == 16


def test_a_deep_nest_of_blocks_needs_no_stack() -> None:
    block = conv_norm_block("level0", 4, 4, padding=1)
    blocks = [block]
    for level in range(1, 2000):
        build = Build(f"level{level}")
        x = build.input("x", "N", 4, "H", "W")
        (x,) = build.call(block, x, member="m", N="N", H="H", W="W")
        block = build.block(out=x)
        blocks.append(block)
    started = time.perf_counter()
    flat = flatten(model(block, *blocks))
    assert flat.nodes[0].member == ".".join(["m"] * 1999 + ["0"])
    assert time.perf_counter() - started < 10


INTRICATE = """edition 2026
block Widened()(x: [N, C, H, W]) -> [N, C, (H * W + 3 * H) // 3, (W * H * H + W) // 5 + 1] {
  x -> interpolate([(H * W + 3 * H) // 3, (W * H * H + W) // 5 + 1])
}
block Averaged()(x: [N, C, H, W]) -> [N, C] {
  x -> Widened -> pad([1, 1, 1, 1]) -> Widened -> Widened -> global_avg_pool -> flatten
}
block Within()(x: [N, C, H, W]) -> [N, C] { x -> Widened -> Averaged }
model intricate(x: [N, 4, H, W]) -> [N, 4] { x -> Widened -> Within }
"""


@pytest.mark.parametrize(
    "use",
    [
        lambda network: network.to_onnx(),
        lambda network: network.expanded(),
        lambda network: network.transformed("fuse_batch_norm"),
        lambda network: network.stepping(),
    ],
    ids=["to_onnx", "expanded", "transformed", "stepping"],
)
def test_what_no_flat_block_can_say_is_refused(use: Callable[[Network], object]) -> None:
    network = archdsl.load(INTRICATE)
    with pytest.raises(archdsl.ArchError, match=r"cannot be written out: a size of [0-9,]+ char"):
        use(network)
