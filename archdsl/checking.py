"""`check`: finds the spec, compiles it, and collects every diagnostic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from archdsl import problems
from archdsl.compiler import Compilation, Setting
from archdsl.diagnostics import ArchError, Diagnostic, Diagnostics, Severity
from archdsl.ir.model import Model
from archdsl.limits import Limits
from archdsl.render import report
from archdsl.resources import shipped_models, spec_files
from archdsl.source import Source, Sources, Span

if TYPE_CHECKING:
    from archdsl.passes.input_requirements import Demand

Spec = str | PathLike[str]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What checking a spec found; iterates over its diagnostics."""

    diagnostics: tuple[Diagnostic, ...]
    sources: Sources
    models: tuple[str, ...]
    """The models that were checked."""
    compiled: tuple[Model, ...] = ()
    """Those of them that have no error."""

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return all(item.severity is not Severity.ERROR for item in self.diagnostics)

    @property
    def verdict(self) -> str:
        """One line for people."""
        if not self.models:
            return "fine (declares no model)"
        return f"fine ({', '.join(self.models)})"

    def demands(self) -> Mapping[str, tuple[Demand, ...]]:
        """What the inputs of each model must satisfy, and which operator needs it."""
        if not any(model.root.requirements for model in self.compiled):
            return {model.name: () for model in self.compiled}
        from archdsl.passes.input_requirements import demands

        return {model.name: demands(model) for model in self.compiled}

    def needs(self) -> Mapping[str, tuple[str, ...]]:
        """The demands in words, each with the models that make it."""
        found = dict[str, tuple[str, ...]]()
        demanded = self.demands()
        for model in self.compiled:
            for each in demanded[model.name]:
                place = self._place(each.span, model)
                sentence = problems.demand(each.condition, each.operator, place)
                found[sentence] = (*found.get(sentence, ()), model.name)
        return found

    def _place(self, span: Span, model: Model) -> str:
        line = f"line {self.sources[span.file].place(span.start).line}"
        return line if span.file == model.root.span.file else f"{line} of {span.file}"

    def __str__(self) -> str:
        return report(self.diagnostics, self.sources)


def check(
    spec: Spec,
    model: str | None = None,
    *,
    dims: Mapping[str, int] | None = None,
    limits: Limits | None = None,
    **params: Setting,
) -> CheckResult:
    """Everything that is wrong with a spec: a path, a shipped model's name, or a text.

    A file is checked with every model that it declares, unless one is chosen.
    """
    return checked(spec, model, params, dims=dims, limits=limits)


def checked(
    spec: Spec,
    model: str | None,
    settings: Mapping[str, Setting],
    *,
    dims: Mapping[str, int] | None = None,
    limits: Limits | None = None,
) -> CheckResult:
    """As `check`, for parameters of any name."""
    source, chosen = located(spec, model)
    first = Compilation(source, model=chosen, settings=settings, dims=dims, limits=limits)
    names = (chosen,) if chosen else first.model_names
    variants = [first.variant(name) for name in names]
    for variant, name in zip(variants, names, strict=True):
        variant.check()
        if variant.model is not None and variant.prepares:
            variant.variant(name, preprocessing=True).check()
    file = first.file
    if file is not None and not (names or file.blocks or first.files.syntax_errors):
        first.diagnostics.add(problems.no_model(first.name))
    compiled = tuple(variant.model for variant in variants if variant.model is not None)
    return CheckResult(tuple(first.diagnostics), first.files.sources, names, compiled)


def located(spec: Spec, model: str | None) -> tuple[Source | Path, str | None]:
    """The file or text a spec names, and the model it names with it."""
    if isinstance(spec, str):
        if "\n" in spec:
            return Source("text.arch", spec), model
        if not _exists(spec) and "/" not in spec and not spec.endswith(".arch"):
            return _shipped(spec, model)
    return Path(spec), model


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:
        return False


def _shipped(name: str, model: str | None) -> tuple[Path, str | None]:
    stems = {path.stem: path for path in spec_files()}
    models = shipped_models()
    if name in stems:
        return stems[name], model
    if name in models:
        return models[name], model or name
    known = sorted({*stems, *models})
    diagnostics = Diagnostics([problems.unknown_spec(name, known)])
    raise error_of(diagnostics, {})


def error_of(diagnostics: Diagnostics, sources: Sources) -> ArchError:
    """Diagnostics as an error, whose text is the report."""
    found = tuple(diagnostics)
    return ArchError(found, report(found, sources), sources)
