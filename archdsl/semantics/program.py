"""A program: its files, the specialised blocks of one model, and the limits in force."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from archdsl import problems
from archdsl.diagnostics import Diagnostics
from archdsl.ir import receptive_field as tracing
from archdsl.ir.model import Block, Model, Port
from archdsl.ir.op import Weight
from archdsl.limits import LimitExceeded, Limits
from archdsl.semantics.body import Body
from archdsl.semantics.builder import BlockBuilder
from archdsl.semantics.files import Files
from archdsl.semantics.inputs import declared_preparations, environment, model_inputs
from archdsl.semantics.parameters import bind_parameters, defaulted, inside, own_arguments
from archdsl.semantics.problem import Problem
from archdsl.semantics.results import Results, output_ports
from archdsl.semantics.scope import Environment, FileScope, ReturnedValue
from archdsl.semantics.specialise import Binding, static_key
from archdsl.semantics.values import (
    BlockDefinition,
    Evaluated,
    Items,
    StaticFunction,
    Template,
    Tensor,
    Text,
    Truth,
    Unknown,
    describe,
    shown,
)
from archdsl.semantics.written_sizes import written_size
from archdsl.sizes.conditions import all_of
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Facts, smallest_admissible
from archdsl.sizes.solver import Effort
from archdsl.source import Span
from archdsl.syntax import ast
from archdsl.syntax.parse import FragmentError, message_parts

NESTING_SLACK = 2
"""Evaluation nests somewhat deeper than the text: a stage in a scope in a block counts each."""


@dataclass(frozen=True, slots=True)
class Application:
    """A block being expanded: with which arguments, and where it is applied."""

    block: BlockDefinition
    arguments: Mapping[str, Evaluated]
    span: Span

    @property
    def text(self) -> str:
        """The block with its arguments, `Attention(heads=3)`."""
        given = [f"{name}={shown(value)}" for name, value in self.arguments.items()]
        return f"{self.block.name}({', '.join(given)})"


@dataclass(slots=True)
class Spent:
    """What the models of one file have used up together."""

    steps: int = 0
    effort: Effort = field(default_factory=Effort)


class Program:
    """Expands one model; every block is expanded once for each way it is specialised."""

    def __init__(
        self,
        files: Files,
        diagnostics: Diagnostics,
        limits: Limits,
        spent: Spent | None = None,
        *,
        preprocessing: bool = False,
    ) -> None:
        self.files = files
        self.diagnostics = diagnostics
        self.limits = limits
        self.blocks: dict[str, Block] = {}
        self.traced_blocks = tracing.Blocks(self.blocks)
        self.root_body: Body | None = None
        self.root_environment: Environment | None = None
        self._keys: dict[object, str | None] = {}
        self._flat_nodes: dict[str, int] = {}
        self._expanding: list[Application] = []
        self.is_applied = False
        """Whether a text applies the outermost block, as a preparation's is by an input."""
        self._evaluating: list[tuple[str, str]] = []
        self.spent = spent or Spent()
        self.preprocessing = preprocessing
        self.preparations: Mapping[str, Template] = {}
        """The inputs of the model that declare how they are prepared, and by what."""
        self._names: dict[str, int] = {}
        self._given: frozenset[str] = frozenset()
        """The parameters of the model that its defaults do not decide."""
        self._depth = 0
        self._deepest = limits.nesting * NESTING_SLACK
        self._counted = 0

    # ------------------------------------------------------------------------------- limits

    def step(self, span: Span, cost: int = 1) -> None:
        """Count steps of expansion: an expression is one, a statement two, a loop pass three."""
        self.spent.steps += cost
        if self.spent.steps > self.limits.expansion_steps:
            raise self._exceeded("expansion_steps", span)

    def enter(self, span: Span) -> None:
        """Count one step, one level deeper; `leave` ends the level."""
        self.spent.steps += 1
        self._depth += 1
        if self.spent.steps > self.limits.expansion_steps:
            raise self._exceeded("expansion_steps", span)
        if self._depth > self._deepest:
            raise self._exceeded("nesting", span)

    def leave(self) -> None:
        """End a level that `enter` began."""
        self._depth -= 1

    @contextmanager
    def deeper(self, span: Span) -> Generator[None]:
        """A level that holds statements."""
        self.enter(span)
        try:
            yield
        finally:
            self.leave()

    def demand(self, steps: int, span: Span) -> None:
        """Refuse at once what takes more steps than are left."""
        if self.spent.steps + steps > self.limits.expansion_steps:
            raise self._exceeded("expansion_steps", span)

    def foresee(self, passes: int, before: tuple[int, int], span: Span) -> None:
        """Refuse at once what equal further passes will exceed; `before` is what `counts` were."""
        for limit, now, then in zip(
            ("expansion_steps", "expanded_nodes"), self.counts, before, strict=True
        ):
            if now + passes * (now - then) > getattr(self.limits, limit):
                raise self._exceeded(limit, span)

    @property
    def counts(self) -> tuple[int, int]:
        """Steps and nodes so far."""
        return self.spent.steps, self._counted

    def list_of(self, values: Sequence[Evaluated], span: Span) -> Items:
        """A list, whose size counts as steps and whose depth as nesting."""
        items = Items(tuple(values))
        self.step(span, items.size)
        if items.depth > self.limits.nesting:
            raise self._exceeded("nesting", span)
        return items

    def repetitions(self, count: Dim, span: Span) -> int:
        """How often to repeat, if the limit allows it."""
        total = count.value or 0
        if total < 0:
            raise Problem(problems.wrong_kind(span, "a non-negative integer", str(total)))
        if total > self.limits.repeat_count:
            raise Problem(problems.limit_exceeded(span, "repeat_count", self.limits.repeat_count))
        return total

    def count_nodes(self, count: int, span: Span) -> None:
        """Count nodes that exist in their own right."""
        self._counted += count
        if self._counted > self.limits.expanded_nodes:
            raise self._exceeded("expanded_nodes", span)

    def count_call(self, builder: BlockBuilder, key: str, span: Span) -> None:
        """Count the nodes a call stands for when everything is written out."""
        builder.flat_nodes += self._flat_nodes[key]
        if builder.flat_nodes > self.limits.expanded_nodes:
            raise self._exceeded("expanded_nodes", span)

    def _exceeded(self, limit: str, span: Span | None) -> LimitExceeded:
        bound = getattr(self.limits, limit)
        self.diagnostics.add(problems.limit_exceeded(span, limit, bound))
        return LimitExceeded(limit, bound)

    def report(self, problem: Problem) -> None:
        """Report a problem, and through which applications of blocks it was reached."""
        if len(self.diagnostics) + 1 >= self.limits.diagnostics:
            raise self._exceeded("diagnostics", problem.diagnostic.span)
        applied = self._expanding if self.is_applied else self._expanding[1:]
        reached = [(item.text, item.span) for item in applied]
        self.diagnostics.add(problems.inside(problem.diagnostic, reached))

    # --------------------------------------------------------------------------------- names

    def declared(self, name: str, file: FileScope) -> Evaluated | None:
        """What a file declares or imports under a name."""
        if name in file.blocks:
            block = file.blocks[name]
            return Template(block, block.definition.name.span, as_layer=True)
        if name in file.origins:
            declaring, name = file.origins[name]
            return self.declared(name, declaring)
        if name in file.values:
            return file.values[name]
        if name in file.constants:
            constant = file.constants[name]
            if (file.name, name) in self._evaluating:
                raise Problem(problems.circular_constant(constant.name.span, name))
            self._evaluating.append((file.name, name))
            try:
                env = Environment(file)
                value = self._scratch().expressions.evaluate(constant.value, env)
            finally:
                self._evaluating.pop()
            if isinstance(value, StaticFunction | Tensor):
                raise Problem(problems.wrong_kind(constant.span, "a static value", describe(value)))
            file.values[name] = value
            return value
        return None

    def another(self, *, preprocessing: bool = False) -> Program:
        """For another model of the same files."""
        return Program(
            self.files, self.diagnostics, self.limits, self.spent, preprocessing=preprocessing
        )

    def _scratch(self) -> Body:
        """A body outside every block, for static expressions."""
        return Body(self, BlockBuilder(self.diagnostics))

    def text_of(self, span: Span) -> str:
        """The source text of a span."""
        return self.files.sources[span.file].text[span.start : span.end]

    def message(self, body: Body, statement: ast.Require, env: Environment) -> str | None:
        """The message of a `require` with its interpolated values."""
        if statement.message is None:
            return None
        source = self.files.sources[statement.span.file]
        try:
            parts = message_parts(source, statement.message, self.limits)
        except FragmentError as error:
            raise Problem(error.diagnostic) from None
        words: list[str] = []
        for part in parts:
            if isinstance(part, str):
                words.append(part)
                continue
            value = body.expressions.evaluate(part, env)
            words.append(str(value.value) if isinstance(value, Truth | Text) else shown(value))
        return "".join(words)

    def signature_size(
        self,
        block: BlockDefinition,
        node: ast.Expression,
        names: Mapping[str, Evaluated],
        binding: Binding,
    ) -> Dim:
        """A size written in a signature; what it demands is left to the binding."""
        seen = {name: inside(name, value) for name, value in names.items()}
        env = Environment(block.file, None, seen)
        scratch = self._scratch()
        scratch.builder.facts = Facts(dict.fromkeys(binding.symbols, 0))
        size = written_size(scratch.expressions, node, env)
        assert size is not None, "nothing of a signature has failed before"
        binding.demands += scratch.builder.requirements
        return size

    # ------------------------------------------------------------------------------- weights

    def find_weight(self, builder: BlockBuilder, path: str) -> Weight | None:
        """A weight by its path from a block under construction."""
        for weight in builder.weights:
            if weight.name == path:
                return weight
        for member in builder.members.values():
            if path.startswith(member.path + "."):
                rest = path[len(member.path) + 1 :]
                if member.block is None:
                    found = [weight for weight in member.weights if weight.name == rest]
                else:
                    found = [w for p, w in self.block_weights(member.block) if p == rest]
                if found:
                    return found[0]
        return None

    def weight_paths(self, builder: BlockBuilder) -> list[str]:
        """All weight paths of a block under construction."""
        paths = [weight.name for weight in builder.weights]
        for member in builder.members.values():
            paths += [f"{member.path}.{weight.name}" for weight in member.weights]
            if member.block is not None:
                paths += [f"{member.path}.{p}" for p, _ in self.block_weights(member.block)]
        return paths

    def block_weights(self, key: str) -> list[tuple[str, Weight]]:
        """All weights of a specialised block by path."""
        block = self.blocks[key]
        found = [(weight.name, weight) for weight in block.weights]
        for member in block.members:
            found += [(f"{member.path}.{weight.name}", weight) for weight in member.weights]
            if member.block is not None:
                found += [
                    (f"{member.path}.{path}", weight)
                    for path, weight in self.block_weights(member.block)
                ]
        return found

    def check_same_weights(self, before: str, now: str, path: str, span: Span) -> None:
        """A shared instance applied to other sizes must have the very same weights."""
        first = {name: weight.dims for name, weight in self.block_weights(before)}
        second = {name: weight.dims for name, weight in self.block_weights(now)}
        for name in {**first, **second}:
            if first.get(name) != second.get(name):
                raise Problem(problems.shared_weights_differ(span, path, name, first, second))

    # -------------------------------------------------------------------------------- blocks

    def specialised(
        self,
        block: BlockDefinition,
        arguments: Mapping[str, Evaluated],
        binding: Binding,
        span: Span,
    ) -> str | None:
        """The key of the block for these arguments and input types; None when it has errors."""
        key = (
            id(block.definition),
            tuple((name, static_key(value)) for name, value in arguments.items()),
            tuple((shape.type.dtype, shape.type.dims, shape.type.axes) for shape in binding.inputs),
            frozenset(binding.empty),
        )
        if any(block.definition is other.block.definition for other in self._expanding):
            names = [other.block.name for other in self._expanding] + [block.name]
            raise Problem(problems.recursive_block(span, names))
        if key in self._keys:
            return self._keys[key]
        self._keys[key] = None
        with self.deeper(span):
            built = self._expand(Application(block, arguments, span), binding)
        if built is None:
            return None
        number = self._names[block.name] = self._names.get(block.name, 0) + 1
        name = block.name if number == 1 else f"{block.name}.{number}"
        self.blocks[name] = built[0]
        self._flat_nodes[name] = built[1]
        self._keys[key] = name
        return name

    def _expand(self, application: Application, binding: Binding) -> tuple[Block, int] | None:
        block, arguments = application.block, application.arguments
        builder = BlockBuilder(self.diagnostics, Facts(effort=self.spent.effort))
        builder.sizes = {*binding.symbols, *binding.sizes, *arguments}
        for name in binding.symbols:
            builder.facts = builder.facts.with_symbol(name, 0 if name in binding.empty else 1)
        body = Body(self, builder)
        for demand in binding.demands:
            builder.require(demand.condition, demand.reason, demand.span)
        if not self._expanding:
            self.root_body = body
        self._expanding.append(application)
        try:
            env = environment(body, block, arguments, binding)
            if self.root_body is body:
                self.root_environment = env
            returned = self._returned(body, block, env)
        except Problem as problem:
            self.report(problem)
            return None
        finally:
            self._expanding.pop()
        if returned is None or body.failed:
            return None
        return self._finished(block, arguments, binding, builder, returned), builder.flat_nodes

    def _returned(
        self, body: Body, block: BlockDefinition, env: Environment
    ) -> list[ReturnedValue] | None:
        definition = block.definition
        statements = definition.body
        plain = [s for s in statements if not isinstance(s, ast.Expect)]
        body.expectations = [s for s in statements if isinstance(s, ast.Expect)]
        last = plain[-1] if plain else None
        if isinstance(last, ast.ExpressionStatement):
            value = ast.Returned(last.span, None, last.value, False)
            plain[-1] = ast.Return(last.span, (value,))
        # The signature means the parameters as they were given, whatever the body binds.
        signature = Environment(env.file, None, dict(env.variables), env.symbols)
        returned = body.run(plain, env)
        if isinstance(returned, Unknown) or body.failed:
            return None
        if returned is None:
            raise Problem(problems.missing_return(definition.name.span, block.name))
        if definition.kind != "model" and body.expectations:
            reason = "what is expected is told of a whole model, not of a block"
            help = "put it into the model, or make it a `require`"
            raise Problem(problems.misplaced_statement(body.expectations[0].span, reason, help))
        return Results(body, definition).check(returned, signature)

    def _finished(
        self,
        block: BlockDefinition,
        arguments: Mapping[str, Evaluated],
        binding: Binding,
        builder: BlockBuilder,
        returned: list[ReturnedValue],
    ) -> Block:
        inputs = tuple(
            Port(name=shape.name, value=index) for index, shape in enumerate(binding.inputs)
        )
        return Block(
            name=block.name,
            doc=block.definition.doc,
            arguments=own_arguments(
                self._scratch(), block, arguments, frozenset() if self._expanding else self._given
            ),
            symbols=tuple(binding.symbols),
            empty=tuple(name for name in binding.symbols if name in binding.empty),
            fresh=tuple(builder.fresh),
            inputs=inputs,
            outputs=output_ports(block, returned),
            values=tuple(builder.values),
            weights=tuple(builder.weights),
            borrowed=tuple(builder.borrowed),
            second_names=tuple(builder.second_names),
            members=tuple(builder.members.values()),
            nodes=tuple(builder.nodes),
            requirements=tuple(builder.requirements),
            decisions=tuple(builder.decisions),
            span=block.definition.span,
        )

    # --------------------------------------------------------------------------------- model

    def model(
        self,
        block: BlockDefinition,
        template: Template,
        name: str,
        doc: str,
        fixed: Mapping[str, int],
    ) -> Model | None:
        """Expand a model from its outermost block."""
        scratch = self._scratch()
        arguments = bind_parameters(scratch, block, template)
        if arguments is None:
            return None
        self._given = frozenset(arguments) - defaulted(block, template)
        self.preparations = declared_preparations(scratch, block, arguments)
        given = self.preparations if self.preprocessing else {}
        binding = model_inputs(scratch, block, arguments, fixed, given)
        if binding is None:
            return None
        key = self.specialised(block, arguments, binding, template.span)
        if key is None:
            return None
        self._check_domain(self.blocks[key])
        return Model(
            edition=block.file.edition,
            name=name,
            doc=doc or block.definition.doc,
            entry=key,
            blocks=dict(self.blocks),
        )

    def _check_domain(self, block: Block) -> None:
        """What the model's operators demand must follow from what the model requires."""
        body = self.root_body
        assert body is not None
        facts = block.facts(self.spent.effort)
        for condition in body.required:
            facts = facts.assume(condition)
        unproved = [r for r in block.requirements if not facts.prove(r.condition).proved]
        small = [r for r in unproved if not r.condition.is_upper_bound]
        large = [r for r in unproved if r.condition.is_upper_bound]
        if small:
            bounds = smallest_admissible([r.condition for r in small], facts)
            found = facts.prove(small[0].condition).counterexample
            self.diagnostics.add(problems.size_too_small(small[0], found, bounds, block.span))
        if large:
            found = facts.prove(large[0].condition).counterexample
            bound = all_of(list(dict.fromkeys(r.condition for r in large)))
            self.diagnostics.add(problems.size_too_large(large[0], found, bound))
