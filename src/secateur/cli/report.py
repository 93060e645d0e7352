"""`secateur report`: the page of one run again, or several runs beside one another, from their JSON twins. Needs no
torch."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from secateur.cli.output import AsJSON, check_writable, note, show_result, write_file
from secateur.errors import DataError
from secateur.ir.text_table import text_table
from secateur.reporting.comparison import Comparison, compare
from secateur.reporting.measurement import UNITS
from secateur.reporting.report import Report
from secateur.reporting.saving import ENDINGS, written

TWIN = "report.json"
"""What a run's folder calls the report that programs read."""


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders with a report.json, or such files.")],
    output: Annotated[
        list[Path] | None, typer.Option("-o", "--output", help="A page (.html) or its JSON twin; can be repeated.")
    ] = None,
    title: Annotated[str, typer.Option(help="Of the page of several runs.")] = "",
    kernels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of one run: what accelerate reported of its model, as JSON.")
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Show a run's report, or compare several: score against bytes and density, the unbeaten ones marked."""
    targets = output or []
    for path in targets:
        if path.suffix.lower() not in ENDINGS:
            raise DataError(f"-o {path}: a report is {' or '.join(ENDINGS)}")
        check_writable(path)
    loaded = {label: Report.load(_twin(path)) for label, path in _labels(runs).items()}
    if title and len(loaded) == 1:
        raise DataError("--title is of a page that compares runs, and this is one: name more, or leave the title out")
    if kernels is not None:
        loaded = _with_speed(loaded, kernels)
    compared = compare(loaded, title=title) if len(loaded) > 1 else None
    made = compared or next(iter(loaded.values()))
    for path in targets:
        write_file(path, written(made, path))
        note(f"wrote {path}")
    text = _comparison(compared) if compared else _summary(next(iter(loaded.values())))
    show_result(text, json.loads(made.to_json()), as_json=as_json)


def _with_speed(loaded: dict[str, Report], kernels: Path) -> dict[str, Report]:
    if len(loaded) != 1:
        raise DataError(f"--kernels is the account of one run's model, and these are {len(loaded)} runs: name one")
    try:
        account = kernels.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {kernels}: {error.strerror}") from None
    return {label: made.with_speed(account, str(kernels)) for label, made in loaded.items()}


def _twin(run: Path) -> Path:
    if run.is_dir():
        return run / TWIN
    if run.suffix.lower() != ".json":
        raise DataError(f"{run} is neither a folder with a {TWIN} nor a .json file")
    return run


def _labels(runs: list[Path]) -> dict[str, Path]:
    """Each run under the last part of its path that says something, under all of it where two share that."""
    unique = list(dict.fromkeys(runs))
    short = {run: (run.parent if run.name == TWIN else run).resolve().name for run in unique}
    taken = Counter(short.values())
    return {short[run] if taken[short[run]] == 1 else str(run): run for run in unique}


def _summary(made: Report) -> str:
    rows = [(c.before.name, str(c.before), str(c.after), str(c)) for c in made.summary]
    table = text_table(("measured", "before", "after", "change"), rows, right=("before", "after", "change"))
    return f"{made.title}\n\n{table}"


def _comparison(compared: Comparison) -> str:
    header = ("run", compared.runs[0].score.after.name, "change", "file", "density", "best in")
    rows = [
        (
            run.label,
            str(run.score.after),
            str(run.score),
            UNITS["bytes"](run.file_bytes),
            UNITS["fraction"](run.density),
            ", ".join(run.best_in).replace("file_bytes", "bytes") or "-",
        )
        for run in compared.runs
    ]
    return f"{compared.title}\n\n{text_table(header, rows, right=header[1:5])}"
