"""`secateur show`: what is in an artifact, or what differs between two. Needs no torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from secateur.cli.limits import MaxBytes
from secateur.cli.output import AsJSON, show_result
from secateur.cli.show_maps import maps_data, maps_lines
from secateur.ir.artifact import MAX_BYTES, Artifact
from secateur.ir.count import count
from secateur.ir.describe import Difference, TensorRow, describe, difference
from secateur.ir.ops.sizes import show as show_shape
from secateur.ir.text_table import text_table
from secateur.reporting.measurement import UNITS

COLUMNS = (
    "tensor",
    "shape",
    "dtype",
    "non-zeros",
    "density",
    "positions",
    "values",
    "scales",
    "framing",
    "bytes",
    "float32",
    "codes",
)
PATTERN = "pattern"
"""A column that is there where a tensor has one."""
CHANGES = ("tensor", "shape", "non-zeros", "bytes", "largest change")


def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An artifact, model.secat.")],
    other: Annotated[
        Path | None, typer.Argument(metavar="[FILE2]", help="A second artifact: show what differs.")
    ] = None,
    max_bytes: MaxBytes = MAX_BYTES,
    as_json: AsJSON = False,
) -> None:
    """Show the tensors of an artifact and where its bytes go; with two files, their difference."""
    artifact = Artifact.load(file, max_bytes=max_bytes)
    if other is None:
        show_result(_text(file, artifact), _data(file, artifact), as_json=as_json)
    else:
        found = difference(artifact, Artifact.load(other, max_bytes=max_bytes))
        data = {"before": file, "after": other, **dataclasses.asdict(found)}
        show_result(_difference_text(file, other, found), data, as_json=as_json)


def _data(file: Path, artifact: Artifact) -> dict[str, Any]:
    rows, sizes = describe(artifact), artifact.bytes_by_stream()
    return {
        "file": file,
        "file_bytes": file.stat().st_size,
        "float32_bytes": sum(row.float32_bytes for row in rows),
        "header_bytes": sizes.header,
        "unit_mask_bytes": sizes.units,
        "framing_bytes": sizes.framing,
        "nonzeros": sum(row.nonzeros for row in rows),
        "graph": _graph(artifact),
        "meta": artifact.meta,
        "units": [{"size": group.size, "kept": int(group.kept.sum())} for group in artifact.units],
        "folds": [dataclasses.asdict(fold) for fold in artifact.folds],
        "tensors": [dataclasses.asdict(row) for row in rows],
    }


def _graph(artifact: Artifact) -> dict[str, Any] | None:
    graph = artifact.graph
    if graph is None:
        return None
    counted = count(graph, artifact.constants)
    ends = {
        role: {name: f"{graph.types[name].dtype} {show_shape(graph.types[name].shape)}" for name in names}
        for role, names in (("inputs", graph.inputs), ("outputs", graph.outputs))
    }
    macs = {"macs": counted.macs, "effective_macs": counted.effective_macs, "map_macs": counted.map_macs}
    return {**ends, "nodes": len(graph.nodes), **macs, **maps_data(artifact, counted)}


def _text(file: Path, artifact: Artifact) -> str:
    data, rows = _data(file, artifact), describe(artifact)
    patterned = any(row.pattern for row in rows)
    columns, cells = (COLUMNS, _row) if not patterned else ((*COLUMNS, PATTERN), _patterned_row)
    table = text_table(columns, map(cells, rows), right=COLUMNS[3:11])
    frame = data["header_bytes"] + data["unit_mask_bytes"] + data["framing_bytes"]
    parts = f"tensors {data['file_bytes'] - frame:,}, header {data['header_bytes']:,}, masks of removed units "
    parts += f"{data['unit_mask_bytes']:,}, lengths and checksums {data['framing_bytes']:,}"
    smaller = data["float32_bytes"] / data["file_bytes"]
    return "\n".join(
        [
            f"{file}: {data['file_bytes']:,} bytes ({parts})",
            f"dense float32: {data['float32_bytes']:,} bytes, {smaller:.1f}x the file",
            *_graph_lines(data["graph"]),
            *_change_lines(data),
            *(f"meta {key}: {_words(value)}" for key, value in artifact.meta.items()),
            "",
            table,
        ]
    )


def _graph_lines(graph: Mapping[str, Any] | None) -> list[str]:
    if graph is None:
        return ["weights only: this artifact cannot run by itself"]
    ends = [f"{role[:-1]} {name}: {graph[role][name]}" for role in ("inputs", "outputs") for name in graph[role]]
    products = graph["map_macs"]
    macs = f"{graph['macs'] - products:,} MACs dense, {graph['effective_macs']:,} on non-zero weights"
    macs += f", and {products:,} of products of maps" if products else ""
    return [f"runs: {graph['nodes']} operations, {macs}", *ends, *maps_lines(graph)]


def _change_lines(data: Mapping[str, Any]) -> list[str]:
    removed = sum(group["size"] - group["kept"] for group in data["units"])
    total = sum(group["size"] for group in data["units"])
    lines = [f"dead units removed: {removed:,} of {total:,}"] if removed else []
    return lines + [f"norm {fold['norm']} folded into {fold['into']}" for fold in data["folds"]]


def _row(row: TensorRow) -> tuple[str, ...]:
    shape = _shape(row.shape)
    if row.shape != row.original_shape:
        shape += f" of {_shape(row.original_shape)}"
    file = row.file
    counts = (file.positions, file.values, file.scales, file.framing, file.total, row.float32_bytes)
    codes = f"{file.positions_code}, {file.values_code}"
    density = UNITS["fraction"](row.density)
    return (row.name, shape, row.dtype, f"{row.nonzeros:,}", density, *(f"{n:,}" for n in counts), codes)


def _patterned_row(row: TensorRow) -> tuple[str, ...]:
    found = row.pattern
    if found is None:
        return (*_row(row), "-")
    idle = UNITS["fraction"](found.idle)
    return (*_row(row), f"{found.pattern}: {found.mean:.2f} of {found.most} a group, {idle} of lanes idle")


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _difference_text(file: Path, other: Path, found: Difference) -> str:
    sizes = f"{found.file_bytes_before:,} -> {found.file_bytes_after:,} bytes"
    if not (found.tensors or found.facts):
        return f"{file} and {other} hold the same ({sizes})"
    lines = [f"{file} -> {other}: {sizes}"]
    lines += [f"{fact.what}: {fact.before} -> {fact.after}" for fact in found.facts]
    if found.tensors:
        rows = []
        for change in found.tensors:
            old, new = change.before, change.after
            cells = (
                _both(old and _shape(old.original_shape), new and _shape(new.original_shape)),
                _both(old and f"{old.nonzeros:,}", new and f"{new.nonzeros:,}"),
                _both(old and f"{old.file.total:,}", new and f"{new.file.total:,}"),
            )
            rows.append((change.name, *cells, "-" if change.largest is None else f"{change.largest:.3g}"))
        lines += ["", text_table(CHANGES, rows, right=CHANGES[4:])]
    return "\n".join(lines)


def _both(before: str | None, after: str | None) -> str:
    return (before or "-") if before == after else f"{before or 'absent'} -> {after or 'absent'}"


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
