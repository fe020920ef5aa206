"""The `summary` table: blocks, shapes, parameters and multiply-adds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from archdsl.ir.model import Block, Model, Node
from archdsl.ir.receptive_field import Blocks, Lost, Trace, Values
from archdsl.ir.types import TensorType
from archdsl.passes.costs import Figures, figures, inference_nodes, node_macs, runs, weight_size
from archdsl.sizes.dims import Dim

if TYPE_CHECKING:
    from rich.table import Table

DEFAULT_DEPTH = 2
FORMULA_WIDTH = 36
COLUMNS = ("Layer", "Output", "Parameters", "Multiply-adds")
FUNCTION = "function"
"""The kind of a row that stands for all functions of one name, which own nothing."""
WITH_REACH = (*COLUMNS, "Stride", "Receptive field")


@dataclass(frozen=True, slots=True)
class Row:
    """One layer, block or labelled scope, with what is inside it counted in."""

    depth: int
    path: str
    kind: str
    type: TensorType | None
    parameters: int
    macs: Dim
    reach: tuple[str, ...] = ()
    """Stride and receptive field on the model's inputs, if they were asked for."""

    @property
    def label(self) -> str:
        """The last part of the path and what stands there."""
        name = self.path.rsplit(".", 1)[-1]
        return f"{name}: {self.kind}" if self.kind else name


@dataclass(frozen=True, slots=True)
class Summary:
    """The table: prints as text, draws itself in a rich console and in a notebook."""

    model: Model
    inputs: tuple[tuple[str, TensorType], ...]
    outputs: tuple[tuple[str, TensorType], ...]
    rows: tuple[Row, ...]
    total: Figures
    columns: tuple[str, ...] = COLUMNS

    def to_dict(self) -> dict[str, Any]:
        """The table as plain data."""
        return {
            "model": self.model.name,
            "inputs": {name: str(type) for name, type in self.inputs},
            "outputs": {name: str(type) for name, type in self.outputs},
            "parameters": self.total.parameters,
            "buffers": self.total.buffers,
            "macs": _json_size(self.total.macs),
            "layers": [
                {
                    "path": row.path,
                    "kind": row.kind,
                    "depth": row.depth,
                    "output": None if row.type is None else str(row.type),
                    "parameters": row.parameters,
                    "macs": _json_size(row.macs),
                    **dict(zip(("stride", "receptive_field"), row.reach, strict=False)),
                }
                for row in self.rows
            ],
        }

    def __str__(self) -> str:
        cells = [self.columns, *self._cells()]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [self._title(), ""]
        for index, row in enumerate(cells):
            lines.append(_aligned(row, widths))
            if index == 0:
                lines.append("  ".join("─" * width for width in widths))
        return "\n".join([*lines, "", *self._footer()])

    def __rich__(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(self._title()), caption=Text("\n".join(self._footer())))
        for column in self.columns:
            table.add_column(column, justify="left" if column in COLUMNS[:2] else "right")
        for row in self._cells():
            table.add_row(*(Text(cell) for cell in row))
        return table

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{column}</th>" for column in self.columns)
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
            for row in self._cells()
        )
        foot = "<br>".join(map(escape, self._footer()))
        style = "white-space: pre; text-align: left; font-family: monospace"
        return (
            f'<table style="{style}"><caption>{escape(self._title())}</caption>'
            f"<tr>{head}</tr>{body}</table><p>{foot}</p>"
        )

    def _title(self) -> str:
        inputs = ", ".join(f"{name}: {type}" for name, type in self.inputs)
        outputs = ", ".join(f"{name}: {type}" for name, type in self.outputs)
        return f"{self.model.name}({inputs}) -> {outputs}"

    def _cells(self) -> Iterator[tuple[str, ...]]:
        for row in self.rows:
            dims = "" if row.type is None else f"[{', '.join(map(str, row.type.dims))}]"
            parameters = f"{row.parameters:,}" if row.parameters else ""
            yield "  " * row.depth + row.label, dims, parameters, _short(row.macs), *row.reach

    def _footer(self) -> list[str]:
        lines = [f"parameters     {self.total.parameters:,}"]
        if self.total.buffers:
            lines.append(f"buffers        {self.total.buffers:,}")
        lines.append(f"multiply-adds  {_spoken(self.total.macs)}")
        return lines


def _aligned(row: tuple[str, ...], widths: list[int]) -> str:
    left = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
    right = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join([*left, *right]).rstrip()


def _json_size(size: Dim) -> int | str:
    return str(size) if size.value is None else size.value


def _spoken(size: Dim) -> str:
    return str(size) if size.value is None else f"{size.value:,}"


def _short(size: Dim) -> str:
    if size.value == 0:
        return ""
    text = _spoken(size)
    return text if len(text) <= FORMULA_WIDTH else text[: FORMULA_WIDTH - 1] + "…"


# --------------------------------------------------------------------------------- the rows


def summarise(
    model: Model,
    depth: int | None,
    dims: Mapping[str, int],
    columns: tuple[str, ...] = COLUMNS,
) -> Summary:
    """The table of a model, unfolded `depth` levels, with sizes filled in where given.

    `columns` may be `WITH_REACH`: where every row lies on the inputs costs some time to find.
    """
    known = figures(model)
    sizes = {name: Dim.of(dims.get(name, name)) for name in model.root.symbols}
    limit = DEFAULT_DEPTH if depth is None else depth
    blocks = Blocks(model.blocks)
    values = Values.of_block(blocks, model.root) if columns == WITH_REACH else None
    walk = _Walk(model, known, limit, blocks)
    rows = tuple(walk.rows(model.root, values, "", sizes, Dim.of(1), 0))
    total = known[model.entry]
    root = model.root
    return Summary(
        model,
        tuple((port.name, _sized(root, port.value, sizes)) for port in root.inputs),
        tuple((p.name, _sized(root, p.value, sizes)) for p in root.outputs if not p.training),
        rows,
        Figures(total.parameters, total.buffers, total.macs.substitute(sizes)),
        columns,
    )


def _sized(block: Block, value: int, sizes: Mapping[str, Dim]) -> TensorType:
    type = block.type(value)
    return TensorType(type.dtype, tuple(dim.substitute(sizes) for dim in type.dims), type.axes)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A member or a function where it is applied: its path in the block, and what it costs."""

    path: str
    kind: str
    node: Node
    often: Dim
    macs: Dim


class _Walk:
    def __init__(
        self, model: Model, known: Mapping[str, Figures], depth: int, blocks: Blocks
    ) -> None:
        self._model = model
        self._blocks = blocks
        self._known = known
        self._depth = depth

    def rows(
        self,
        block: Block,
        values: Values | None,
        prefix: str,
        sizes: Mapping[str, Dim],
        often: Dim,
        depth: int,
    ) -> Iterator[Row]:
        """Rows of a block's members in the order they run, labelled scopes above their layers.

        Functions that multiply and add have a row for each name in each scope, so that what
        stands below a row adds up to it. The block itself runs so often; sizes are the model's.
        """
        entries = list(self._entries(block, sizes, often))
        groups: set[str] = set()
        seen: set[tuple[str, str]] = set()
        for entry in entries:
            *scopes, _ = entry.path.split(".")
            for place in range(len(scopes)):
                group = ".".join(scopes[: place + 1])
                if group not in groups and depth + place < self._depth:
                    groups.add(group)
                    inside = [item for item in entries if item.path.startswith(f"{group}.")]
                    yield self._group(block, values, inside, prefix + group, sizes, depth + place)
            level, key = depth + len(scopes), (entry.path, entry.kind)
            is_new = key not in seen
            seen.add(key)
            if level >= self._depth:
                continue
            node, path = entry.node, prefix + entry.path
            if entry.kind != FUNCTION:
                type, reach = _sized(block, node.outputs[0], sizes), _reach(values, node)
                owned = self._parameters(block, entry.path) if is_new else 0
                yield Row(level, path, entry.kind, type, owned, entry.macs, reach)
            elif is_new:
                macs = Dim.total(each.macs for each in entries if (each.path, each.kind) == key)
                yield Row(level, path, FUNCTION, None, 0, macs, ("", "") if values else ())
            if node.block is not None and is_new and level + 1 < self._depth:
                yield from self._inside(entry, values, path, sizes, level + 1)

    def _entries(self, block: Block, sizes: Mapping[str, Dim], often: Dim) -> Iterator[_Entry]:
        running = {node.outputs for node, _ in runs(inference_nodes(block))}
        for node, times in runs(block.nodes):
            if node.scan is not None:
                continue
            times = often * times.substitute(sizes) if node.outputs in running else Dim.of(0)
            macs = node_macs(block, node, self._known).substitute(sizes) * times
            if node.member is not None:
                yield _Entry(node.member, self._kind(node), node, times, macs)
            elif macs.value != 0:
                path = f"{node.scope}.{node.called}" if node.scope else node.called
                yield _Entry(path, FUNCTION, node, times, macs)

    def _inside(
        self,
        entry: _Entry,
        values: Values | None,
        path: str,
        sizes: Mapping[str, Dim],
        depth: int,
    ) -> Iterator[Row]:
        """Rows of a block where it is applied."""
        callee = self._model.blocks[entry.node.block or ""]
        inner = {name: dim.substitute(sizes) for name, dim in entry.node.dims}
        if values is not None:
            entering = [values.traces(value) for value in entry.node.inputs]
            values = Values.of_block(self._blocks, callee, entering)
        yield from self.rows(callee, values, f"{path}.", inner, entry.often, depth)

    def _kind(self, node: Node) -> str:
        if node.op is not None:
            return node.op.layer or ""
        return self._model.blocks[node.block or ""].name

    def _parameters(self, block: Block, path: str) -> int:
        member = block.member[path]
        if member.block is not None:
            return self._known[member.block].parameters
        return sum(weight_size(w) for w in member.weights if w.kind == "parameter")

    def _group(
        self,
        block: Block,
        values: Values | None,
        entries: list[_Entry],
        path: str,
        sizes: Mapping[str, Dim],
        depth: int,
    ) -> Row:
        paths = dict.fromkeys(entry.path for entry in entries if entry.kind != FUNCTION)
        last = entries[-1].node
        return Row(
            depth,
            path,
            "",
            _sized(block, last.outputs[0], sizes),
            sum(self._parameters(block, member) for member in paths),
            Dim.total(entry.macs for entry in entries),
            _reach(values, last),
        )


def _reach(values: Values | None, node: Node) -> tuple[str, ...]:
    """Stride and receptive field of what a node gives; empty where there are no spatial axes."""
    if values is None:
        return ()
    traces = values.traces(node.outputs[0])[2:]
    told = [_told(trace) for trace in traces if trace]
    strides, fields = zip(*told, strict=True) if told else ((), ())
    return " x ".join(_once(strides)), " x ".join(_once(fields))


def _told(trace: Trace) -> tuple[str, str]:
    """In words: a question mark where nothing is known, or something else for each input."""
    if isinstance(trace, Lost):
        return "?", "?"
    strides = {"-" if reach.stride is None else str(reach.stride) for reach in trace.values()}
    fields = {"all" if reach.field is None else str(reach.field.size) for reach in trace.values()}
    stride, field = (_once(tuple(words)) for words in (strides, fields))
    return stride[0] if len(stride) == 1 else "?", field[0] if len(field) == 1 else "?"


def _once(words: tuple[str, ...]) -> tuple[str, ...]:
    """All of them, or the first alone if they are the same."""
    return words[:1] if len(set(words)) == 1 else words
