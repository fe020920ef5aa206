"""Sizes inside ONNX graphs: computed exactly, at most once, and only where they must be."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import GraphProto
from op_harness import session

from archdsl.backends.onnx.graph import GraphBuilder
from archdsl.backends.onnx.shapes import reshape_target
from archdsl.ir.lowering import Operand
from archdsl.ir.types import DType, TensorType
from archdsl.sizes.dims import Dim, maximum, minimum

N, H, W = (Dim.symbol(name) for name in "NHW")
TRIED = [{"N": n, "H": h, "W": w} for n, h, w in [(1, 1, 1), (2, 7, 5), (3, 2, 9), (5, 30, 31)]]


def graph() -> tuple[GraphBuilder, Operand]:
    builder = GraphBuilder(17, GraphProto(name="sizes"))
    return builder, builder.input("x", TensorType.of(DType.FLOAT32, "N", 12, "H", "W"))


def finished(builder: GraphBuilder, **outputs: Operand) -> onnx.ModelProto:
    model = onnx.ModelProto(ir_version=8, graph=builder.finish(list(outputs.items())))
    model.opset_import.add(domain="", version=17)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    return model


def zeros(sizes: dict[str, int]) -> dict[str, np.ndarray]:
    return {"x": np.zeros((sizes["N"], 12, sizes["H"], sizes["W"]), np.float32)}


@pytest.mark.parametrize(
    "dim",
    [
        H + 1,
        3 * H * W - 2,
        (H - 3) // 2 + 1,
        (2 - H) // 3 + W * W,
        (H + 6) // W - 7,
        (5 - H) // W,
        H % 3,
        2 * (H % W) + 5,
        N * ((H + 1) // 2) * ((W + 1) // 2),
        maximum(H, W - 2) - minimum(N, H // 2),
        ((H + 1) // 2 - 4) // 3 + 10,
        N**3 - W,
    ],
    ids=str,
)
def test_a_computed_size_is_exact(dim: Dim) -> None:
    builder, _ = graph()
    outputs = {
        "vector": builder.shape([dim, Dim.of(4), H]),
        "scalar": builder.size(dim, DType.INT64),
        "real": builder.size(dim, DType.FLOAT32),
    }
    runner = session(finished(builder, **outputs))
    for sizes in TRIED:
        vector, scalar, real = runner.run(None, zeros(sizes))
        right = dim.evaluate(sizes)
        assert vector.tolist() == [right, 4, sizes["H"]]
        assert scalar == right and scalar.shape == ()
        assert real == right and real.dtype == np.float32


def test_a_size_is_computed_once() -> None:
    builder, _ = graph()
    first = builder.shape([H * W, N])
    assert builder.shape([H * W, N]) == first
    assert builder.size(H * W, DType.INT64) == builder.size(H * W, DType.INT64)
    types = [node.op_type for node in finished(builder, a=first).graph.node]
    assert types.count("Mul") == 1
    assert types.count("Shape") == 3


def test_known_sizes_and_whole_stretches_of_axes_need_no_arithmetic() -> None:
    builder, _ = graph()
    builder.shape([Dim.of(2), Dim.of(3)])
    stretch = builder.shape([H, W])
    (node,) = finished(builder, a=stretch).graph.node
    assert node.op_type == "Shape"


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ((N, 12 * H * W), (0, -1)),
        ((N, 12, H * W), (0, 12, -1)),
        ((N, 3, 4, H * W), (0, 3, 4, -1)),
        ((N * 12, H, W), (-1, H, W)),
        ((N, 12, 1, W * H), (0, 12, 1, -1)),
        ((N, 12, H, 1, W), (0, 12, 0, 1, -1)),
        ((N, 3, 4 * H, W), (0, 3, -1, 0)),
    ],
    ids=str,
)
def test_reshape_copies_and_infers_before_it_computes(target: tuple, told: tuple) -> None:
    dims = [Dim.of(size) for size in target]
    assert reshape_target((N, Dim.of(12), H, W), dims) == (told, False)
    builder, x = graph()
    y = builder.reshape(x, TensorType.of(DType.FLOAT32, *dims))
    runner = session(finished(builder, y=y))
    for sizes in TRIED:
        (got,) = runner.run(None, zeros(sizes))
        assert got.shape == tuple(dim.evaluate(sizes) for dim in dims)


def test_reshape_to_an_empty_tensor_means_zero() -> None:
    builder = GraphBuilder(17, GraphProto(name="empty"))
    x = builder.input("x", TensorType.of(DType.FLOAT32, "N", 0))
    y = builder.reshape(x, TensorType.of(DType.FLOAT32, 0, "N"))
    (got,) = session(finished(builder, y=y)).run(None, {"x": np.zeros((3, 0), np.float32)})
    assert got.shape == (0, 3)


def test_reshape_to_the_same_dims_is_nothing() -> None:
    builder, x = graph()
    assert builder.reshape(x, TensorType.of(DType.FLOAT32, N, 12, H, W)) is x


def test_equal_constants_are_one() -> None:
    builder, _ = graph()
    first = builder.constant([1, 2], DType.INT64)
    assert builder.constant((1, 2), DType.INT64) == first
    assert builder.constant([1, 2], DType.INT32) != first
    assert builder.constant(-0.0, DType.FLOAT32) != builder.constant(0.0, DType.FLOAT32)
