"""Helpers for ONNX's protobuf messages: walking nodes, reading and writing attributes and types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableSequence, Sequence
from typing import Any

from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, TypeProto

from archdsl.ir.types import DType, TensorType

ELEMENT_TYPES: Mapping[DType, int] = {
    dtype: TensorProto.DataType.Value(name)
    for dtype, name in (
        (DType.FLOAT16, "FLOAT16"),
        (DType.BFLOAT16, "BFLOAT16"),
        (DType.FLOAT32, "FLOAT"),
        (DType.FLOAT64, "DOUBLE"),
        (DType.INT8, "INT8"),
        (DType.INT16, "INT16"),
        (DType.INT32, "INT32"),
        (DType.INT64, "INT64"),
        (DType.UINT8, "UINT8"),
        (DType.BOOL, "BOOL"),
    )
}


def rename(names: MutableSequence[str], renamed: Mapping[str, str]) -> None:
    """Put other names in the place of some."""
    if renamed.keys().isdisjoint(names):
        return
    for place, name in enumerate(names):
        names[place] = renamed.get(name, name)


def with_bodies(node: NodeProto) -> Iterator[NodeProto]:
    """A node, and all nodes of the graphs it holds."""
    waiting = [node]
    while waiting:
        current = waiting.pop()
        yield current
        for body in bodies(current):
            waiting.extend(body.node)


def bodies(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs that a node holds."""
    return (a.g for a in node.attribute if a.type == AttributeProto.GRAPH)


def turning_of(node: NodeProto) -> tuple[int, ...]:
    """The order into which a node brings axes, empty if it does something else."""
    return tuple(node.attribute[0].ints) if node.op_type == "Transpose" else ()


def scan_attributes(
    axes: Sequence[int], stacked: Sequence[int], *, reverse: bool
) -> dict[str, Any]:
    """What Scan is told of the axes of its sequences and of what it stacks."""
    direction = int(reverse)
    attributes: dict[str, Any] = {
        "num_scan_inputs": len(axes),
        "scan_input_axes": axes,
        "scan_input_directions": (direction,) * len(axes),
    }
    if stacked:
        attributes["scan_output_axes"] = stacked
        attributes["scan_output_directions"] = (direction,) * len(stacked)
    return attributes


def type_proto(type: TensorType) -> TypeProto:
    """A tensor type with every dim: its value, or its expression in the user's names."""
    proto = TypeProto()
    proto.tensor_type.elem_type = ELEMENT_TYPES[type.dtype]
    shape = proto.tensor_type.shape
    shape.SetInParent()
    for dim in type.dims:
        if dim.value is None:
            shape.dim.add(dim_param=str(dim))
        else:
            shape.dim.add(dim_value=dim.value)
    return proto


def set_attribute(attribute: AttributeProto, value: Any) -> None:
    """Write a number, string, element type, graph or list of these into an attribute."""
    if isinstance(value, GraphProto):
        attribute.type = AttributeProto.GRAPH
        attribute.g.CopyFrom(value)
        return
    if isinstance(value, DType):
        value = ELEMENT_TYPES[value]
    if isinstance(value, int):
        attribute.type, attribute.i = AttributeProto.INT, value
    elif isinstance(value, float):
        attribute.type, attribute.f = AttributeProto.FLOAT, value
    elif isinstance(value, str):
        attribute.type, attribute.s = AttributeProto.STRING, value.encode()
    elif all(isinstance(item, int) for item in value):
        attribute.type = AttributeProto.INTS
        attribute.ints.extend(value)
    elif all(isinstance(item, str) for item in value):
        attribute.type = AttributeProto.STRINGS
        attribute.strings.extend(item.encode() for item in value)
    else:
        attribute.type = AttributeProto.FLOATS
        attribute.floats.extend(value)
