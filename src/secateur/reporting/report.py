"""Report: what compressing a network did to it, in the two files it can be read from: a page and its JSON twin."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from secateur.errors import DataError
from secateur.ir.artifact import Artifact
from secateur.ir.describe import describe
from secateur.ir.storage import write_whole
from secateur.reporting.environment import environment
from secateur.reporting.facts import DeadUnits, Facts, Training
from secateur.reporting.layers import LayerRow
from secateur.reporting.measurement import Change
from secateur.reporting.page import render

REPORT_VERSION = 1


@dataclass(frozen=True)
class Report(Facts):
    """Facts with a file form. Build one with `report(...)`."""

    def to_json(self) -> str:
        """Everything the page shows, as JSON text; numbers that are not finite are null."""
        data = {"secateur_report": REPORT_VERSION, **dataclasses.asdict(self)}
        return json.dumps(_finite(data), indent=1, allow_nan=False) + "\n"

    def to_html(self) -> str:
        """One page that needs nothing beside itself: no network, no script."""
        return render(self)

    def save(self, path: str | Path) -> None:
        """Write report.html or report.json, by the ending of the path. DataError for another ending or folder."""
        writers = {".html": self.to_html, ".json": self.to_json}
        suffix = Path(path).suffix.lower()
        if suffix not in writers:
            raise DataError(f"a report is .html or .json, not {Path(path).name!r}")
        write_whole(path, writers[suffix]().encode())


def report(
    artifact: Artifact,
    *,
    title: str,
    summary: Sequence[Change] = (),
    training: Training | None = None,
    layers: Sequence[LayerRow] = (),
    notes: Sequence[str] = (),
) -> Report:
    """A Report on an artifact: what is in it comes from itself, what it cost in accuracy from `summary` and `training`.

    layers  what became of every tensor of the model, as `layer_rows` tells it
    notes   sentences shown below the summary: how it was made, what could not be handled
    """
    sizes = artifact.bytes_by_stream()
    return Report(
        title=title,
        summary=tuple(summary),
        training=training,
        layers=tuple(layers),
        tensors=describe(artifact),
        header_bytes=sizes.total - sum(row.total for row in sizes.tensors.values()),
        dead_units=dead_units(artifact),
        notes=tuple(notes),
        environment=environment(),
    )


def dead_units(artifact: Artifact) -> tuple[DeadUnits, ...]:
    """The groups of units that lost some, with the tensors that share them."""
    found = []
    for index, group in enumerate(artifact.units):
        named = [name for name, axes in artifact.axes.items() if any(owner == index for owner, _ in axes.values())]
        removed = int(np.count_nonzero(~group.kept))
        if removed:
            found.append(DeadUnits(tuple(named), group.size, removed))
    return tuple(found)


def _finite(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
