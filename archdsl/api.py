"""The Python API: `load` a spec, inspect it, build it, export it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from archdsl import problems
from archdsl.checking import CheckResult, Spec, check, error_of, located
from archdsl.compiler import Compilation, Setting
from archdsl.diagnostics import Diagnostics, GivenError
from archdsl.gc_pause import uncollected
from archdsl.ir.lowering import Unsupported
from archdsl.ir.model import Model
from archdsl.limits import Limits
from archdsl.source import Sources

if TYPE_CHECKING:
    import numpy as np
    import onnx
    import torch
    from torch import nn

    from archdsl.reports.summary import Summary
    from archdsl.sizes.conditions import Condition
    from archdsl.weights.tensor_map import Note, TensorMap

    Weights = Mapping[str, np.ndarray[Any, Any] | torch.Tensor] | nn.Module | str | PathLike[str]

__all__ = [
    "CheckResult",
    "Network",
    "Stepping",
    "Transformation",
    "check",
    "load",
    "loaded",
    "schema",
]

_OWN_TEXT = Limits(file_bytes=2**30)
"""For text that the compiler has written, whose length is bounded by that of what it was given."""


def load(
    spec: Spec,
    model: str | None = None,
    *,
    dims: Mapping[str, int] | None = None,
    limits: Limits | None = None,
    preprocessing: bool | None = False,
    **params: Setting,
) -> Network:
    """Compile a spec: a path, a shipped model's name, or a text.

    `model` chooses one of several models, `params` sets the model's parameters, `dims` fixes
    sizes of its inputs. With `preprocessing` the network begins with what its inputs declare to be
    prepared by, which is refused where none does; with None, if any does. Raises `ArchError`, whose
    text is the report, when the spec is wrong.
    """
    return loaded(spec, model, params, dims=dims, limits=limits, preprocessing=preprocessing)


def loaded(
    spec: Spec,
    model: str | None,
    settings: Mapping[str, Setting],
    *,
    dims: Mapping[str, int] | None = None,
    limits: Limits | None = None,
    preprocessing: bool | None = False,
) -> Network:
    """As `load`, for parameters of any name."""
    source, chosen = located(spec, model)
    compilation = Compilation(
        source,
        model=chosen,
        settings=settings,
        dims=dims,
        limits=limits,
        preprocessing=preprocessing is not False,
    )
    diagnostics = compilation.check()
    if compilation.model is None or diagnostics.has_errors:
        raise error_of(diagnostics, compilation.files.sources)
    if preprocessing and not compilation.prepares:
        name = compilation.model.name
        raise GivenError(f"no input of `{name}` declares how it is prepared, as by `from Block(…)`")
    return Network(compilation.model, compilation.files.sources)


def schema() -> dict[str, Any]:
    """The JSON schema of the IR."""
    return Model.model_json_schema()


@dataclass(frozen=True, slots=True)
class Transformation:
    """What a transform has made of a network, and how the tensors of both belong together."""

    network: Network
    map: TensorMap
    notes: tuple[str, ...]
    """What it did, and where."""
    dropped: tuple[str, ...]
    """The old network's tensors for which the new one has no use."""
    where: tuple[Condition, ...] = ()
    """The sizes at which the outputs are the same; else at all."""


class Network:
    """A compiled model: proved, and ready to be built, exported and looked at."""

    def __init__(self, model: Model, sources: Sources, others: Set[str] = frozenset()) -> None:
        self.ir = model
        self._sources = sources
        self._others = others
        """Weights of the model that this is a part of, which may be given and are not taken."""

    def __repr__(self) -> str:
        return f"<archdsl network {self.ir.name}>"

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()  # pyright: ignore[reportPrivateUsage]

    @cached_property
    def _source(self) -> str:
        from archdsl.backends.torch.source import emit

        with self._target("PyTorch"):
            return emit(self.ir)

    def to_source(self) -> str:
        """PyTorch source of the model; it needs nothing but torch."""
        return self._source

    def to_torch(
        self, weights: Weights | None = None, device: str | torch.device | None = None
    ) -> nn.Module:
        """The model as a module running that very source.

        `weights` is a state dict, a module that has one, or a `.safetensors` file; they must fit
        exactly. `device` may be `"meta"`.
        """
        from archdsl.backends.torch.live import load as build

        with self._target("PyTorch"):
            return build(self.ir, self._own(_state(weights)), device)

    def to_onnx(
        self,
        weights: Weights | None = None,
        *,
        opset: int | None = None,
        seed: int = 0,
        fold: bool = True,
        fuse: bool = True,
        training_outputs: bool = False,
    ) -> onnx.ModelProto:
        """The model as ONNX, in memory; see `save_onnx`."""
        from archdsl.backends.onnx import export as onnx_export

        chosen = onnx_export.DEFAULT_OPSET if opset is None else opset
        with self._exporting(chosen):
            return onnx_export.export(
                self.ir,
                self._own(_arrays(weights)),
                opset=chosen,
                seed=seed,
                fold=fold,
                fuse=fuse,
                training_outputs=training_outputs,
            )

    def save_onnx(
        self,
        path: str | PathLike[str],
        weights: Weights | None = None,
        *,
        opset: int | None = None,
        seed: int = 0,
        fold: bool = True,
        fuse: bool = True,
        training_outputs: bool = False,
        external: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Write the model as an ONNX file, atomically.

        Without `weights` they are drawn from `seed` as PyTorch would begin them. `fold` folds
        batch norms into convolutions in float64, joins and turns weights as they are read, and
        merges axes where linear maps are one node then; `fuse` makes LSTM, GRU and RNN of scans
        whose cells are these (`fused_scans` says of which). Weights that one file cannot hold, or
        with `external`, go to `path + ".data"`. Raises `ArchError` before anything is written if an
        operator has no exact form at this opset.
        """
        from archdsl.backends.onnx import export as onnx_export

        chosen = onnx_export.DEFAULT_OPSET if opset is None else opset
        with self._exporting(chosen):
            onnx_export.save(
                path,
                self.ir,
                self._own(_arrays(weights)),
                opset=chosen,
                seed=seed,
                fold=fold,
                fuse=fuse,
                training_outputs=training_outputs,
                external=external,
                progress=progress,
            )

    def _own(self, weights: Any) -> Any:
        """Weights without those that only the model has that this is a part of."""
        if weights is None or not self._others:
            return weights
        given = cast("Mapping[str, Any]", weights)
        given = given if isinstance(weights, Mapping) else _arrays(weights)
        return {name: given[name] for name in given if name not in self._others}

    @contextmanager
    def _exporting(self, opset: int) -> Generator[None]:
        """Report what has no exact form at this opset; it is found before anything is written."""
        from archdsl.backends.onnx.lower import NotExportableError

        target = f"ONNX opset {opset}"
        try:
            with self._target(target), uncollected():
                yield
        except NotExportableError as error:
            found = Diagnostics(
                [
                    problems.unsupported_by_target(
                        each.node.span if each.node else None, target, each.reason, each.help
                    )
                    for each in error.refusals
                ]
            )
            raise error_of(found, self._sources) from None

    def summary(self, depth: int | None = None, dims: Mapping[str, int] | None = None) -> Summary:
        """The tree of blocks with shapes, parameters and multiply-adds.

        `depth` levels are unfolded; `dims` fills in sizes, which turns formulas into numbers.
        """
        from archdsl.reports.summary import summarise

        return summarise(self.ir, depth, dims or {})

    def summary_with_reach(
        self, depth: int | None = None, dims: Mapping[str, int] | None = None
    ) -> Summary:
        """The summary with two columns more: strides and receptive fields on the inputs."""
        from archdsl.reports.summary import WITH_REACH, summarise

        return summarise(self.ir, depth, dims or {}, WITH_REACH)

    def expanded(self, *, unroll: bool = False) -> str:
        """The flat canonical form: loops, conditions, parameters and defaults resolved.

        `unroll` writes scans of known length out step by step.
        """
        from archdsl.backends.arch.source import emit

        with self._target("the flat form"):
            return self.transformed("unroll").network.expanded() if unroll else emit(self.ir)

    def fused(self) -> tuple[Network, TensorMap]:
        """The network with nn.LSTM, nn.GRU and nn.RNN for scans whose cells are these.

        The map makes their weights of those of this network, and takes them apart again.
        """
        change = self.transformed("fuse_recurrence")
        return change.network, change.map

    @cached_property
    def fused_scans(self) -> tuple[str, ...]:
        """What ONNX export says of the scans that it fuses."""
        from archdsl.passes.flatten import flatten
        from archdsl.passes.recurrence.fuse import fuse_recurrence_for_onnx

        with self._target("ONNX"):
            return tuple(map(self._told, fuse_recurrence_for_onnx(flatten(self.ir)).notes))

    def _told(self, note: Note) -> str:
        source = self._sources.get(note.span.file)
        line = "" if source is None else f":{source.place(note.span.start).line}"
        return note.text.replace("{place}", f"{note.span.file}{line}")

    def transformed(self, name: str, **settings: int) -> Transformation:
        """The network after a transform, by its name (see `archdsl transform`).

        `settings` are the numbers that it must be told, such as `towers=2`.
        """
        from archdsl.backends.arch.source import emit
        from archdsl.passes.flatten import inline
        from archdsl.passes.transform.transforms import apply
        from archdsl.weights.state_dict import state

        with self._target(name):
            result = apply(name, inline(self.ir), settings)
            model = self.ir.model_copy(update={"entry": "", "blocks": {"": result.block}})
            network = load(emit(model), limits=_OWN_TEXT)
        used = result.map.used
        dropped = tuple(path for path in state(self.ir) if path not in used)
        notes = tuple(map(self._told, result.notes))
        return Transformation(network, result.map, notes, dropped, result.where)

    def stepping(self, axis: str | None = None) -> Stepping:
        """The model as two: one for the steps that are given, one for a step more.

        `axis` is the size along which the steps go; without it, it is found. Raises `ArchError`
        where a step would need later ones.
        """
        from archdsl.passes.decode.split import stepping
        from archdsl.passes.decode.time_axis import StepRefusal

        try:
            with self._target("a step"):
                found = stepping(self.ir, axis)
        except StepRefusal as refusal:
            problem = problems.not_steppable(refusal.span, refusal.reason, refusal.help)
            raise error_of(Diagnostics([problem]), self._sources) from None
        return Stepping(
            self._part(found.prefill), self._part(found.step), found.states, found.fixed
        )

    def _part(self, model: Model) -> Network:
        from archdsl.weights.state_dict import second_names, state

        every, own = (state(each).keys() | second_names(each).keys() for each in (self.ir, model))
        return Network(model, self._sources, every - own)

    @contextmanager
    def _target(self, target: str) -> Generator[None]:
        """What a target cannot express exactly becomes an error with a report."""
        try:
            yield
        except Unsupported as refusal:
            found = problems.unsupported_by_target(
                refusal.span, target, refusal.reason, refusal.help
            )
            raise error_of(Diagnostics([found]), self._sources) from None


@dataclass(frozen=True, slots=True)
class Stepping:
    """A model that goes step by step: `prefill` begins with the steps given, `step` goes on.

    Both take the weights of the whole model, as a network takes its own.
    """

    prefill: Network
    step: Network
    states: Mapping[str, str]
    """For every input of `step` that is carried along, the output that is its next value."""
    fixed: Sequence[str]
    """Outputs of `prefill` that every step takes under the same names."""

    def parts(self, path: str | PathLike[str]) -> tuple[tuple[Network, Path], tuple[Network, Path]]:
        """Both with the files that they go to: `NAME.onnx` is divided into two."""
        whole = Path(path)
        prefill, step = (
            whole.with_name(f"{whole.stem}.{part}{whole.suffix}") for part in ("prefill", "step")
        )
        return (self.prefill, prefill), (self.step, step)

    def save_onnx(
        self, path: str | PathLike[str], weights: Weights | None = None, **options: Any
    ) -> tuple[Path, Path]:
        """Write `NAME.prefill.onnx` and `NAME.step.onnx` where `path` is `NAME.onnx`.

        The options are those of `Network.save_onnx`.
        """
        parts = self.parts(path)
        for network, target in parts:
            network.save_onnx(target, weights, **options)
        return parts[0][1], parts[1][1]


def _state(weights: Weights | None) -> Any:
    """Weights as something with names, or as a path."""
    if weights is None or isinstance(weights, str | PathLike | Mapping):
        return weights
    return weights.state_dict()


def _arrays(weights: Weights | None) -> Any:
    """Weights as numpy arrays by name."""
    from archdsl.weights.dtypes import array_of
    from archdsl.weights.safetensors import load_safetensors

    state = _state(weights)
    if state is None:
        return None
    if isinstance(state, Mapping):
        given = cast("Mapping[str, Any]", state)
        return {
            name: array_of(value) if hasattr(value, "detach") else value
            for name, value in given.items()
        }
    return load_safetensors(Path(state))
