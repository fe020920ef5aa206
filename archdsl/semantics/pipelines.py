"""Pipelines, labelled scopes, forks under their merge, and repetition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from archdsl import problems
from archdsl.ir.model import Frame
from archdsl.semantics.problem import Problem
from archdsl.semantics.scope import Environment
from archdsl.semantics.values import (
    UNKNOWN,
    Evaluated,
    Instance,
    Template,
    Tensor,
    Tensors,
    Unknown,
    as_operand,
    describe,
)
from archdsl.sizes.dims import Dim
from archdsl.source import Span
from archdsl.syntax import ast

if TYPE_CHECKING:
    from archdsl.semantics.body import Body


Flowing = Tensor | Unknown


class Pipelines:
    """Evaluates the forms in which tensors flow through layers."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def evaluate(self, node: ast.Expression, env: Environment) -> Evaluated:
        """A pipeline, or one of its stages at the head of a scope, where `it` enters."""
        if not isinstance(node, ast.Pipeline):
            return self._stage_of(node, self._entering(env, node.span), env)
        head = node.head
        if isinstance(head, ast.Stage | ast.Merge | ast.Scope | ast.Repeat):
            value = self._stage_of(head, self._entering(env, head.span), env)
        else:
            value = self.settle(self._body.expressions.evaluate(head, env), env, head.span)
        return self._stages(value, node.stages, env, head.span)

    def settle(self, value: Evaluated, env: Environment, span: Span) -> Evaluated:
        """A layer that stands where a tensor is wanted is applied to `it`."""
        if not isinstance(value, Template | Instance) or env.find("it") is None:
            return value
        return self._body.calls.apply(value, self._entering(env, span), None, span)

    def _entering(self, env: Environment, span: Span) -> list[Flowing]:
        entering = env.find("it")
        if entering is None:
            raise Problem(problems.nothing_enters(span))
        return self._tensors(entering, span)

    def _tensors(self, value: Evaluated, span: Span) -> list[Flowing]:
        """What flows on along an arrow; what already failed flows on as unknown."""
        match value:
            case Tensor() | Unknown():
                return [value]
            case Tensors():
                return list(value.flowing)
            case _:
                raise Problem(problems.not_a_tensor(span, describe(value)))

    def _stages(
        self, value: Evaluated, stages: Sequence[ast.Stage], env: Environment, span: Span
    ) -> Evaluated:
        for stage in stages:
            value = self._stage_of(stage, self._tensors(value, span), env)
            span = stage.span
        return value

    # ------------------------------------------------------------------------------- one stage

    def _stage_of(self, node: ast.Expression, piped: list[Flowing], env: Environment) -> Evaluated:
        label: ast.Label | None = None
        share = False
        if isinstance(node, ast.Stage):
            label, share, node = node.label, node.share, node.body
        with self._body.program.deeper(node.span):
            text = None if label is None else self.label_text(label, env)
            span = node.span if label is None else label.span
            if share and text is not None:
                return self._again(node, piped, text, span, env)
            return self._apply(node, piped, text, span, env)

    def _apply(
        self,
        node: ast.Expression,
        piped: list[Flowing],
        label: str | None,
        label_span: Span,
        env: Environment,
    ) -> Evaluated:
        match node:
            case ast.Scope():
                entering = _one_or_all(piped)
                if label is None:
                    return self._body.scope(node.body, env.inner(entering), node.span)
                with self._body.builder.labelled(label, label_span):
                    return self._body.scope(node.body, env.inner(entering), node.span)
            case ast.Repeat():
                return self._repeat(node, piped, label, label_span, env)
            case ast.Merge():
                if label is None:
                    return self._merge(node, piped, env)
                with self._body.builder.labelled(label, label_span):
                    return self._merge(node, piped, env)
            case ast.Pipeline() | ast.Choice() if label is None:
                value = self._body.expressions.evaluate(node, env.inner(_one_or_all(piped)))
                if isinstance(value, Template | Instance):
                    return self._body.calls.apply(value, piped, None, node.span)
                return value
            case _:
                return self._body.calls.stage(node, piped, label, env)

    def _again(
        self,
        node: ast.Expression,
        piped: list[Flowing],
        label: str,
        label_span: Span,
        env: Environment,
    ) -> Evaluated:
        """`share label: Layer(…)`: the layer that has this label already, applied again."""
        template = self._body.expressions.evaluate(node, env)
        if isinstance(template, Unknown):
            return UNKNOWN
        if not isinstance(template, Template) or not template.is_numbered:
            raise Problem(problems.share_needs_one_layer(node.span))
        path = self._body.builder.names.prefix + label
        if path not in self._body.builder.members:
            reason = f"no layer above is labelled `{label}`, so that it cannot be shared"
            raise Problem(problems.bad_label(label_span, reason))
        return self._body.calls.apply(Instance(template, path), piped, None, node.span)

    def label_text(self, label: ast.Label, env: Environment) -> str:
        """A label with its interpolated parts written out."""
        parts: list[str] = []
        for part in label.parts:
            if isinstance(part, str):
                parts.append(part)
                continue
            value = self._body.expressions.evaluate(part, env)
            if not isinstance(value, Dim) or value.value is None or value.value < 0:
                raise Problem(
                    problems.wrong_kind(label.span, "a non-negative integer", describe(value))
                )
            parts.append(str(value.value))
        text = "".join(parts)
        if len(text) > 128:
            raise Problem(problems.bad_label(label.span, "a label has at most 128 characters"))
        return text

    # ------------------------------------------------------------------------------------ forks

    def _merge(self, node: ast.Merge, piped: list[Flowing], env: Environment) -> Evaluated:
        results: list[Flowing] = []
        for branch in node.branches:
            value = as_operand(self._branch(branch, piped, env))
            if not isinstance(value, Tensor | Unknown):
                raise Problem(problems.wrong_kind(branch.span, "one tensor", describe(value)))
            results.append(value)
            if isinstance(value, Tensor):
                self._body.builder.call_value(value, self.label_text(branch.label, env))
        return self._body.calls.stage(node.function, results, None, env)

    def _branch(self, branch: ast.Branch, piped: list[Flowing], env: Environment) -> Evaluated:
        label = self.label_text(branch.label, env)
        inner = env.inner(_one_or_all(piped))
        first = branch.stages[0]
        if len(branch.stages) == 1 and first.label is None and self._is_layer(first.body, env):
            return self._body.calls.stage(first.body, piped, label, inner)
        if len(branch.stages) == 1 and first.label is None and isinstance(first.body, ast.Repeat):
            return self._repeat(first.body, piped, label, branch.label.span, inner)
        with self._body.builder.labelled(label, branch.label.span):
            return self._stages(_one_or_all(piped), branch.stages, inner, branch.span)

    def _is_layer(self, node: ast.Expression, env: Environment) -> bool:
        """Whether a stage is one layer or block, which then bears the label itself."""
        name = node.function if isinstance(node, ast.Call) else node
        if not isinstance(name, ast.Name):
            return False
        target = self._body.expressions.lookup(name, env)
        return isinstance(target, Template) and target.is_numbered

    # ------------------------------------------------------------------------------- repetition

    def _repeat(
        self,
        node: ast.Repeat,
        piped: list[Flowing],
        label: str | None,
        label_span: Span,
        env: Environment,
    ) -> Evaluated:
        count = self._body.expressions.integer(node.count, env)
        if count is None:
            return UNKNOWN
        total = self._body.program.repetitions(count, node.count.span)
        if label is None:
            return self._passes(node, piped, total, count, False, env)
        with self._body.builder.labelled(label, label_span):
            return self._passes(node, piped, total, count, True, env)

    def _passes(
        self,
        node: ast.Repeat,
        piped: list[Flowing],
        total: int,
        count: Dim,
        is_labelled: bool,
        env: Environment,
    ) -> Evaluated:
        value = _one_or_all(piped)
        single = self._single_layer(node, env)
        shared: Evaluated = None if not node.share else self._shared(node, single, is_labelled, env)  # pyright: ignore
        for index in range(total):
            frame = Frame(
                kind="repeat",
                site=node.span.start,
                variable=node.index,
                index=index,
                start=Dim.of(0),
                stop=count,
            )
            inner = env.inner(value)
            if node.index is not None:
                number = Dim.of(index).with_origin(Dim.symbol(node.index))
                inner.variables[node.index] = number
            tensors = self._tensors(value, node.span)
            before = self._body.program.counts
            with self._body.builder.frame(frame):
                value = self._pass(node, tensors, single, shared, index, is_labelled, inner)
            if node.index is None and self._is_steady(tensors, value):
                self._body.program.foresee(total - index - 1, before, node.span)
        return value

    def _is_steady(self, before: Sequence[Flowing], after: Evaluated) -> bool:
        """Whether a pass gave the type it took, so that every further one is the same."""
        if len(before) != 1 or not isinstance(after, Tensor) or not isinstance(before[0], Tensor):
            return False
        builder = self._body.builder
        return builder.type(before[0]) == builder.type(after)

    def _single_layer(self, node: ast.Repeat, env: Environment) -> ast.Expression | None:
        """The body, when it is just one unlabelled layer or block: it bears the number itself."""
        if len(node.body) != 1 or not isinstance(node.body[0], ast.ExpressionStatement):
            return None
        value = node.body[0].value
        probe = env.inner(UNKNOWN)
        if node.index is not None:
            probe.variables[node.index] = Dim.of(0)
        return value if self._is_layer(value, probe) else None

    def _shared(
        self, node: ast.Repeat, single: ast.Expression | None, is_labelled: bool, env: Environment
    ) -> Evaluated:
        """The one instance that `repeat n share` applies again and again."""
        if single is None:
            raise Problem(problems.share_needs_one_layer(node.span))
        template = self._body.expressions.evaluate(single, env)
        if not isinstance(template, Template):
            raise Problem(problems.share_needs_one_layer(node.span))
        path = self._body.builder.claim("0" if is_labelled else None, single.span)
        return Instance(template, path)

    def _pass(
        self,
        node: ast.Repeat,
        piped: list[Flowing],
        single: ast.Expression | None,
        shared: Evaluated | None,
        index: int,
        is_labelled: bool,
        env: Environment,
    ) -> Evaluated:
        if shared is not None and single is not None:
            return self._body.calls.apply(shared, piped, None, single.span)
        if single is not None:
            label = str(index) if is_labelled else None
            return self._body.calls.stage(single, piped, label, env)
        if not is_labelled:
            return self._body.scope(node.body, env, node.span)
        with self._body.builder.labelled(str(index), node.span):
            return self._body.scope(node.body, env, node.span)


def _one_or_all(tensors: Sequence[Flowing]) -> Evaluated:
    if len(tensors) == 1:
        return tensors[0]
    known = tuple(tensor for tensor in tensors if isinstance(tensor, Tensor))
    return Tensors(known) if len(known) == len(tensors) else UNKNOWN
