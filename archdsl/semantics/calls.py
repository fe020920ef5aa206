"""Calls: arguments bound, operators inferred, blocks specialised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from archdsl import problems
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import REGISTRY, Op, Weight
from archdsl.ir.types import MOST_AXES, DType, ShapeError, TensorType
from archdsl.semantics import statics
from archdsl.semantics.arguments import INITIALISER_SUFFIX, Arguments, Operand, Prepared
from archdsl.semantics.attributes import attribute_origins, operator_with
from archdsl.semantics.fixes import mends
from archdsl.semantics.geometry import QUESTIONS
from archdsl.semantics.initialisers import INITIALISERS, initialiser, misfit
from archdsl.semantics.parameters import bind_parameters
from archdsl.semantics.problem import Problem
from archdsl.semantics.scope import Environment
from archdsl.semantics.specialise import apply_block
from archdsl.semantics.statics import StaticError
from archdsl.semantics.values import (
    UNKNOWN,
    BlockDefinition,
    Evaluated,
    Given,
    Initialiser,
    Instance,
    Items,
    Real,
    StaticFunction,
    Template,
    Tensor,
    Tensors,
    Truth,
    Unknown,
    describe,
)
from archdsl.sizes.dims import Dim
from archdsl.source import Span
from archdsl.syntax import ast

if TYPE_CHECKING:
    from archdsl.semantics.body import Body


Applicable = Template | Instance | StaticFunction | Initialiser | Unknown
"""What a call can be a call of."""


class Calls:
    """Calls and applications of one block."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self.arguments = Arguments(body)

    # ------------------------------------------------------------------------- calls as written

    def call(self, node: ast.Call, env: Environment) -> Evaluated:
        """The value of `f(…)` where nothing is piped in."""
        function = self._function(node, env)
        if isinstance(function, Unknown):
            return UNKNOWN
        if isinstance(function, Initialiser):
            return self.arguments.initialiser_call(node, env)
        if isinstance(function, StaticFunction):
            if function.name in QUESTIONS:
                return QUESTIONS[function.name](self._body, function, node, env)
            return self._static(function, node, env)
        first: Evaluated | None = None
        if isinstance(function, Template) and self._has_static_twin(function, node):
            first = self._body.expressions.evaluate(node.arguments[0].value, env)
            if isinstance(first, Dim | Real | Items):
                return self._static(StaticFunction(function.name), node, env, first)
        prepared = self.arguments.prepare(function, node, env, piped=False, first=first)
        if prepared.failed:
            return UNKNOWN
        if prepared.has_inputs or self._needs_nothing(prepared):
            return self._apply_prepared(prepared, (), None)
        return self._template(prepared)

    def stage(
        self,
        node: ast.Expression,
        piped: Sequence[Tensor | Unknown],
        label: str | None,
        env: Environment,
    ) -> Evaluated:
        """Apply what stands after an arrow to what is piped in."""
        if isinstance(node, ast.Call):
            function = self._function(node, env)
            if isinstance(function, StaticFunction | Initialiser) and isinstance(
                node.function, ast.Name
            ):
                function = self._operator_of(node.function) or function
            if isinstance(function, Unknown):
                return UNKNOWN
            if isinstance(function, Template | Instance):
                prepared = self.arguments.prepare(function, node, env, piped=True)
                return UNKNOWN if prepared.failed else self._apply_prepared(prepared, piped, label)
        value = self._body.expressions.evaluate(node, env)
        return self.apply(value, piped, label, node.span)

    def apply(
        self, value: Evaluated, piped: Sequence[Tensor | Unknown], label: str | None, span: Span
    ) -> Evaluated:
        """Apply a layer, function or instance that was evaluated already."""
        if isinstance(value, Unknown):
            return UNKNOWN
        if not isinstance(value, Template | Instance):
            raise Problem(problems.not_a_layer(span, describe(value)))
        return self._apply_prepared(Prepared(value, span), piped, label)

    def tensor_function(self, name: str, operands: Sequence[Evaluated], span: Span) -> Evaluated:
        """Apply an operator's function form to tensors and static numbers."""
        prepared = Prepared(Template(REGISTRY[name], span), span)
        for operand in operands:
            prepared.add(operand, span)
        return self._apply_prepared(prepared, (), None)

    # --------------------------------------------------------------------------- what is called

    def _function(self, node: ast.Call, env: Environment) -> Applicable:
        if isinstance(node.function, ast.Name) and env.find(node.function.text) is None:
            name = node.function.text
            if name in INITIALISERS and name not in REGISTRY:
                return Initialiser(initialiser(name, (), {}, node.span))
        function = self._body.expressions.evaluate(node.function, env)
        if isinstance(function, Template | Instance | StaticFunction | Initialiser | Unknown):
            return function
        raise Problem(problems.not_callable(node.function.span, describe(function)))

    def _operator_of(self, name: ast.Name) -> Template | None:
        operator = REGISTRY.get(name.text)
        return Template(operator, name.span) if operator else None

    def _has_static_twin(self, function: Template, node: ast.Call) -> bool:
        """Whether this may be the static function of an operator's name, as in `max(3, C)`."""
        if not isinstance(node.function, ast.Name):
            return False
        name = node.function.text
        if name not in statics.FUNCTIONS or function.target is not REGISTRY.get(name):
            return False
        return bool(node.arguments) and not any(argument.name for argument in node.arguments)

    def _static(
        self,
        function: StaticFunction,
        node: ast.Call,
        env: Environment,
        first: Evaluated | None = None,
    ) -> Evaluated:
        """A static function's value; `first` is its first argument, if that is known."""
        values = [] if first is None else [first]
        for argument in node.arguments[len(values) :]:
            if argument.name is not None:
                key = argument.name.text
                raise Problem(problems.unknown_argument(argument.span, function.name, key, ()))
            values.append(self._body.expressions.evaluate(argument.value, env))
        if any(isinstance(value, Unknown) for value in values):
            return UNKNOWN
        return self._compute(function.name, values, node.span)

    def _compute(self, name: str, values: list[Evaluated], span: Span) -> Evaluated:
        if name in statics.DIVISIONS and isinstance(values[-1], Dim):
            self._body.builder.divide(values[-1], span)
        try:
            return statics.FUNCTIONS[name](*values)
        except StaticError as error:
            raise Problem(problems.static_error(span, str(error))) from None
        except TypeError:
            raise Problem(
                problems.static_error(span, f"`{name}` does not take {len(values)} arguments")
            ) from None

    def _template(self, prepared: Prepared) -> Template | Instance:
        if isinstance(prepared.target, Instance):
            raise Problem(problems.instance_arguments(prepared.span, prepared.target.path))
        before = prepared.target
        return Template(
            before.target,
            prepared.span,
            before.positional + prepared.statics(),
            {**before.keywords, **prepared.keywords},
            constructed=True,
            as_layer=before.as_layer,
        )

    def _needs_nothing(self, prepared: Prepared) -> bool:
        if isinstance(prepared.target, Instance):
            return False
        target = prepared.target.target
        if isinstance(target, BlockDefinition):
            return False
        is_variadic = any(name.startswith("*") for name in target.input_names())
        is_layer = prepared.target.as_layer
        return not is_layer and not is_variadic and target.required_inputs() == 0

    # ------------------------------------------------------------------------------ application

    def _apply_prepared(
        self, prepared: Prepared, piped: Sequence[Tensor | Unknown], label: str | None
    ) -> Evaluated:
        operands, statics = prepared.assigned(piped)
        path: str | None = None
        template = prepared.target
        if isinstance(template, Instance):
            if not prepared.is_bare:
                raise Problem(problems.instance_arguments(prepared.span, template.path))
            if label is not None:
                reason = f"`{template.path}` has its label already: it was bound to that name"
                raise Problem(problems.bad_label(prepared.span, reason))
            path, template = template.path, template.template
        positional = template.positional + statics
        keywords = {**template.keywords, **prepared.keywords}
        merged = replace(template, positional=positional, keywords=keywords, span=prepared.span)
        if any(isinstance(operand, Unknown) for operand, _ in operands):
            self._check_arguments(merged)
            return UNKNOWN
        if isinstance(merged.target, BlockDefinition):
            tensors = self._tensors_only(operands)
            return apply_block(self._body, merged.target, merged, tensors, label, path)
        return self._apply_operator(merged.target, merged, operands, label, path)

    def _check_arguments(self, template: Template) -> None:
        """Find what is wrong with the arguments alone, where the input failed already."""
        if isinstance(template.target, BlockDefinition):
            bind_parameters(self._body, template.target, template)
            return
        _, keywords = self._split_initialisers(template.target, template)
        operator_with(template.target, template.name, template.positional, keywords, template.span)

    def _tensors_only(self, operands: Sequence[Operand]) -> list[Tensor]:
        for operand, span in operands:
            if not isinstance(operand, Tensor):
                raise Problem(problems.wrong_kind(span, "a tensor", describe(operand)))
        return [operand for operand, _ in operands if isinstance(operand, Tensor)]

    def _apply_operator(
        self,
        operator: type[Op],
        template: Template,
        operands: list[Operand],
        label: str | None,
        path: str | None,
    ) -> Evaluated:
        positional = template.positional
        inits, keywords = self._split_initialisers(operator, template)
        op = operator_with(operator, template.name, positional, keywords, template.span)
        if operator.divisor is not None and len(operands) > operator.divisor:
            divisor, place = operands[operator.divisor]
            if isinstance(divisor, Dim):
                self._body.builder.divide(divisor, place)
        tensors = self._as_tensors(operands)
        self._check_arity(operator, template, len(tensors))
        types = [self._body.builder.type(tensor) for tensor in tensors]
        results, fresh = self._infer(op, template, types, tensors)
        origins = attribute_origins(operator, positional, keywords)
        span = template.span
        if template.as_layer:
            path = path or self._body.builder.claim(label, span)
            self._body.builder.check_same(path, op.placed(*types), span)
            if path not in self._body.builder.members:
                weights = self._initialised(op, template, types, inits)
                self._body.builder.add_member(path, span, weights=weights)
            else:
                self._check_shared(op, types, path, span)
        elif label is not None:
            raise Problem(problems.label_on_function(span, label, template.name))
        builder = self._body.builder
        member = path if template.as_layer else None
        outputs = builder.add_op(
            op, tensors, results, span, member=member, origins=origins, fresh=fresh
        )
        self._body.program.count_nodes(1, span)
        return outputs[0] if len(outputs) == 1 else Tensors(outputs, op.leading_outputs)

    def _as_tensors(self, operands: Sequence[Operand]) -> list[Tensor]:
        """Operands as tensors; numbers become constants of their partner's element type."""
        dtypes = [
            self._body.builder.type(operand).dtype
            for operand, _ in operands
            if isinstance(operand, Tensor)
        ]
        return [
            operand if isinstance(operand, Tensor) else self._constant(operand, dtypes, span)
            for operand, span in operands
        ]

    def _constant(self, value: Evaluated, dtypes: list[DType], span: Span) -> Tensor:
        if not isinstance(value, Dim | Real | Truth):
            raise Problem(problems.wrong_kind(span, "a tensor or a number", describe(value)))
        dtype = scalar_dtype(value, dtypes)
        number = value if isinstance(value, Dim) and value.value is None else _plain(value)
        op = REGISTRY["constant"].model_validate({"value": number, "dtype": dtype})
        given = Given(value, span)
        origins = attribute_origins(REGISTRY["constant"], (), {"value": given})
        results, _ = self._infer(op, Template(type(op), span), [], [])
        return self._body.builder.add_op(op, (), results, span, origins=origins)[0]

    def _check_arity(self, operator: type[Op], template: Template, count: int) -> None:
        names = operator.input_names()
        needed = operator.required_inputs()
        variadic = any(name.startswith("*") for name in names)
        if count < needed or (count > len(names) and not variadic):
            fewest = None if variadic else needed
            raise Problem(
                problems.wrong_input_count(template.span, template.name, names, count, fewest)
            )

    def _infer(
        self, op: Op, template: Template, types: list[TensorType], tensors: list[Tensor]
    ) -> tuple[tuple[TensorType, ...], tuple[str, ...]]:
        """The types of the outputs, and the names of the sizes that come to be there."""
        builder = self._body.builder
        check = Obligations(builder.facts, named=builder.size_name)
        try:
            results = op.output_types(check, *types)
        except ShapeError as error:
            self._check_weight(template, types)
            faulty = error.inputs or tuple(range(len(tensors)))
            chains = [builder.chain(tensors[index]) for index in faulty if index < len(tensors)]
            ways = mends(self._body, op, types, tensors, error)
            raise Problem(
                problems.shape_error(template.span, template.name, error, types, chains, ways)
            ) from None
        self._check_size(results, template)
        for condition, message in check.deferred:
            builder.require(condition, f"{template.name}: {message}", template.span)
        builder.admit(check.born, template.span)
        return results, tuple(size.name for size in check.born)

    def _check_weight(self, template: Template, types: Sequence[TensorType]) -> None:
        """A number where a function takes its weight was meant for the layer."""
        layers = (name for name in REGISTRY if name.lower() == template.name != name)
        layer = next(layers, None)
        if layer is None or REGISTRY[layer] is REGISTRY[template.name]:
            return
        if any(type.rank == 0 for type in types[1:]):
            raise Problem(problems.function_without_weight(template.span, template.name, layer))

    def _check_size(self, results: Sequence[TensorType], template: Template) -> None:
        """Many outputs cost steps; what has more axes than PyTorch takes is refused."""
        self._body.program.step(template.span, len(results))
        most = max((result.rank for result in results), default=0)
        if most > MOST_AXES:
            raise Problem(problems.too_many_axes(template.span, template.name, most, MOST_AXES))

    # ------------------------------------------------------------------------------- weights

    def _split_initialisers(
        self, operator: type[Op], template: Template
    ) -> tuple[dict[str, Given], dict[str, Given]]:
        inits: dict[str, Given] = {}
        keywords: dict[str, Given] = {}
        for key, given in template.keywords.items():
            is_init = isinstance(given.value, Initialiser) and key.endswith(INITIALISER_SUFFIX)
            (inits if is_init and key not in operator.model_fields else keywords)[key] = given
        return inits, keywords

    def _initialised(
        self, op: Op, template: Template, types: list[TensorType], inits: dict[str, Given]
    ) -> tuple[Weight, ...]:
        weights = op.weights(*types)
        by_key = {weight.name + INITIALISER_SUFFIX: weight for weight in weights}
        for key, given in inits.items():
            if key not in by_key:
                raise Problem(
                    problems.unknown_argument(given.span, template.name, key, tuple(by_key))
                )
            assert isinstance(given.value, Initialiser)
            reason = misfit(given.value.init, by_key[key].dims, by_key[key].dtype)
            if reason is not None:
                raise Problem(problems.bad_attribute(given.span, template.name, key, reason))
        return tuple(
            replace(weight, init=inits[key].value.init) if key in inits else weight  # pyright: ignore
            for key, weight in by_key.items()
        )

    def _check_shared(self, op: Op, types: list[TensorType], path: str, span: Span) -> None:
        """An instance applied again must need the very weights that it has."""
        before = {w.name: w.dims for w in self._body.builder.members[path].weights}
        now = {w.name: w.dims for w in op.weights(*types)}
        for name, dims in now.items():
            if before.get(name) != dims:
                raise Problem(problems.shared_weights_differ(span, path, name, before, now))


def scalar_dtype(value: Dim | Real | Truth, partners: Sequence[DType]) -> DType:
    """The element type of a number among tensors, by torch's promotion of Python scalars."""
    floating = [dtype for dtype in partners if dtype.is_floating]
    if floating:
        return floating[0]
    if isinstance(value, Real):
        return DType.FLOAT32
    integers = [dtype for dtype in partners if dtype.is_integer]
    if isinstance(value, Dim):
        return integers[0] if integers else DType.INT64
    return integers[0] if integers else DType.BOOL


def _plain(value: Dim | Real | Truth) -> int | float | bool:
    if isinstance(value, Dim):
        assert value.value is not None
        return value.value
    return value.value
