"""Small models built by hand, for tests of what stands between the IR and its targets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from op_harness import operator_families

from archdsl.ir.model import (
    Block,
    Borrowed,
    Member,
    Model,
    Node,
    Port,
    Requirement,
    Value,
)
from archdsl.ir.obligations import SETTLED
from archdsl.ir.op import REGISTRY, Weight
from archdsl.ir.types import DType, TensorType
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Condition
from archdsl.source import Span

operator_families()

SPAN = Span("hand.arch", 0, 1)


def op(name: str, **attributes: Any) -> Any:
    """An operator from the registry."""
    return REGISTRY[name].model_validate(attributes)


@dataclass
class Build:
    """A block that grows node by node; values are numbers."""

    name: str
    symbols: tuple[str, ...] = ("N", "H", "W")
    values: list[Value] = field(default_factory=list)
    inputs: list[Port] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    members: dict[str, Member] = field(default_factory=dict)
    weights: list[Weight] = field(default_factory=list)
    borrowed: list[Borrowed] = field(default_factory=list)
    requirements: list[Requirement] = field(default_factory=list)

    def value(self, type: TensorType, name: str = "") -> int:
        self.values.append(Value(name, type, SPAN))
        return len(self.values) - 1

    def input(self, name: str, *dims: int | str, dtype: DType = DType.FLOAT32) -> int:
        number = self.value(TensorType.of(dtype, *dims), name)
        self.inputs.append(Port(name=name, value=number))
        return number

    def apply(self, operator: Any, *inputs: int, member: str | None = None, scope: str = "") -> int:
        types = [self.values[number].type for number in inputs]
        output = self.value(operator.infer(SETTLED, *types))
        if member is not None and member not in self.members:
            owned = operator.weights(*types)
            self.members[member] = Member(path=member, weights=owned, span=SPAN)
        node = Node(
            op=operator, member=member, scope=scope, inputs=inputs, outputs=(output,), span=SPAN
        )
        self.nodes.append(node)
        return output

    def call(
        self, block: Block, *inputs: int, member: str, **dims: Dim | int | str
    ) -> tuple[int, ...]:
        sizes = {name: Dim.of(dim) for name, dim in dims.items()}
        outputs = []
        for port in block.outputs:
            type = block.type(port.value)
            moved = tuple(dim.substitute(sizes) for dim in type.dims)
            outputs.append(self.value(TensorType(type.dtype, moved, type.axes)))
        self.members.setdefault(member, Member(path=member, block=block.name, span=SPAN))
        node = Node(
            block=block.name,
            member=member,
            inputs=inputs,
            outputs=tuple(outputs),
            dims=tuple(sizes.items()),
            span=SPAN,
        )
        self.nodes.append(node)
        return tuple(outputs)

    def weight(self, weight: Weight) -> int:
        self.weights.append(weight)
        return self.borrow(weight.name, TensorType.of(weight.dtype, *weight.dims))

    def borrow(self, path: str, type: TensorType) -> int:
        number = self.value(type)
        self.borrowed.append(Borrowed(path=path, value=number))
        return number

    def require(self, condition: str) -> None:
        self.requirements.append(
            Requirement(condition=Condition.parse(condition), reason="the window fits", span=SPAN)
        )

    def block(self, *, training: tuple[str, ...] = (), **outputs: int) -> Block:
        return Block(
            name=self.name,
            symbols=self.symbols,
            inputs=tuple(self.inputs),
            outputs=tuple(
                Port(name=name, value=value, training=name in training)
                for name, value in outputs.items()
            ),
            values=tuple(self.values),
            weights=tuple(self.weights),
            borrowed=tuple(self.borrowed),
            members=tuple(self.members.values()),
            nodes=tuple(self.nodes),
            requirements=tuple(self.requirements),
            span=SPAN,
        )


def model(root: Block, *blocks: Block, doc: str = "") -> Model:
    table = {block.name: block for block in (root, *blocks)}
    return Model(edition=2026, name=root.name, doc=doc, entry=root.name, blocks=table)


def conv_norm_block(name: str, channels: int, out_channels: int, **conv: Any) -> Block:
    """A convolution, batch norm and ReLU."""
    build = Build(name)
    x = build.input("x", "N", channels, "H", "W")
    x = build.apply(
        op("Conv", out_channels=out_channels, kernel_size=3, bias=False, **conv), x, member="0"
    )
    x = build.apply(op("BatchNorm"), x, member="1")
    return build.block(out=build.apply(op("relu"), x))


def small_classifier() -> Model:
    """Two blocks with other symbols inside, a shared instance, dropout, and an auxiliary head."""
    first = conv_norm_block("First", 3, 4, padding=1)
    again = conv_norm_block("Again", 4, 4, stride=2, padding=1)
    build = Build("small")
    build.require("H >= 5")
    image = build.input("image", "N", 3, "H", "W")
    (x,) = build.call(first, image, member="stem", N="N", H="H", W="W")
    (x,) = build.call(again, x, member="body", N="N", H="H", W="W")
    half = {"H": (Dim.of("H") + 1) // 2, "W": (Dim.of("W") + 1) // 2}
    (x,) = build.call(again, x, member="body", N="N", **half)
    x = build.apply(op("global_avg_pool"), x)
    aux = build.apply(op("Conv", out_channels=2, kernel_size=1), x, member="aux.fc")
    x = build.apply(op("Dropout", p=0.5), x, member="drop")
    logits = build.apply(op("Conv", out_channels=5, kernel_size=1), x, member="fc")
    root = build.block(training=("aux",), logits=logits, aux=aux)
    return model(root, first, again, doc="A small classifier.")
