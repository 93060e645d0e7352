"""Comparison: several runs on one page, and its JSON twin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from secateur.reporting.comparison_page import render
from secateur.reporting.facts import Facts
from secateur.reporting.runs import Run, runs_of
from secateur.reporting.saving import json_text, save

KIND, COMPARISON_VERSION = "secateur_comparison", 1


@dataclass(frozen=True)
class Comparison:
    """Runs that share a measure of quality. Build one with `compare(...)`."""

    title: str
    runs: tuple[Run, ...]

    def to_json(self) -> str:
        """Everything the page shows, as JSON text; numbers that are not finite are null."""
        return json_text(KIND, COMPARISON_VERSION, self)

    def to_html(self) -> str:
        """One page that needs nothing beside itself: no network."""
        return render(self.title, self.runs)

    def save(self, path: str | Path) -> None:
        """Write the page or its JSON twin, by the ending of the path. DataError for another ending; ArtifactError where
        nothing can be written."""
        save(self, path)


def compare(reports: Mapping[str, Facts], *, title: str = "") -> Comparison:
    """Runs by label, each with the Report that was made of it: score against bytes of the file and against density.

    The score is the first row of a summary that says how good a model is. DataError where a run has none, or where the
    runs do not share one.
    """
    return Comparison(title or f"{len(reports)} runs compared", runs_of(reports))
