"""One specialised block as a template of its own: everything expanded, nothing merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archdsl.backends.naming import MODULE_NAMES
from archdsl.backends.torch_lowering import Instance, Layer, Made
from archdsl.backends.torch_template import (
    Apply,
    Construction,
    Container,
    ContainerKind,
    Make,
    MemberCall,
    NewInstance,
    Output,
    Template,
    Variable,
)
from archdsl.backends.torch_trace import Step, Trace, chains, collapse, containers


def flat_template(traced: Trace, name: str, classes: Mapping[str, Template]) -> Template:
    """The template of a class without parameters that is this block."""
    return _Flat(traced, name, classes).template()


def container_kind(scope: str, paths: Sequence[str], chained: Mapping[str, Any]) -> ContainerKind:
    """The container of a labelled scope, by how it is used and what its members are called."""
    names = [path.rpartition(".")[2] for path in paths]
    if any(name in MODULE_NAMES or name.startswith("_") for name in names):
        return "Module"
    if scope in chained:
        return "Sequential"
    return "ModuleList" if is_indexed(paths) else "ModuleDict"


def is_indexed(paths: Sequence[str]) -> bool:
    """Whether members are called 0, 1, 2 … in order."""
    return all(path.rpartition(".")[2] == str(place) for place, path in enumerate(paths))


class _Flat:
    def __init__(self, traced: Trace, name: str, classes: Mapping[str, Template]) -> None:
        self.traced = traced
        self.name = name
        self.classes = classes
        self.children = containers(traced.made)
        self.chained = chains(traced)
        self.variables: dict[int, Variable] = {}

    def template(self) -> Template:
        block = self.traced.block
        inputs = [(port.name, self._variable(port.value)) for port in block.inputs]
        for borrowed in block.borrowed:
            self._variable(borrowed.value).path = borrowed.path
        steps = collapse(self.traced, self.chained)
        return Template(
            name=self.name,
            doc=block.doc,
            parameters=(),
            defaults={},
            sizes=self.traced.sizes,
            constructions=[self._construction(path) for path in self.children[""]],
            applications=[self._apply(step) for step in steps if not step.training],
            training=[self._apply(step) for step in steps if step.training],
            inputs=inputs,
            outputs=[
                Output(port.name, self._variable(self.traced.value(port.value)), port.training)
                for port in block.outputs
            ],
            weights=block.weights,
        )

    def _variable(self, value: int) -> Variable:
        if value not in self.variables:
            known = self.traced.block.values[value]
            self.variables[value] = Variable(known.name, known.type)
        return self.variables[value]

    def _construction(self, path: str) -> Construction:
        label = (path.rpartition(".")[2],)
        if path in self.children:
            paths = self.children[path]
            kind = container_kind(path, paths, self.chained)
            items = [self._construction(child) for child in paths]
            return Container(label, kind, items, is_indexed(paths))
        return self._make(label, self.traced.made[path])

    def _make(self, label: tuple[str], made: Made) -> Make:
        match made:
            case Layer():
                return Make(label, made.module, made.inits)
            case Instance():
                template = self.classes[made.block]
                values = {name: made.values[name] for name in template.parameters}
                return Make(label, NewInstance(template, values))

    def _apply(self, step: Step) -> Apply:
        callee = step.callee
        if isinstance(callee, str):
            callee = MemberCall(tuple((part,) for part in callee.split(".")))
        inputs = tuple(self._variable(value) for value in step.inputs)
        return Apply(callee, inputs, tuple(self._variable(value) for value in step.outputs))
