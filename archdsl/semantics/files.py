"""The files of a program: read, parsed, their imports resolved inside the project's root."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from archdsl import problems
from archdsl.diagnostics import Diagnostics
from archdsl.limits import Limits
from archdsl.resources import specs_folder
from archdsl.semantics.scope import FileScope
from archdsl.semantics.values import BlockDefinition
from archdsl.source import Source, Span
from archdsl.syntax import ast
from archdsl.syntax.parse import parse

EDITION = 2026
STANDARD_LIBRARY = "std"


@dataclass(slots=True, eq=False)
class Files:
    """Every file read so far, by the name people see; a file is parsed once."""

    diagnostics: Diagnostics
    limits: Limits
    root: Path | None
    """Folder that relative imports may not leave; None when the text is not in a file."""
    sources: dict[str, Source] = field(default_factory=dict[str, Source])
    scopes: dict[str, FileScope | None] = field(default_factory=dict[str, "FileScope | None"])
    syntax_errors: int = 0
    """How many errors of syntax the files have; the declarations with them are missing."""
    _loading: list[str] = field(default_factory=list[str])

    def load(self, source: Source, folder: Path | None) -> FileScope | None:
        """The declarations of a text and, through its imports, of others; None on errors."""
        self.sources[source.name] = source
        self.scopes[source.name] = None
        tree, found = parse(source, self.limits)
        for diagnostic in found:
            self.diagnostics.add(diagnostic)
        self.syntax_errors += len(found)
        # What a broken file does not declare would be missed where it is imported.
        if tree is None or (found and self._loading):
            return None
        if not found or tree.edition is not None:
            self._check_edition(tree, source)
        scope = FileScope(source.name, tree.edition or EDITION)
        self._loading.append(source.name)
        try:
            for item in tree.items:
                self._declare(item, scope, folder)
        finally:
            self._loading.pop()
        self.scopes[source.name] = scope
        return scope

    def _check_edition(self, tree: ast.File, source: Source) -> None:
        if tree.edition is None:
            self.diagnostics.add(problems.missing_edition(Span(source.name, 0, 0), EDITION))
        elif tree.edition != EDITION:
            span = tree.edition_span
            assert span is not None
            self.diagnostics.add(problems.unknown_edition(span, tree.edition, EDITION))

    def _declare(self, item: ast.Item, scope: FileScope, folder: Path | None) -> None:
        match item:
            case ast.Import():
                self._import(item, scope, folder)
            case ast.Definition():
                self._check_signature(item)
                if self._is_free(item.name, scope):
                    scope.blocks[item.name.text] = BlockDefinition(item, scope)
            case ast.Family():
                self._check_family(item)
                if self._is_free(item.name, scope):
                    scope.families[item.name.text] = item
            case ast.FileConstant():
                if self._is_free(item.name, scope):
                    scope.constants[item.name.text] = item

    def _check_family(self, item: ast.Family) -> None:
        """A member of a family says only what is expected of it."""
        for statement in item.body:
            if not isinstance(statement, ast.Expect):
                reason = f"`{item.name.text}` is a model already; only what is expected stands here"
                help = "put the statement into the model that it names"
                self.diagnostics.add(problems.misplaced_statement(statement.span, reason, help))

    def _check_signature(self, item: ast.Definition) -> None:
        """Parameters and inputs have names of their own, which are not those of dims either."""
        taken: dict[str, Span] = {}
        for parameter in (*item.parameters, *item.ports):
            name = parameter.name
            if name.text in taken:
                self.diagnostics.add(
                    problems.duplicate_parameter(name.span, name.text, taken[name.text])
                )
            taken.setdefault(name.text, name.span)
        self._check_preparations(item)
        ports = {port.name.text for port in item.ports}
        for port in item.ports:
            for dim in (port.type.dims if port.type else None) or ():
                if isinstance(dim, ast.Name) and dim.text in ports:
                    self.diagnostics.add(
                        problems.duplicate_parameter(dim.span, dim.text, taken[dim.text])
                    )

    def _check_preparations(self, item: ast.Definition) -> None:
        """Only what flows into a model is prepared."""
        flowing = item.ports if item.kind == "model" else ()
        for parameter in (*item.parameters, *item.ports):
            if parameter.preparation is not None and parameter not in flowing:
                reason = f"`{parameter.name.text}` is no input of a model, so nothing prepares it"
                span = parameter.preparation.span
                self.diagnostics.add(problems.bad_preparation(span, reason))

    def _is_free(self, name: ast.Name, scope: FileScope) -> bool:
        for known in (scope.blocks, scope.families, scope.constants):
            if name.text in known:
                declared = known[name.text]
                earlier = declared.definition if isinstance(declared, BlockDefinition) else declared
                self.diagnostics.add(
                    problems.duplicate_declaration(name.span, name.text, earlier.name.span)
                )
                return False
        return True

    # ------------------------------------------------------------------------------ imports

    def _import(self, item: ast.Import, scope: FileScope, folder: Path | None) -> None:
        imported = self._imported_scope(item, folder)
        if imported is None:
            return
        for wanted in item.names:
            name = wanted.name.text
            alias = wanted.alias or wanted.name
            if not self._is_free(alias, scope):
                continue
            if name in imported.blocks:
                scope.blocks[alias.text] = imported.blocks[name]
            elif name in imported.constants:
                scope.constants[alias.text] = imported.constants[name]
                scope.origins[alias.text] = imported.origins.get(name, (imported, name))
            else:
                known = tuple(imported.names())
                self.diagnostics.add(
                    problems.unknown_import(wanted.name.span, name, item.path, known)
                )

    def _imported_scope(self, item: ast.Import, folder: Path | None) -> FileScope | None:
        path = self._locate(item, folder)
        if path is None:
            return None
        name = self._shown_name(path)
        if name in self._loading:
            cycle = [*self._loading[self._loading.index(name) :], name]
            self.diagnostics.add(problems.import_cycle(item.path_span, cycle))
            return None
        if name in self.scopes:
            return self.scopes[name]
        if len(self._loading) > self.limits.import_depth:
            self._limit(item, "import_depth")
            return None
        if len(self.sources) > self.limits.imported_files:
            self._limit(item, "imported_files")
            return None
        source = read_source(path, name, self.diagnostics, self.limits, item.path_span)
        return None if source is None else self.load(source, path.parent)

    def _limit(self, item: ast.Import, limit: str) -> None:
        bound = getattr(self.limits, limit)
        self.diagnostics.add(problems.limit_exceeded(item.path_span, limit, bound))

    def _locate(self, item: ast.Import, folder: Path | None) -> Path | None:
        if not item.is_file:
            return self._library_file(item)
        if self.root is None or folder is None:
            self.diagnostics.add(problems.import_without_root(item.path_span))
            return None
        written = PurePosixPath(item.path)
        outside = problems.import_outside_root(item.path_span, item.path)
        if written.is_absolute() or "\\" in item.path or ":" in item.path or "\0" in item.path:
            self.diagnostics.add(outside)
            return None
        path = resolved(folder / written)
        if path is None:
            self.diagnostics.add(problems.file_not_found(item.path_span, item.path))
            return None
        if not path.is_relative_to(self.root.resolve()):
            self.diagnostics.add(outside)
            return None
        return path

    def _library_file(self, item: ast.Import) -> Path | None:
        parts = item.path.split(".")
        path = specs_folder().joinpath(*parts).with_suffix(".arch")
        if parts[0] != STANDARD_LIBRARY or not path.is_file():
            library = (specs_folder() / STANDARD_LIBRARY).glob("*.arch")
            known = tuple(sorted(f"{STANDARD_LIBRARY}.{file.stem}" for file in library))
            self.diagnostics.add(problems.unknown_library(item.path_span, item.path, known))
            return None
        return path.resolve()

    def _shown_name(self, path: Path) -> str:
        for root in (self.root, specs_folder()):
            if root is not None and path.is_relative_to(root.resolve()):
                return path.relative_to(root.resolve()).as_posix()
        return path.name


def resolved(path: Path) -> Path | None:
    """The path without links and dots; None where it cannot be, as in a loop of links."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        return None


def read_source(
    path: Path, name: str, diagnostics: Diagnostics, limits: Limits, span: Span | None
) -> Source | None:
    """A file's text; unreadable, oversized or wrongly encoded files are reported."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            diagnostics.add(problems.file_not_found(span, name))
            return None
        with path.open("rb") as file:
            data = file.read(limits.file_bytes + 1)
    except FileNotFoundError:
        diagnostics.add(problems.file_not_found(span, name))
        return None
    except OSError as error:
        diagnostics.add(problems.unreadable_file(span, name, error.strerror or str(error)))
        return None
    if len(data) > limits.file_bytes:
        diagnostics.add(problems.limit_exceeded(span, "file_bytes", limits.file_bytes))
        return None
    try:
        return Source(name, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        diagnostics.add(problems.unreadable_file(span, name, f"it is not UTF-8 ({error.reason})"))
        return None
