"""Proves that a block returns what its signature declares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from archdsl import problems
from archdsl.ir.model import Port
from archdsl.ir.obligations import FreshSize
from archdsl.ir.types import TensorType
from archdsl.semantics.problem import Problem
from archdsl.semantics.scope import Environment, ReturnedValue
from archdsl.semantics.specialise import binds_dim, dtype_named, spread
from archdsl.semantics.values import BlockDefinition
from archdsl.semantics.written_sizes import written_size
from archdsl.sizes.conditions import Compare
from archdsl.sizes.dims import Dim, ceildiv
from archdsl.syntax import ast

if TYPE_CHECKING:
    from archdsl.semantics.body import Body


class Results:
    """Checks the results of one block."""

    def __init__(self, body: Body, definition: ast.Definition) -> None:
        self._body = body
        self._definition = definition
        self._wanted: dict[str, str] = {}
        """What sizes from data are called by the signature."""

    def check(self, returned: list[ReturnedValue], env: Environment) -> list[ReturnedValue]:
        """Prove that what is returned has the declared types; name the outputs."""
        results = self._definition.results
        if not results:
            return returned
        if len(results) != len(returned):
            place = self._definition.name.span
            raise Problem(problems.wrong_result_count(place, len(results), len(returned)))
        named: list[ReturnedValue] = []
        for result, item in zip(results, returned, strict=True):
            declared = result.name.text if result.name else None
            if declared and item.name and declared != item.name:
                raise Problem(problems.result_name_differs(item.span, declared, item.name))
            if result.training != item.training:
                raise Problem(problems.result_training_differs(item.span, result.training))
            self._check_type(result, item, env)
            named.append(ReturnedValue(declared or item.name, item.value, item.training, item.span))
        self._body.builder.rename_sizes(self._wanted)
        return named

    def _named(self, name: str, actual: Dim, item: ReturnedValue) -> Dim:
        """The size that a result gives a name to: one from data is called that from now on."""
        builder = self._body.builder
        if not self._is_fresh(actual):
            return actual
        symbol = actual.symbol_name
        if symbol is None:
            symbol = builder.size_name(name)
            size = actual.without_origin()
            builder.admit([FreshSize(symbol, size)], item.span)
            builder.facts = builder.facts.assume(Compare(Dim.symbol(symbol), "==", size))
        self._wanted.setdefault(symbol, name)
        return Dim.symbol(symbol)

    def _is_fresh(self, size: Dim) -> bool:
        return not size.symbols.isdisjoint(size.name for size in self._body.builder.fresh)

    def _check_type(self, result: ast.Result, item: ReturnedValue, env: Environment) -> None:
        actual = self._body.builder.type(item.value)
        declared = result.type
        if declared.dims is None:
            raise Problem(problems.unknown_type(declared.span, declared.name or ""))
        dtype = dtype_named(declared)
        if declared.name is not None and dtype is not actual.dtype:
            raise Problem(
                problems.wrong_result_dtype(item.span, declared.span, declared.name, actual)
            )
        written = spread(declared.dims, actual.rank)
        if written is None:
            text = self._body.program.text_of(declared.span)
            chain = self._body.builder.chain(item.value)
            raise Problem(problems.wrong_result_rank(item.span, declared.span, text, actual, chain))
        dims, axes = list(actual.dims), list(actual.axes)
        sizes = {parameter.name.text for parameter in self._definition.parameters}
        for position, dim in enumerate(written):
            if dim is None:
                continue
            # A parameter in a result is a size: it names only an axis that has no name yet.
            if isinstance(dim, ast.Name) and (dim.text not in sizes or axes[position] is None):
                axes[position] = dim.text
            dims[position] = self._proved(dim, actual.dims[position], actual, item, env)
        value = self._body.builder.values[item.value.index]
        type_ = TensorType(actual.dtype, tuple(dims), tuple(axes))
        self._body.builder.values[item.value.index] = type(value)(value.name, type_, value.span)

    def _proved(
        self,
        written: ast.Expression,
        actual: Dim,
        type_: TensorType,
        item: ReturnedValue,
        env: Environment,
    ) -> Dim:
        """The size as it is known from now on: a model's, and one from data, as declared."""
        is_new = isinstance(written, ast.Name) and env.find(written.text) is None
        if isinstance(written, ast.Name) and is_new and binds_dim(written.text, env.file):
            size = env.variables[written.text] = self._named(written.text, actual, item)
            return size
        declared = written_size(self._body.expressions, written, env)
        if declared is None:
            return actual
        verdict = self._body.builder.facts.prove(Compare(actual, "==", declared))
        if verdict.proved:
            is_named = self._body is self._body.program.root_body or self._is_fresh(actual)
            return declared if is_named and actual != declared else actual
        mends = self._mends(written, declared, actual, env)
        raise Problem(
            problems.signature_mismatch(
                written.span,
                item.span,
                declared,
                actual,
                type_,
                self._body.builder.chain(item.value),
                verdict.counterexample,
                mends,
            )
        )

    def _mends(
        self, written: ast.Expression, declared: Dim, actual: Dim, env: Environment
    ) -> tuple[str, ...]:
        """Ways to make a declared size true: the right expression, or what to require."""
        facts = self._body.builder.facts
        mends = [f"declare `{actual.origin}`"]
        quotient = _quotient(written)
        if quotient is None:
            divided = self._divided(written, declared, actual, env)
            return tuple(mends) if divided is None else (f"declare `{divided}`",)
        left, right = (self._body.expressions.evaluate(side, env) for side in quotient)
        texts = [self._body.program.text_of(side.span) for side in quotient]
        if not (isinstance(left, Dim) and isinstance(right, Dim)):
            return tuple(mends)
        if facts.prove(Compare(actual, "==", ceildiv(left, right))).proved:
            mends = [f"declare `ceildiv({texts[0]}, {texts[1]})`"]
        divides = Compare(left % right, "==", Dim.of(0))
        if facts.assume(divides).prove(Compare(actual, "==", declared)).proved:
            mends.append(f"or demand `require {texts[0]} % {texts[1]} == 0`")
        return tuple(mends)

    def _divided(
        self, written: ast.Expression, declared: Dim, actual: Dim, env: Environment
    ) -> str | None:
        """The actual size as the declared one divided by a parameter, such as the stride."""
        if not isinstance(written, ast.Name):
            return None
        for parameter in self._definition.parameters:
            name = parameter.name.text
            value = env.find(name)
            if not isinstance(value, Dim) or value.value is None or value.value < 2:
                continue
            rounded_up = f"ceildiv({written.text}, {name})", ceildiv(declared, value)
            rounded_down = f"{written.text} // {name}", declared // value
            for text, size in (rounded_up, rounded_down):
                if self._body.builder.facts.prove(Compare(actual, "==", size)).proved:
                    return text
        return None


def _quotient(written: ast.Expression) -> tuple[ast.Expression, ast.Expression] | None:
    """The two sides of `a // b`."""
    if isinstance(written, ast.Chain) and len(written.rest) == 1 and written.rest[0][0] == "//":
        return written.first, written.rest[0][1]
    return None


def output_ports(block: BlockDefinition, returned: Sequence[ReturnedValue]) -> tuple[Port, ...]:
    """The outputs of a block; one without a name gets a name that no input has."""
    taken: set[str] = {port.name.text for port in block.definition.ports}
    outputs: list[Port] = []
    for index, item in enumerate(returned):
        name = item.name or ("output" if len(returned) == 1 else f"output{index}")
        while item.name is None and name in taken:
            name += "_"
        if name in taken:
            raise Problem(problems.duplicate_output(item.span, name))
        taken.add(name)
        outputs.append(Port(name=name, value=item.value.index, training=item.training))
    return tuple(outputs)
