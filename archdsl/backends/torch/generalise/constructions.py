"""Merges what the `__init__` of several specialisations constructs into one list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archdsl.backends.python.formula import Formula
from archdsl.backends.python.naming import MODULE_NAMES
from archdsl.backends.torch.generalise.cases import Case, Mismatch, fit, fit_label, fit_lowered
from archdsl.backends.torch.generalise.reroll import Merged, Rows, merge, regions
from archdsl.backends.torch.template import (
    Construction,
    Container,
    ContainerKind,
    Label,
    Make,
    MakeBranch,
    MakeLoop,
    NewInstance,
    Template,
)
from archdsl.backends.torch.trace.lower import Instance, Layer
from archdsl.backends.torch.trace.sequential import common
from archdsl.backends.torch.trace.trace import Trace
from archdsl.backends.torch.write.init import is_self_contained
from archdsl.ir.model import Frame

MOST_WRITTEN_OUT = 8
MOST_ELEMENTS_WRITTEN_OUT = 16


class Scopes:
    """The labelled scopes of one specialisation, and in which loops and branches they stand."""

    def __init__(
        self,
        traced: Trace,
        children: Mapping[str, list[str]],
        chained: Mapping[str, Any],
    ) -> None:
        self.traced = traced
        self.children = children
        self.chained = chained
        self.frames = self._all_frames()
        self.depth = {path: len(self.frames[path]) for path in children}

    def _all_frames(self) -> dict[str, tuple[Frame, ...]]:
        members = self.traced.block.member
        frames = {path: members[path].frames for path in self.traced.made}
        for scope in sorted(self.children, key=lambda path: -path.count(".")):
            if scope:
                shared = frames[self.children[scope][0]]
                for path in self.children[scope][1:]:
                    shared = common(shared, frames[path])
                frames[scope] = shared
        return {"": (), **frames}

    def items(self, scope: str) -> list[tuple[tuple[Frame, ...], str]]:
        """The paths directly in a scope, with the frames they have inside it."""
        outer = self.depth[scope]
        return [(self._inside(path, outer), path) for path in self.children[scope]]

    def _inside(self, path: str, outer: int) -> tuple[Frame, ...]:
        end = self.depth.get(path, len(self.frames[path]))
        return self.frames[path][outer:end]

    def kind(self, scope: str) -> ContainerKind:
        """The container of a scope, by how it is used and what its members are called."""
        names = [path.rpartition(".")[2] for path in self.children[scope]]
        if any(name in MODULE_NAMES or name.startswith("_") for name in names):
            return "Module"
        if scope in self.chained:
            return "Sequential"
        return "ModuleList" if self.is_indexed(scope) else "ModuleDict"

    def is_indexed(self, scope: str) -> bool:
        """Whether members are called 0, 1, 2 … in order."""
        names = (path.rpartition(".")[2] for path in self.children[scope])
        return all(name == str(place) for place, name in enumerate(names))


def level(scopes: Sequence[Scopes]) -> None:
    """Let a scope stand in the same loops in all specialisations, also where one has one pass."""
    depths: dict[str, int] = {}
    for one in scopes:
        for path, depth in one.depth.items():
            depths[path] = min(depth, depths.get(path, depth))
    for one in scopes:
        one.depth = {path: depths[path] for path in one.depth}


class Constructions:
    """Collects constructions while regions are merged."""

    def __init__(
        self,
        scopes: Sequence[Scopes],
        classes: Mapping[str, Template],
        indexed: bool = False,
        variables: tuple[str, ...] = (),
        expanded: bool = False,
    ) -> None:
        self.scopes = scopes
        self.classes = classes
        self.indexed = indexed
        self.variables = variables
        self.expanded = expanded
        self.items: list[Construction] = []

    def mark(self) -> int:
        return len(self.items)

    def undo(self, mark: int) -> None:
        del self.items[mark:]

    def prefers_loop(self, stop: Any, passes: int, items: int) -> bool:
        if self.expanded:
            return False
        if getattr(stop, "value", None) is None:
            return True
        if not self.indexed:
            return items > MOST_WRITTEN_OUT
        return items > (MOST_ELEMENTS_WRITTEN_OUT if items > passes else 2)

    def scope(self, paths: Sequence[str], cases: list[Case]) -> None:
        """Everything in a scope of all cases."""
        rows = [
            regions(self.scopes[case.specialisation].items(path))
            for path, case in zip(paths, cases, strict=True)
        ]
        merge(Rows(cases, rows), self)

    def _inner(self, variables: tuple[str, ...], indexed: bool) -> Constructions:
        return Constructions(self.scopes, self.classes, indexed, variables, self.expanded)

    def leaf(self, payloads: Sequence[str], cases: Sequence[Case]) -> None:
        label = self._label([path.rpartition(".")[2] for path in payloads], cases)
        scopes = [self.scopes[case.specialisation] for case in cases]
        pairs = list(zip(scopes, payloads, strict=True))
        are_scopes = {path in scope.children for scope, path in pairs}
        if len(are_scopes) != 1:
            raise Mismatch("a member and a scope")
        if are_scopes.pop():
            item: Make | Container = self._container(label, pairs, list(cases))
        else:
            item = self._make(label, pairs, cases)
        if not label and not is_self_contained(item):
            raise Mismatch("a member without a name of its own")
        self.items.append(item)

    def _label(self, names: Sequence[str], cases: Sequence[Case]) -> Label:
        """The name in every case; nothing where it is only the next number."""
        try:
            return fit_label(names, cases, self.variables)
        except Mismatch:
            if not self.indexed:
                raise
            return ()

    def _container(
        self, label: Label, pairs: Sequence[tuple[Scopes, str]], cases: list[Case]
    ) -> Container:
        (first, at), *others = pairs
        kind, indexed = first.kind(at), first.is_indexed(at)
        if any(
            (scope.kind(path), scope.is_indexed(path)) != (kind, indexed) for scope, path in others
        ):
            raise Mismatch("containers of different kinds")
        inner = self._inner(self.variables, indexed)
        inner.scope([path for _, path in pairs], cases)
        return Container(label, kind, inner.items, indexed)

    def _make(
        self, label: Label, pairs: Sequence[tuple[Scopes, str]], cases: Sequence[Case]
    ) -> Make:
        made = [scope.traced.made[path] for scope, path in pairs]
        layers = [one for one in made if isinstance(one, Layer)]
        if len(layers) == len(made):
            attributes = [layer.attributes for layer in layers]
            modules = [layer.module for layer in layers]
            module = fit_lowered(modules, cases, self.variables, attributes)
            inits = fit_lowered([layer.inits for layer in layers], cases, self.variables)
            return Make(label, module, inits)
        instances = [one for one in made if isinstance(one, Instance)]
        if len(instances) != len(made):
            raise Mismatch("a layer and a block")
        templates = {id(self.classes[one.block]): self.classes[one.block] for one in instances}
        if len(templates) != 1:
            raise Mismatch("instances of different classes")
        (template,) = templates.values()
        values = {
            name: fit([one.values[name] for one in instances], cases, self.variables)
            for name in template.parameters
        }
        return Make(label, NewInstance(template, values))

    def branch(self, condition: Formula, then: Rows[str], otherwise: Rows[str]) -> None:
        arms: list[list[Construction]] = []
        for rows in (then, otherwise):
            inner = self._inner(self.variables, self.indexed)
            merge(rows, inner)
            arms.append(inner.items)
        self.items.append(MakeBranch(condition, *arms))

    def loop(self, loop: Merged[str]) -> None:
        inner = self._inner((loop.variable, *self.variables), self.indexed)
        merge(loop.body, inner)
        if not inner.items:
            return
        self.items.append(MakeLoop(loop.variable, loop.hint, loop.start, loop.stop, inner.items))
