"""Declared weights (`param`, `buffer`), reading them, and their aliases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from archdsl import problems
from archdsl.ir.model import Block, Borrowed, Member, SecondName
from archdsl.ir.op import REGISTRY, ZEROS, Init, Weight
from archdsl.ir.types import TensorType
from archdsl.semantics.initialisers import initialiser_of, misfit
from archdsl.semantics.problem import Problem
from archdsl.semantics.scope import Environment
from archdsl.semantics.specialise import dtype_named, refuse_many_axes
from archdsl.semantics.values import UNKNOWN, Tensor, Unknown
from archdsl.sizes.dims import Dim
from archdsl.source import Span
from archdsl.syntax import ast

if TYPE_CHECKING:
    from archdsl.semantics.body import Body


class Weights:
    """The weights of one block under expansion."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._builder = body.builder
        self._program = body.program

    def declare(self, statement: ast.WeightDeclaration, env: Environment) -> None:
        """`param` and `buffer`: a weight of the block's own, or a second name of another."""
        variable = statement.name.text
        type = self._declared_type(statement, env)
        if type is None:
            env.variables[variable] = UNKNOWN
            return
        init = ZEROS
        if statement.value is not None:
            value = self._body.arguments.beginning(statement.value, env)
            if isinstance(value, Tensor):
                self._tie(statement, statement.value, value, type)
                env.variables[variable] = value
                return
            if not isinstance(value, Unknown):
                init = initialiser_of(value, statement.value.span)
        self._check(statement, init, type)
        path = self._builder.claim(variable, statement.name.span)
        self._builder.weights.append(Weight(path, type.dims, init, type.dtype, statement.kind))
        env.variables[variable] = self._borrowed(path, type, statement.name)

    def _declared_type(
        self, statement: ast.WeightDeclaration, env: Environment
    ) -> TensorType | None:
        refuse_many_axes(statement.name.text, statement.type)
        dims: list[Dim] = []
        axes: list[str | None] = []
        for dim in statement.type.dims or ():
            if isinstance(dim, ast.Ellipsis):
                raise Problem(problems.wrong_kind(dim.span, "a size", "`...`"))
            size = self._body.expressions.integer(dim, env)
            if size is None:
                return None
            dims.append(size)
            axes.append(dim.text if isinstance(dim, ast.Name) else None)
        return TensorType(dtype_named(statement.type), tuple(dims), tuple(axes))

    def _check(self, statement: ast.WeightDeclaration, init: Init, type: TensorType) -> None:
        name, span, dtype = statement.name.text, statement.span, type.dtype
        if statement.kind == "parameter" and not dtype.is_floating:
            reason = f"must be floating point to be trained, but is {dtype}; make it a `buffer`"
            raise Problem(problems.bad_attribute(span, name, "type", reason))
        if any(dim.value is not None and dim.value < 1 for dim in type.dims):
            reason = f"must have sizes of at least 1, but has [{', '.join(map(str, type.dims))}]"
            raise Problem(problems.bad_attribute(span, name, "type", reason))
        reason = misfit(init, type.dims, dtype)
        if reason is not None:
            place = statement.value.span if statement.value is not None else span
            raise Problem(problems.bad_attribute(place, name, "initialiser", reason))

    def _borrowed(self, path: str, type: TensorType, name: ast.Name) -> Tensor:
        tensor = self._builder.add_value(type, name.span, name.text)
        self._builder.borrowed.append(Borrowed(path=path, value=tensor.index))
        return tensor

    # --------------------------------------------------------------------------- second names

    def _tie(
        self,
        statement: ast.WeightDeclaration,
        given: ast.Expression,
        tensor: Tensor,
        type: TensorType,
    ) -> None:
        """Let a weight stand in the state dict under this name too."""
        name, span = statement.name.text, statement.name.span
        borrowed = [each.path for each in self._builder.borrowed if each.value == tensor.index]
        weight = self._program.find_weight(self._builder, borrowed[0]) if borrowed else None
        if weight is None:
            reason = "must be an initialiser or a weight as it is, not what is computed"
            raise Problem(problems.bad_attribute(given.span, name, "value", reason))
        wanted = TensorType(weight.dtype, weight.dims, (None,) * len(weight.dims))
        if (statement.kind, type.dtype, type.dims) != (weight.kind, weight.dtype, weight.dims):
            reason = f"must be that of `{borrowed[0]}`, which is the {weight.kind} {wanted}"
            raise Problem(problems.bad_attribute(statement.span, name, "type", reason))
        owner = self._roomy_owner(self._builder.names.prefix + name, span)
        path = self._builder.claim(name, span, under=owner)
        self._builder.second_names.append(
            SecondName(path=path, weight=borrowed[0], kind=weight.kind)
        )

    def _roomy_owner(self, path: str, span: Span) -> str | None:
        """The block's instance under which a path stands, if any; it must have room there."""
        for member in self._builder.members.values():
            if member.block is not None and path.startswith(f"{member.path}."):
                first, _, _ = path.removeprefix(f"{member.path}.").partition(".")
                if first in names_of(self._program.blocks[member.block]):
                    reason = f"`{member.path}` has a `{first}` of its own"
                    raise Problem(problems.bad_label(span, reason))
                return member.path
        return None

    # ------------------------------------------------------------------------ weights as values

    def called(self, path: str, span: Span) -> Tensor | Unknown:
        """A weight as a tensor, by its path in this scope, or else in this block.

        Where something failed before, its layer may be missing for that.
        """
        prefix = self._builder.names.prefix
        inside = self._borrow(prefix + path, span) if prefix else None
        tensor = inside or self._borrow(path, span)
        if tensor is None and self._body.failed:
            return UNKNOWN
        if tensor is None:
            known = self._program.weight_paths(self._builder)
            raise Problem(problems.unknown_weight(span, path, known, REGISTRY))
        return tensor

    def _borrow(self, path: str, span: Span) -> Tensor | None:
        builder = self._builder
        path = first_name(
            self._program.blocks, builder.second_names, builder.members.values(), path
        )
        for item in builder.borrowed:
            if item.path == path:
                return Tensor(item.value)
        weight = self._program.find_weight(builder, path)
        if weight is None:
            return None
        type = TensorType(weight.dtype, weight.dims, (None,) * len(weight.dims))
        return self._borrowed(path, type, ast.Name(span, ""))


def names_of(block: Block) -> set[str]:
    """What stands in a block: the first labels of its weights and members, and its parameters."""
    paths = [weight.name for weight in block.weights]
    paths += [member.path for member in block.members]
    paths += [each.path for each in block.second_names]
    return {path.partition(".")[0] for path in paths} | {each.name for each in block.arguments}


def first_name(
    blocks: Mapping[str, Block],
    second_names: Sequence[SecondName],
    members: Iterable[Member],
    path: str,
) -> str:
    """The path that a weight is owned under, by that path or by a second name."""
    for each in second_names:
        if each.path == path:
            return each.weight
    for member in members:
        if member.block is not None and path.startswith(f"{member.path}."):
            block, rest = blocks[member.block], path.removeprefix(f"{member.path}.")
            inner = first_name(blocks, block.second_names, block.members, rest)
            return f"{member.path}.{inner}"
    return path
