"""A block under construction: values, members, nodes, facts and obligations."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from archdsl import problems
from archdsl.diagnostics import Diagnostics, Label
from archdsl.ir import receptive_field as tracing
from archdsl.ir.model import (
    Argument,
    Borrowed,
    Frame,
    Member,
    Node,
    Origin,
    Requirement,
    Scan,
    SecondName,
    Value,
)
from archdsl.ir.obligations import FreshSize
from archdsl.ir.op import Op, Weight
from archdsl.ir.types import TensorType
from archdsl.semantics.problem import Problem
from archdsl.semantics.scope import Labels, NameScope
from archdsl.semantics.values import Tensor, Truth
from archdsl.sizes.conditions import Compare, Condition
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Facts
from archdsl.source import Span

CHAIN_LENGTH = 6


@dataclass(slots=True, eq=False)
class BlockBuilder:
    """Collects what a `Block` is made of, in order."""

    diagnostics: Diagnostics
    facts: Facts = field(default_factory=Facts)
    values: list[Value] = field(default_factory=list[Value])
    members: dict[str, Member] = field(default_factory=dict[str, Member])
    inputs: int = 0
    """How many of the values, the first ones, are inputs."""
    originals: dict[int, Tensor] = field(default_factory=dict[int, Tensor])
    """What the prepared inputs were prepared from, by the number of what the body sees."""
    nodes: list[Node] = field(default_factory=list[Node])
    weights: list[Weight] = field(default_factory=list[Weight])
    borrowed: list[Borrowed] = field(default_factory=list[Borrowed])
    second_names: list[SecondName] = field(default_factory=list[SecondName])
    requirements: list[Requirement] = field(default_factory=list[Requirement])
    decisions: dict[str, None] = field(default_factory=dict[str, None])
    """The texts of the conditions that were decided, in order."""
    frames: tuple[Frame, ...] = ()
    names: NameScope = field(default_factory=NameScope)
    labels: Labels = field(default_factory=Labels)
    made: dict[str, object] = field(default_factory=dict[str, object])
    """What each member was made of, to tell whether it is applied as the same again."""
    producer: dict[int, Node] = field(default_factory=dict[int, Node])
    block_names: dict[str, str] = field(default_factory=dict[str, str])
    """Block key to block name, for messages."""
    fresh: list[FreshSize] = field(default_factory=list[FreshSize])
    sizes: set[str] = field(default_factory=set[str])
    """Names that no further size can have."""
    scanning: int = 0
    """How many scans are open, whose steps all have the same sizes."""
    flat_nodes: int = 0
    _traced: tracing.Values | None = None

    # ------------------------------------------------------------------------------ values

    def add_value(self, type: TensorType, span: Span, name: str = "") -> Tensor:
        self.values.append(Value(name, type, span))
        return Tensor(len(self.values) - 1)

    def type(self, tensor: Tensor) -> TensorType:
        return self.values[tensor.index].type

    def call_value(self, tensor: Tensor, name: str) -> None:
        """Remember the first variable a value is bound to."""
        value = self.values[tensor.index]
        if not value.name:
            self.values[tensor.index] = replace(value, name=name)

    def traced(self, blocks: tracing.Blocks) -> tracing.Values:
        """Where the values so far lie on the inputs, as the body sees those."""
        if self._traced is None:
            self._traced = tracing.Values(blocks, self.values, self.producer, self.inputs)
            self._traced.begin_at(self.originals)
        return self._traced

    # ------------------------------------------------------------------------------- names

    @contextmanager
    def frame(self, frame: Frame) -> Generator[None]:
        """Everything added inside belongs to this loop pass or branch."""
        before = self.frames
        self.frames = (*before, frame)
        try:
            yield
        finally:
            self.frames = before

    def decided(self, condition: Truth) -> None:
        """Remember a condition that decides what the block consists of."""
        if condition.text is not None:
            self.decisions[condition.text] = None

    @contextmanager
    def labelled(self, label: str, span: Span) -> Generator[None]:
        """Layers added inside are numbered afresh under the label."""
        before = self.names
        self.names = NameScope(f"{self.claim(label, span, scope=True)}.")
        try:
            yield
        finally:
            self.names = before

    def claim(
        self, label: str | None, span: Span, *, scope: bool = False, under: str | None = None
    ) -> str:
        """The full path for a label, or for the next number; a repeated label is reported.

        `under` is a path that may be taken and have this under it all the same.
        """
        prefix = self.names.prefix
        if label is None:
            label = self.labels.number(self.names)
        earlier = self.labels.earlier(prefix + label)
        above = self.labels.owner_above(prefix, label)
        if earlier is not None:
            self.diagnostics.add(problems.duplicate_label(span, label, earlier))
            return f"{prefix}{label} (again {len(self.members)})"
        if above not in (None, under):
            reason = f"`{above}` is a layer or a weight, so that nothing can stand under it"
            self.diagnostics.add(problems.bad_label(span, reason))
        self.labels.take(prefix, label, span, scope=scope)
        return prefix + label

    def check_same(self, path: str, made: object, span: Span) -> None:
        """Report it when what is applied again under a path is not what it was."""
        if self.made.setdefault(path, made) != made:
            reason = f"`{path}` stands for another layer, or for one with other arguments"
            raise Problem(problems.bad_label(span, reason))

    # -------------------------------------------------------------------------- application

    def add_op(
        self,
        op: Op,
        inputs: Sequence[Tensor],
        types: Sequence[TensorType],
        span: Span,
        *,
        member: str | None = None,
        origins: tuple[Origin, ...] = (),
        fresh: tuple[str, ...] = (),
    ) -> tuple[Tensor, ...]:
        """Append the application of an operator."""
        outputs = tuple(self.add_value(type, span) for type in types)
        self._add_node(
            Node(
                op=op,
                member=member,
                inputs=tuple(tensor.index for tensor in inputs),
                outputs=tuple(tensor.index for tensor in outputs),
                fresh=fresh,
                scope=self.names.prefix.rstrip("."),
                origins=origins,
                frames=self.frames,
                span=span,
            )
        )
        self.flat_nodes += 1
        return outputs

    def add_call(
        self,
        block: str,
        member: str,
        inputs: Sequence[Tensor],
        types: Sequence[TensorType],
        dims: tuple[tuple[str, Dim], ...],
        span: Span,
    ) -> tuple[Tensor, ...]:
        """Append the application of a block's instance."""
        outputs = tuple(self.add_value(type, span) for type in types)
        self._add_node(
            Node(
                block=block,
                member=member,
                inputs=tuple(tensor.index for tensor in inputs),
                outputs=tuple(tensor.index for tensor in outputs),
                dims=dims,
                frames=self.frames,
                span=span,
            )
        )
        return outputs

    def add_scan(
        self, scan: Scan, inputs: Sequence[int], types: Sequence[TensorType], span: Span
    ) -> tuple[Tensor, ...]:
        """Append a scan."""
        outputs = tuple(self.add_value(type, span) for type in types)
        self._add_node(
            Node(
                scan=scan,
                inputs=tuple(inputs),
                outputs=tuple(tensor.index for tensor in outputs),
                scope=self.names.prefix.rstrip("."),
                frames=self.frames,
                span=span,
            )
        )
        return outputs

    @contextmanager
    def region(self) -> Generator[list[Node]]:
        """Nodes added inside are collected apart."""
        before, self.nodes = self.nodes, []
        self.scanning += 1
        try:
            yield self.nodes
        finally:
            self.nodes = before
            self.scanning -= 1

    def _add_node(self, node: Node) -> None:
        for output in node.outputs:
            self.producer[output] = node
        self.nodes.append(node)

    def add_member(
        self,
        path: str,
        span: Span,
        *,
        weights: tuple[Weight, ...] = (),
        block: str | None = None,
        arguments: tuple[Argument, ...] = (),
    ) -> Member:
        member = Member(
            path=path,
            weights=weights,
            block=block,
            arguments=arguments,
            frames=self.frames,
            span=span,
        )
        self.members[path] = member
        return member

    # ----------------------------------------------------------------------------- demands

    def require(self, condition: Condition, reason: str, span: Span) -> None:
        """Make a condition a precondition of the block, and a fact from here on."""
        if self.facts.prove(condition).proved:
            return
        dependent = sorted(condition.symbols.intersection(size.name for size in self.fresh))
        if dependent:
            raise Problem(problems.unmet_by_data(span, dependent[0], str(condition), reason))
        self.requirements.append(Requirement(condition=condition, reason=reason, span=span))
        self.facts = self.facts.assume(condition)

    def divide(self, divisor: Dim, span: Span) -> None:
        """Demand that a size that something is divided by is not 0."""
        if divisor.value is not None:
            return
        places = sorted(divisor.symbols - self.facts.minimums.keys())
        if places:
            raise Problem(problems.static_error(span, problems.divides_by_place(places[0])))
        self.require(Compare.at_least(divisor, 1), problems.divides(divisor), span)

    # ------------------------------------------------------------------------- sizes from data

    def size_name(self, counted: str) -> str:
        """A name that no size has, from what the size counts."""
        name, number = counted, 1
        while name in self.sizes:
            number += 1
            name = f"{counted}_{number}"
        self.sizes.add(name)
        return name

    def admit(self, born: Iterable[FreshSize], span: Span) -> None:
        """Take in sizes that depend on data, and what is known of them."""
        for size in born:
            if self.scanning:
                raise Problem(problems.fresh_size_in_scan(span))
            self.fresh.append(size)
            self.facts = self.facts.with_symbol(size.name, 0)
            self.facts = self.facts.assume(Compare(Dim.symbol(size.name), "<=", size.most))

    def rename_sizes(self, wanted: Mapping[str, str]) -> None:
        """Call sizes from data as the signature does."""
        if not wanted:
            return
        self.sizes.update(wanted.values())
        names = dict(wanted)
        for size in self.fresh:
            if size.name not in wanted and size.name in wanted.values():
                names[size.name] = self.size_name(size.name)
        sizes = {name: Dim.symbol(new) for name, new in names.items()}
        self.fresh = [
            FreshSize(names.get(size.name, size.name), size.most.substitute(sizes))
            for size in self.fresh
        ]
        self.values = [replace(value, type=value.type.substitute(sizes)) for value in self.values]
        self.nodes = [_renamed(node, sizes) for node in self.nodes]

    # ------------------------------------------------------------------------------ reasons

    def chain(self, tensor: Tensor) -> tuple[Label, ...]:
        """The last operators that made a tensor's type another, in the order they ran."""
        labels: list[Label] = []
        index = tensor.index
        while len(labels) < CHAIN_LENGTH:
            value = self.values[index]
            node = self.producer.get(index)
            if node is None:
                labels.append(Label(value.span, f"`{self._called(index)}` is {value.type}"))
                break
            before = node.inputs[0] if node.inputs else None
            if before is None or not _is_same(self.values[before].type, value.type):
                labels.append(Label(node.span, f"{self.node_name(node)} gives {value.type}"))
            if before is None:
                break
            index = before
        return tuple(reversed(labels))

    def _called(self, index: int) -> str:
        """The name of a value that no operator made: an input, or a weight."""
        paths = (each.path for each in self.borrowed if each.value == index)
        return self.values[index].name or next(paths, "")

    def node_name(self, node: Node) -> str:
        """What a node applies, as the spec names it."""
        name = node.called if node.block is None else self.block_names.get(node.block, "")
        return f"`{name}`"


def _is_same(one: TensorType, other: TensorType) -> bool:
    """Whether two types differ in the names of axes at most."""
    return one.dtype == other.dtype and one.dims == other.dims


def _renamed(node: Node, sizes: Mapping[str, Dim]) -> Node:
    """A node with its sizes called otherwise; scans nest no deeper than brackets."""
    scan = node.scan
    if scan is not None:
        inner = tuple(_renamed(step, sizes) for step in scan.nodes)
        scan = scan.model_copy(update={"length": _called(scan.length, sizes), "nodes": inner})
    changes = {
        "scan": scan,
        "dims": tuple((name, _called(dim, sizes)) for name, dim in node.dims),
        "fresh": tuple(str(_called(Dim.symbol(name), sizes)) for name in node.fresh),
    }
    return node.model_copy(update=changes)


def _called(dim: Dim, sizes: Mapping[str, Dim]) -> Dim:
    return dim if dim.symbols.isdisjoint(sizes) else dim.substitute(sizes)
