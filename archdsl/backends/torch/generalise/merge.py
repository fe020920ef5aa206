"""Merges the specialisations of one block into one class with the parameters it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from archdsl.backends.python.formula import Formula
from archdsl.backends.torch.dataflow import walk
from archdsl.backends.torch.generalise.applications import Applications
from archdsl.backends.torch.generalise.cases import Case, Mismatch, fit_lowered
from archdsl.backends.torch.generalise.constructions import Constructions, Scopes, level
from archdsl.backends.torch.generalise.reroll import Rows, merge, regions
from archdsl.backends.torch.template import (
    Apply,
    ApplyBranch,
    ApplyLoop,
    ApplyScan,
    Construction,
    Container,
    Make,
    MakeBranch,
    MakeLoop,
    MemberCall,
    NewInstance,
    Output,
    Template,
    Tie,
    Variable,
    every_construction,
)
from archdsl.backends.torch.trace.lower import Instance, begun
from archdsl.backends.torch.trace.sequential import chains, collapse, containers
from archdsl.backends.torch.trace.terms import leaves
from archdsl.backends.torch.trace.trace import Step, Steps, Trace, is_numbered_chain
from archdsl.ir.lowering import Unsupported
from archdsl.ir.model import Block, SecondName
from archdsl.ir.op import Weight
from archdsl.sizes.dims import Dim


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a class is to be written."""

    classes: Mapping[str, Template]
    defaults: Mapping[str, Any]
    expanded: bool = False
    """Everything as it is, without parameters, loops and conditions."""
    literal: frozenset[str] = frozenset()
    """What is no parameter, since not everything that depends on it would follow it."""


def merged(traces: Sequence[Trace], wanted: Wanted) -> Template:
    """The template of a class that is each of these specialisations; Mismatch if there is none."""
    return _Merger(traces, wanted).template()


class _Merger:
    def __init__(self, traces: Sequence[Trace], wanted: Wanted) -> None:
        self.traces = traces
        self.wanted = wanted
        self.chained = _common_chains(traces)
        self.scopes = [
            Scopes(traced, containers(traced.made), scopes)
            for traced, scopes in zip(traces, self.chained, strict=True)
        ]
        level(self.scopes)
        self.cases = [Case(at, self._names(traced)) for at, traced in enumerate(traces)]
        self.is_chain = all(is_numbered_chain(traced.block) for traced in traces)

    def _names(self, traced: Trace) -> dict[str, Any]:
        """What formulas may name."""
        if self.wanted.expanded:
            return {}
        return {n: value for n, value in traced.names.items() if n not in self.wanted.literal}

    def template(self) -> Template:
        first = self.traces[0].block
        for traced in self.traces[1:]:
            _demand_alike(self.traces[0], traced)
        constructions = self._constructions()
        flow = Applications(self.traces, self.cases)
        inputs = self._inputs(flow)
        applications = self._applications(flow, training=False)
        outer = Applications(self.traces, self.cases, flow, counter=flow.counter)
        training = self._applications(outer, training=True)
        outputs = [
            Output(port.name, self._output(outer if port.training else flow, at), port.training)
            for at, port in enumerate(first.outputs)
        ]
        template = Template(
            name=first.name,
            doc=first.doc,
            parameters=(),
            defaults={},
            sizes=self._sizes(),
            constructions=constructions,
            applications=applications,
            training=training,
            inputs=inputs,
            ranks=[first.type(port.value).rank for port in first.inputs],
            outputs=outputs,
            weights=self._weights(),
            ties=self._ties(),
            is_chain=self.is_chain,
        )
        template.fresh = self._fresh(template, flow)
        self._set_parameters(template)
        return template

    def _fresh(self, template: Template, flow: Applications) -> dict[str, tuple[Variable, int]]:
        """Those sizes from data that something is told."""
        if not self.traces[0].fresh:
            return {}
        found: dict[str, tuple[Variable, int]] = {}
        for name in names_in(template):
            if all(name in traced.fresh for traced in self.traces) and name not in found:
                values = {case: self._trace(case).fresh[name][0] for case in self.cases}
                found[name] = flow.read(values), self.traces[0].fresh[name][1]
        return found

    def _constructions(self) -> list[Construction]:
        sink = Constructions(
            self.scopes, self.wanted.classes, indexed=self.is_chain, expanded=self.wanted.expanded
        )
        sink.scope(["" for _ in self.cases], self.cases)
        return sink.items

    def _inputs(self, flow: Applications) -> list[tuple[str, Variable]]:
        block = self.traces[0].block
        for at, borrowed in enumerate(block.borrowed):
            values = {case: self._block(case).borrowed[at].value for case in self.cases}
            flow.define(values, borrowed.path)
        inputs: list[tuple[str, Variable]] = []
        for at, port in enumerate(block.inputs):
            values = {case: self._block(case).inputs[at].value for case in self.cases}
            inputs.append((port.name, flow.define(values)))
        return inputs

    def _block(self, case: Case) -> Block:
        return self.traces[case.specialisation].block

    def _sizes(self) -> dict[str, tuple[int, int]]:
        """Sizes that are read at run time, as they are not constant in every specialisation."""
        sizes: dict[str, tuple[int, int]] = {}
        for traced in self.traces:
            for name, place in traced.sizes.items():
                if sizes.setdefault(name, place) != place:
                    raise Mismatch("sizes at other places")
        for traced in self.traces:
            for name, (port, axis) in sizes.items():
                dim = traced.block.type(traced.block.inputs[port].value).dims[axis]
                if dim.origin.symbol_name != name:
                    raise Mismatch("sizes of other names")
        return sizes

    def _weights(self) -> list[Weight]:
        blocks = [traced.block for traced in self.traces]
        return [
            self._weight([block.weights[at] for block in blocks])
            for at in range(len(blocks[0].weights))
        ]

    def _weight(self, weights: Sequence[Weight]) -> Weight:
        dims = fit_lowered([weight.dims for weight in weights], self.cases)
        init = fit_lowered([begun(weight.init) for weight in weights], self.cases)
        return replace(weights[0], dims=dims, init=init)

    def _ties(self) -> list[Tie]:
        first, *others = [
            [self._tie(traced, each) for each in traced.block.second_names]
            for traced in self.traces
        ]
        if any(ties != first for ties in others):
            raise Mismatch("second names of weights")
        return first

    def _tie(self, traced: Trace, second: SecondName) -> Tie:
        *owner, name = second.path.split(".")
        known = containers(traced.made).keys() | traced.made.keys()
        paths = [".".join(owner[:end]) for end in range(1, len(owner) + 1)]
        standing = sum(path in known for path in paths)
        within = traced.made.get(paths[standing - 1]) if standing else None
        if isinstance(within, Instance) and self.wanted.classes[within.block].is_chain:
            raise Unsupported(f"`{second.path}` cannot stand in a block that is a chain of layers")
        return Tie(tuple(owner), standing, name, second.weight, second.kind)

    def _applications(self, flow: Applications, *, training: bool) -> list[Any]:
        flow.expanded = self.wanted.expanded
        rows = [
            regions([(step.frames, step) for step in _framed(steps, scopes)])
            for scopes, steps in zip(self.scopes, self._steps(training=training), strict=True)
        ]
        merge(Rows(self.cases, rows), flow)
        return flow.items

    def _steps(self, *, training: bool) -> Iterator[list[Step]]:
        for traced, scopes in zip(self.traces, self.chained, strict=True):
            steps = collapse(traced, scopes)
            yield [step for step in steps if step.training is training]

    def _output(self, flow: Applications, at: int) -> Variable:
        return flow.read(
            {
                case: self._trace(case).value(self._trace(case).block.outputs[at].value)
                for case in self.cases
            }
        )

    def _trace(self, case: Case) -> Trace:
        return self.traces[case.specialisation]

    # -------------------------------------------------------------------------------- parameters

    def _set_parameters(self, template: Template) -> None:
        used = set(names_in(template))
        order = dict.fromkeys(name for traced in self.traces for name in traced.names)
        arguments = {argument.name for argument in self.traces[0].block.arguments}
        names = [name for name in order if name in used and name not in template.sizes]
        sizes = [name for name in names if name not in arguments]
        template.parameters = [*sizes, *(name for name in names if name in arguments)]
        defaults: dict[str, Any] = {}
        for name in reversed(template.parameters):
            if name not in self.wanted.defaults:
                break
            default = self.wanted.defaults[name]
            if not set(_names(default)) <= set(template.parameters):
                if len(self.cases) > 1:
                    break
                default = self.cases[0].values[name]
            defaults[name] = default
        template.defaults = defaults


def _framed(steps: Sequence[Step], scopes: Scopes, outer: int = 0) -> Iterator[Step]:
    """The steps with the loops and branches that they are to be written in, inside their scan."""
    for step in steps:
        frames, callee = step.frames, step.callee
        if isinstance(callee, str) and callee in scopes.depth:
            frames = frames[: scopes.depth[callee]]
        elif isinstance(callee, Steps):
            inner = tuple(_framed(callee.steps, scopes, len(frames)))
            callee = replace(callee, steps=inner)
        yield replace(step, callee=callee, frames=frames[outer:])


def _common_chains(traces: Sequence[Trace]) -> list[dict[str, list[str]]]:
    """Scopes that are a chain in every specialisation that has them."""
    found = [chains(traced) for traced in traces]
    broken: set[str] = set()
    for traced, chained in zip(traces, found, strict=True):
        for scope in containers(traced.made):
            while scope and scope not in chained:
                broken.add(scope)
                scope = scope.rpartition(".")[0]
    return [{s: p for s, p in chained.items() if s not in broken} for chained in found]


def _demand_alike(one: Trace, other: Trace) -> None:
    """Ports, weights and sizes read at run time must be the same."""
    first, second = one.block, other.block
    pairs = (
        ([port.name for port in first.inputs], [port.name for port in second.inputs]),
        (
            [(port.name, port.training) for port in first.outputs],
            [(port.name, port.training) for port in second.outputs],
        ),
        ([b.path for b in first.borrowed], [b.path for b in second.borrowed]),
        ([_about(weight) for weight in first.weights], [_about(w) for w in second.weights]),
        (
            [first.type(port.value).rank for port in first.inputs],
            [second.type(port.value).rank for port in second.inputs],
        ),
    )
    if any(mine != theirs for mine, theirs in pairs):
        raise Mismatch("other ports or weights")


def _about(weight: Weight) -> tuple[Any, ...]:
    return weight.name, weight.kind, weight.dtype, weight.init.kind, len(weight.dims)


def names_in(template: Template) -> Iterator[str]:
    """Every name in the formulas of a template."""
    for item in every_construction(template.constructions):
        match item:
            case Make():
                made = item.made
                given = tuple(made.values.values()) if isinstance(made, NewInstance) else made
                yield from _names((given, tuple(init for _, init in item.inits)))
            case MakeLoop():
                yield from _names((item.start, item.stop))
            case MakeBranch():
                yield from item.condition.names
            case Container():
                pass
    for weight in template.weights:
        yield from _names((weight.dims, weight.init))
    for item in walk([*template.applications, *template.training]):
        match item:
            case Apply(callee=callee):
                yield from _names(callee.path if isinstance(callee, MemberCall) else callee)
            case ApplyBranch():
                yield from item.condition.names
            case ApplyLoop():
                yield from _names((item.start, item.stop))
            case ApplyScan():
                pass


def _names(data: Any) -> Iterator[str]:
    for leaf in leaves(data):
        if isinstance(leaf, Dim):
            yield from sorted(leaf.symbols)
        elif isinstance(leaf, Formula):
            yield from leaf.names
