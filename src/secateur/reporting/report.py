"""Report: what compressing a network did to it, in the two files it can be read from: a page and its JSON twin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from secateur.errors import DataError
from secateur.ir.artifact import Artifact
from secateur.ir.describe import describe
from secateur.reporting.environment import environment
from secateur.reporting.facts import DeadUnits, Facts, Training
from secateur.reporting.layers import LayerRow
from secateur.reporting.measurement import Change
from secateur.reporting.page import render
from secateur.reporting.reading import json_object, made_from
from secateur.reporting.saving import json_text, save
from secateur.reporting.speed import ACCOUNT, speed_from_json

KIND, REPORT_VERSION = "secateur_report", 1
MOST_BYTES = 1 << 26
"""A report of 300 layers over 120 epochs has about 7 million."""


@dataclass(frozen=True)
class Report(Facts):
    """Facts with a file form. Build one with `report(...)`."""

    def to_json(self) -> str:
        """Everything the page shows, as JSON text; numbers that are not finite are null."""
        return json_text(KIND, REPORT_VERSION, self)

    def to_html(self) -> str:
        """One page that needs nothing beside itself: no network."""
        return render(self)

    def save(self, path: str | Path) -> None:
        """Write report.html or report.json, by the ending of the path. DataError for another ending; ArtifactError
        where nothing can be written."""
        save(self, path)

    def with_speed(self, account: str | bytes, what: str = ACCOUNT) -> Report:
        """With what `accelerate` made of the model, `fast.report.to_json()`: kernel and measured gain of every layer.
        DataError naming `what` for another text."""
        return replace(self, speed=speed_from_json(account, what))

    @classmethod
    def from_json(cls, text: str | bytes, what: str = "report") -> Report:
        """The Report that `to_json` wrote, with NaN for null; DataError naming `what` for anything else."""
        data = json_object(text.encode(errors="surrogatepass") if isinstance(text, str) else text, what)
        if (version := data.pop(KIND, None)) != REPORT_VERSION:
            raise DataError(f"{what} is no report of version {REPORT_VERSION}: {KIND!r} is {version!r}")
        return made_from(cls, data, what)

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """The Report in a JSON twin on disk; DataError where there is none."""
        try:
            with open(path, "rb") as file:
                data = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}") from None
        if len(data) > MOST_BYTES:
            raise DataError(f"{path} has more than {MOST_BYTES:,} bytes: that is no report")
        return cls.from_json(data, str(path))


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
