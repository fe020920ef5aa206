"""The inputs of a model: declared types, and their preparation."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeGuard

from archdsl import problems
from archdsl.ir.model import Block, Model, Requirement, Value
from archdsl.ir.types import TensorType
from archdsl.semantics.parameters import inside
from archdsl.semantics.problem import Problem
from archdsl.semantics.scope import Environment
from archdsl.semantics.specialise import (
    Binding,
    InputShape,
    Preparation,
    apply_block,
    binds_dim,
    dtype_named,
    input_dims,
    refuse_many_axes,
    typed_input,
)
from archdsl.semantics.values import (
    BlockDefinition,
    Evaluated,
    Nothing,
    Template,
    Tensor,
    describe,
)
from archdsl.sizes.dims import Dim
from archdsl.syntax import ast

if TYPE_CHECKING:
    from archdsl.semantics.body import Body

Arguments = Mapping[str, Evaluated]


def environment(
    body: Body, block: BlockDefinition, arguments: Arguments, binding: Binding
) -> Environment:
    """The names a body begins with: its parameters, its sizes, and what flows in."""
    builder = body.builder
    variables: dict[str, Evaluated] = {
        name: inside(name, value) for name, value in arguments.items()
    }
    variables.update(binding.sizes)
    env = Environment(block.file, None, variables, frozenset(binding.sizes))
    given = [
        builder.add_value(shape.type, port.span, shape.name)
        for port, shape in zip(block.definition.ports, binding.inputs, strict=True)
    ]
    builder.inputs = len(given)
    for shape, tensor in zip(binding.inputs, given, strict=True):
        preparation = binding.preparations.get(shape.name)
        entering = tensor if preparation is None else _prepared(body, shape, tensor, preparation)
        env.variables[shape.name] = entering
    if builder.inputs == 1:
        env.variables["it"] = env.variables[binding.inputs[0].name]
    return env


def _prepared(body: Body, shape: InputShape, given: Tensor, preparation: Preparation) -> Evaluated:
    """What the body sees of an input that is prepared."""
    builder, template = body.builder, preparation.template
    for requirement in preparation.requirements:
        if requirement.condition.truth is False:
            name, condition = template.name, requirement.condition
            raise Problem(
                problems.requirement_not_met(template.span, name, requirement, condition, None)
            )
        body.required.append(requirement.condition)
        builder.require(requirement.condition, requirement.reason, requirement.span)
    assert isinstance(template.target, BlockDefinition)
    label = f"prepare_{shape.name}"
    tensor = apply_block(body, template.target, template, [given], label, None)
    if isinstance(tensor, Tensor):
        builder.values[tensor.index] = Value(shape.name, preparation.result, template.span)
        builder.originals[tensor.index] = given
    return tensor


# ------------------------------------------------------------------------------- what is given


def model_inputs(
    body: Body,
    block: BlockDefinition,
    arguments: Arguments,
    fixed: Mapping[str, int],
    prepared: Mapping[str, Template],
) -> Binding | None:
    """The inputs of a model: its named dims are symbols, or constants where `fixed` says so.

    Of what is `prepared` the input is that of the preparation, and the signature names the sizes
    of its result. None when a preparation has errors.
    """
    inputs = _Inputs(body, block, arguments, fixed, prepared)
    shapes: dict[str, InputShape] = {}
    for port in block.definition.ports:
        if port.name.text in prepared:
            shape = inputs.prepared(port, prepared[port.name.text])
            if shape is None:
                return None
            shapes[shape.name] = shape
    inputs.name_sizes()
    for port in block.definition.ports:
        if port.name.text not in prepared:
            shapes[port.name.text] = inputs.declared(port)
    inputs.binding.inputs = [shapes[port.name.text] for port in block.definition.ports]
    unused = sorted(set(fixed) - inputs.known.keys())
    if unused:
        raise Problem(
            problems.unknown_dim(block.definition.name.span, unused[0], tuple(inputs.known))
        )
    return inputs.binding


class _Inputs:
    """The inputs of one model, found one after the other."""

    def __init__(
        self,
        body: Body,
        block: BlockDefinition,
        arguments: Arguments,
        fixed: Mapping[str, int],
        prepared: Collection[str],
    ) -> None:
        self._body = body
        self._block = block
        self._arguments = arguments
        self._fixed = fixed
        self._prepared = prepared
        self.binding = Binding([], {}, {}, {})
        self.known: dict[str, Dim] = {}
        """The sizes of what is given, by name."""
        self._called = Binding([], {}, {}, {})
        """What the signature calls the sizes of what was prepared."""

    def declared(self, port: ast.Parameter) -> InputShape:
        """An input that is given as the signature declares it."""
        written = self._full_type(port)
        dims: list[Dim] = []
        axes: list[str | None] = []
        for pattern, dim in zip(input_dims(written), written.dims or (), strict=True):
            assert not isinstance(pattern, ast.Ellipsis)
            dims.append(self._dim(pattern))
            if pattern is not dim and dims[-1].symbol_name is not None:
                self.binding.empty.add(dims[-1].symbol_name)
            axes.append(pattern.text if isinstance(pattern, ast.Name) else None)
        type_ = TensorType(dtype_named(written), tuple(dims), tuple(axes))
        return InputShape(port.name.text, type_)

    def _full_type(self, port: ast.Parameter) -> ast.Type:
        dims = (port.type.dims if port.type else None) or ()
        if (
            port.type is None
            or port.type.dims is None
            or any(isinstance(dim, ast.Ellipsis) for dim in dims)
        ):
            name = self._block.name
            raise Problem(problems.untyped_model_input(port.span, name, port.name.text))
        refuse_many_axes(port.name.text, port.type)
        return port.type

    def _dim(self, pattern: ast.Expression) -> Dim:
        sizes = self.binding.sizes
        if not self._is_bound(pattern):
            known = {**self._arguments, **sizes}
            return self._body.program.signature_size(self._block, pattern, known, self.binding)
        if pattern.text not in sizes:
            sizes[pattern.text] = self._size(pattern.text)
        return sizes[pattern.text]

    def _is_bound(self, pattern: ast.Expression | ast.Ellipsis) -> TypeGuard[ast.Name]:
        """Whether a signature names a size there."""
        if not isinstance(pattern, ast.Name) or pattern.text in self._arguments:
            return False
        return binds_dim(pattern.text, self._block.file)

    def _size(self, name: str) -> Dim:
        """A size of what is given, by its name."""
        if name not in self.known:
            is_fixed = name in self._fixed
            self.known[name] = Dim.of(self._fixed[name]) if is_fixed else Dim.symbol(name)
            if not is_fixed:
                self.binding.symbols[name] = self.known[name]
        return self.known[name]

    # --------------------------------------------------------------------- what is prepared

    def prepared(self, port: ast.Parameter, template: Template) -> InputShape | None:
        """An input that is given as its preparation takes it."""
        written, name, span = self._full_type(port), port.name.text, template.span
        kept = self._kept(input_dims(written), template)
        root = _alone(self._body, template, kept)
        if root is None:
            return None
        given, result = (root.type(each[0].value) for each in (root.inputs, root.outputs))
        sizes = {
            each: kept[each] if each in kept else self._free(each, name) for each in root.symbols
        }
        self.binding.empty.update(sizes[each].symbol_name or "" for each in root.empty)
        demands = tuple(
            demand.replaced({"condition": demand.condition.substitute(sizes)})
            for demand in root.requirements
        )
        self._suppose(demands)
        result = result.substitute(sizes)
        if result.dtype is not dtype_named(written):
            wanted = dtype_named(written).value
            raise Problem(problems.wrong_input_dtype(span, self._block.name, name, wanted, result))
        shape = typed_input(
            self._body, self._block, port, result, self._called, self._arguments, span
        )
        seen = TensorType(result.dtype, result.dims, shape.type.axes)
        self.binding.preparations[name] = Preparation(template, seen, demands)
        return InputShape(name, given.substitute(sizes))

    def _kept(
        self, written: Sequence[ast.Expression | ast.Ellipsis], template: Template
    ) -> dict[str, Dim]:
        """The sizes that a preparation leaves as they are, by its own names for them.

        They are what the model's signature says: those of the batch and of the channels, mostly.
        """
        ports, results = _definition(template).ports, _definition(template).results
        returned = results[0].type.dims if len(results) == 1 else None
        if len(ports) != 1 or ports[0].type is None or len(returned or ()) != len(written):
            return {}
        names = {dim.text for dim in input_dims(ports[0].type) if isinstance(dim, ast.Name)}
        names -= {parameter.name.text for parameter in _definition(template).parameters}
        return {
            mine.text: self._dim(pattern)
            for pattern, mine in zip(written, returned or (), strict=True)
            if isinstance(mine, ast.Name) and mine.text in names
            if isinstance(pattern, ast.Integer | ast.Name)
        }

    def _free(self, symbol: str, port: str) -> Dim:
        """A size of what a preparation is given, under its own name if nothing else has that."""
        is_taken = symbol in {*self._arguments, *self._declared_names(), *self.known}
        return self._size(f"{port}_{symbol}" if is_taken else symbol)

    def _declared_names(self) -> Iterator[str]:
        """The sizes of the inputs that are not prepared."""
        for port in self._block.definition.ports:
            if port.name.text not in self._prepared and port.type is not None:
                yield from (dim.text for dim in input_dims(port.type) if self._is_bound(dim))

    def _suppose(self, demands: Sequence[Requirement]) -> None:
        """Take for a fact what preparations demand of what they are given."""
        builder, empty = self._body.builder, self.binding.empty
        for name in self.binding.symbols:
            builder.facts = builder.facts.with_symbol(name, 0 if name in empty else 1)
        for demand in demands:
            builder.facts = builder.facts.assume(demand.condition)

    def name_sizes(self) -> None:
        """Let the signature's names mean the sizes of what was prepared."""
        symbols = self._called.symbols
        for name, size in self._called.sizes.items():
            self.binding.sizes[name] = symbols.get(name, size).without_origin()
        self.binding.demands += [
            demand.replaced({"condition": demand.condition.substitute(self.binding.sizes)})
            for demand in self._called.demands
        ]


# -------------------------------------------------------------------------------- preparations


def declared_preparations(
    body: Body, block: BlockDefinition, arguments: Arguments
) -> dict[str, Template]:
    """The blocks that a model declares its inputs to come from; `none` is none."""
    variables = {name: inside(name, value) for name, value in arguments.items()}
    env = Environment(block.file, None, variables)
    found: dict[str, Template] = {}
    for port in block.definition.ports:
        if port.preparation is None:
            continue
        value, span = body.expressions.evaluate(port.preparation, env), port.preparation.span
        if isinstance(value, Template) and isinstance(value.target, BlockDefinition):
            found[port.name.text] = replace(value, span=span)
        elif not isinstance(value, Nothing):
            reason = f"an input is prepared by a block, not by {describe(value)}"
            raise Problem(problems.bad_preparation(span, reason))
    return found


def _definition(template: Template) -> ast.Definition:
    assert isinstance(template.target, BlockDefinition)
    return template.target.definition


def _alone(body: Body, template: Template, kept: Mapping[str, Dim]) -> Block | None:
    """A preparation as a model of its own, of all sizes that it may be given here."""
    block = template.target
    assert isinstance(block, BlockDefinition)
    fixed = {name: dim.value for name, dim in kept.items() if dim.value is not None}
    program = body.program.another()
    program.is_applied = True
    model = program.model(block, template, block.name, "", fixed)
    if model is None:
        return None
    reason = _reason_against(model)
    if reason is not None:
        raise Problem(problems.bad_preparation(template.span, reason))
    return model.root


def _reason_against(model: Model) -> str | None:
    """Why a block can't prepare an input."""
    root = model.root
    if len(root.inputs) != 1 or len(root.outputs) != 1:
        counts = f"{len(root.inputs)} and {len(root.outputs)}"
        return f"a preparation has one input and one result, but `{root.name}` has {counts}"
    if any(_owns_weights(block) for block in model.blocks.values()):
        return f"a preparation has no weights, but `{root.name}` has some"
    if root.fresh:
        return f"no size that a preparation gives can depend on data, as in `{root.name}`"
    return None


def _owns_weights(block: Block) -> bool:
    return bool(block.weights) or any(member.weights for member in block.members)
