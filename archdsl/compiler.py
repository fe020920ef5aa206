"""One text and its phases, each computed once: read, parsed, expanded, checked."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import archdsl.ops  # noqa: F401  # pyright: ignore[reportUnusedImport]  (fills the registry)
from archdsl import problems
from archdsl.diagnostics import Diagnostics, InternalError
from archdsl.gc_pause import uncollected
from archdsl.ir.model import Model
from archdsl.limits import LimitExceeded, Limits
from archdsl.semantics.body import Body
from archdsl.semantics.builder import BlockBuilder
from archdsl.semantics.expectations import check_expectations
from archdsl.semantics.files import Files, read_source, resolved
from archdsl.semantics.problem import Problem
from archdsl.semantics.program import Program
from archdsl.semantics.scope import Environment, FileScope
from archdsl.semantics.values import (
    BlockDefinition,
    Evaluated,
    Given,
    Items,
    Real,
    Template,
    Text,
    Truth,
)
from archdsl.sizes.dims import Dim, DimOverflow, DimTooComplex
from archdsl.source import Source, Span
from archdsl.syntax import ast

Setting = int | float | bool | str | list["Setting"]


class Compilation:
    """A text under compilation; problems gather in `diagnostics`, nothing raises for them."""

    def __init__(
        self,
        source: Source | Path,
        *,
        model: str | None = None,
        settings: Mapping[str, Setting] | None = None,
        dims: Mapping[str, int] | None = None,
        limits: Limits | None = None,
        preprocessing: bool = False,
    ) -> None:
        self._given = source
        self._wanted = model
        self._settings = dict(settings or {})
        self.fixed_dims = dict(dims or {})
        self.limits = limits or Limits()
        self.diagnostics = Diagnostics()
        place = resolved(source) if isinstance(source, Path) else None
        self._root = None if place is None else place.parent
        self.files = Files(self.diagnostics, self.limits, self._root)
        self.program = Program(
            self.files, self.diagnostics, self.limits, preprocessing=preprocessing
        )

    @property
    def name(self) -> str:
        """The name of the text."""
        return self._given.name

    @cached_property
    def file(self) -> FileScope | None:
        """The declarations of the file and of what it imports."""
        with uncollected():
            return self._read()

    def _read(self) -> FileScope | None:
        source = self._given
        if isinstance(source, Path):
            read = read_source(source, source.name, self.diagnostics, self.limits, None)
            return None if read is None else self.files.load(read, self._root)
        return self.files.load(source, None)

    @cached_property
    def model_names(self) -> tuple[str, ...]:
        """Models of the file that can be built: families, and models without open parameters."""
        if self.file is None:
            return ()
        names = [
            name
            for name, block in self.file.blocks.items()
            if block.definition.kind == "model" and block.file is self.file
            and all(p.default or p.name.text in self._settings for p in block.definition.parameters)
        ]  # fmt: skip
        return (*names, *self.file.families)

    @cached_property
    def model(self) -> Model | None:
        """The expanded, inferred and proved model; None when there are errors."""
        if self.file is None:
            return None
        chosen = self._chosen(self.file)
        if chosen is None or self.diagnostics.errors > self.files.syntax_errors:
            return None
        try:
            with uncollected():
                model = self._expand(self.file, chosen)
            if model is not None:
                return model
        except Problem as problem:
            self.diagnostics.add(problem.diagnostic)
        except (DimTooComplex, DimOverflow) as error:
            self.diagnostics.add(problems.static_error(None, str(error)))
        except LimitExceeded:
            pass  # reported where it was exceeded
        if not self.diagnostics.has_errors:
            raise InternalError("a model failed without a reason")
        return None

    @property
    def prepares(self) -> bool:
        """Whether an input of the model declares how it is prepared."""
        return bool(self.program.preparations)

    def variant(self, model: str, *, preprocessing: bool = False) -> Compilation:
        """The compilation of another model of the same file; it adds to the same diagnostics.

        With preprocessing nothing is fixed: the dims from outside are those of the network.
        """
        other = Compilation(
            self._given,
            model=model,
            settings=self._settings,
            dims={} if preprocessing else self.fixed_dims,
            limits=self.limits,
        )
        other.diagnostics, other.files = self.diagnostics, self.files
        other.program = self.program.another(preprocessing=preprocessing)
        other.__dict__["file"] = self.file
        other.__dict__["model_names"] = self.model_names
        return other

    def check(self) -> Diagnostics:
        """All diagnostics, those of `expect` included, which tell of the network alone."""
        model = self.model
        alone = not self.program.preprocessing
        if model is not None and alone and not self.diagnostics.has_errors:
            check_expectations(self, model)
        return self.diagnostics

    # --------------------------------------------------------------------------- choosing

    def _chosen(self, file: FileScope) -> str | None:
        names = self.model_names
        if self.files.syntax_errors and (self._wanted or "") not in names:
            return None  # it may stand in what could not be read
        if self._wanted is not None:
            block = file.blocks.get(self._wanted)
            if self._wanted in file.families or (block and block.definition.kind == "model"):
                return self._wanted
            self.diagnostics.add(problems.unknown_model(None, self._wanted, names))
            return None
        stem = Path(self.name).stem
        if stem in names:
            return stem
        if len(names) == 1:
            return names[0]
        if not names:
            self.diagnostics.add(problems.no_model(self.name))
        else:
            self.diagnostics.add(problems.ambiguous_model(self.name, names))
        return None

    def _expand(self, file: FileScope, name: str) -> Model | None:
        family = file.families.get(name)
        if family is None:
            block = file.blocks[name]
            template = Template(block, block.definition.name.span, constructed=True)
            return self._expand_block(block, template, name, "")
        env = Environment(file)
        scratch = Body(self.program, BlockBuilder(self.diagnostics))
        value = scratch.expressions.evaluate(family.value, env)
        if not isinstance(value, Template) or not isinstance(value.target, BlockDefinition):
            raise Problem(problems.not_a_family(family.value.span))
        return self._expand_block(value.target, value, name, family.doc)

    def _expand_block(
        self, block: BlockDefinition, template: Template, name: str, doc: str
    ) -> Model | None:
        span = template.span
        settings = {key: Given(_evaluated(item), span) for key, item in self._settings.items()}
        positional = template.positional
        declared = [parameter.name.text for parameter in block.definition.parameters]
        keywords = {
            **dict(zip(declared, positional, strict=False)),
            **template.keywords,
            **settings,
        }
        filled = Template(block, span, (), keywords, constructed=True, as_layer=True)
        return self.program.model(block, filled, name, doc, self.fixed_dims)

    def expectations(self, name: str) -> list[tuple[ast.Expect, Environment]]:
        """The `expect`s that hold for a model, each with the names it sees."""
        body, env = self.program.root_body, self.program.root_environment
        if body is None or env is None or self.file is None:
            return []
        found = [(expect, env) for expect in body.expectations]
        family = self.file.families.get(name)
        if family is not None and not self._settings:
            found += [(s, env) for s in family.body if isinstance(s, ast.Expect)]
        return found


def _evaluated(value: Setting) -> Evaluated:
    if isinstance(value, bool):
        return Truth(value)
    if isinstance(value, int):
        return Dim.of(value)
    if isinstance(value, float):
        return Real(value)
    if isinstance(value, str):
        return Text(value)
    return Items(tuple(_evaluated(item) for item in value))


def compile_text(text: str, name: str = "text.arch", model: str | None = None) -> Compilation:
    """A compilation of a text that is not in a file."""
    return Compilation(Source(name, text), model=model)


__all__ = ["Compilation", "Setting", "Span", "compile_text"]
