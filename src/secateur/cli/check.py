"""`secateur check`: an artifact against itself, its torch model and a limit on what it may lose. For a user's CI."""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from secateur.cli.exits import CHECK_FAILED
from secateur.cli.output import AsJSON, show_result
from secateur.errors import DataError
from secateur.ir.artifact import Artifact
from secateur.ir.execute import interpret


@dataclass(frozen=True)
class Finding:
    """One thing that was checked, and what was found."""

    name: str
    passed: bool
    found: str


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An artifact, model.secat.")],
    task: Annotated[
        str | None, typer.Option(help="file.py:function or module:function, returns secateur.Task.")
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Weights of the task's dense model.")] = None,
    max_drop: Annotated[float | None, typer.Option(help="Largest loss of the task's metric on validation.")] = None,
    tolerance: Annotated[float, typer.Option(help="Largest difference from torch, of the largest output.")] = 1e-4,
    as_json: AsJSON = False,
) -> None:
    """Check an artifact: that it is whole and runs; with a task, that it equals torch and how much it lost."""
    if task is None and (checkpoint, max_drop) != (None, None):
        raise DataError("--checkpoint and --max-drop compare with a model: name the task too, --task file.py:function")
    artifact = Artifact.load(file)
    findings = [Finding("file", True, "whole: every checksum fits and the graph is valid"), *_runs(artifact)]
    if task is not None:
        findings += _against_task(artifact, task, checkpoint, max_drop=max_drop, tolerance=tolerance)
    passed = all(finding.passed for finding in findings)
    lines = [f"{'ok    ' if finding.passed else 'FAILED'}  {finding.name}: {finding.found}" for finding in findings]
    data = {"file": file, "passed": passed, "findings": [dataclasses.asdict(finding) for finding in findings]}
    show_result("\n".join(lines), data, as_json=as_json)
    if not passed:
        raise typer.Exit(CHECK_FAILED)


def _runs(artifact: Artifact) -> list[Finding]:
    graph = artifact.graph
    if graph is None:
        reason = artifact.meta.get("weights_only", "no reason recorded")
        return [Finding("run", True, f"not tried, weights only ({reason})")]
    zeros = [np.zeros(graph.types[name].bind(1), graph.types[name].dtype) for name in graph.inputs]
    found = interpret(artifact, *zeros)
    outputs = found if isinstance(found, tuple) else (found,)
    finite = all(np.isfinite(array).all() for array in outputs if array.dtype.kind == "f")
    return [Finding("run", finite, f"on zeros, every output {'is finite' if finite else 'should be finite'}")]


def _against_task(
    artifact: Artifact, name: str, checkpoint: Path | None, *, max_drop: float | None, tolerance: float
) -> list[Finding]:
    from secateur.cli.oracle import Oracle
    from secateur.nn.check import check as compare
    from secateur.nn.restore import restore_
    from secateur.train.loading import load_task
    from secateur.train.task import score

    task = load_task(name)
    restored = restore_(copy.deepcopy(task.model), artifact)
    if checkpoint is not None:
        from secateur.cli.checkpoint import load_into, state_of

        load_into(task.model, state_of(checkpoint), checkpoint)
    findings = []
    if artifact.graph is not None:
        found = compare(artifact, restored, next(iter(task.val))[0])
        difference = f"{found.relative_difference:.1e} of the largest output on {found.examples} examples"
        same = f"{difference} (at most {tolerance:.1e}), same arg max for {found.agreement:.2%}"
        findings.append(Finding("equals torch", found.relative_difference <= tolerance, same))
    dense = score(task)
    packed = score(task, Oracle(artifact) if artifact.graph is not None else restored)
    drop = dense - packed if task.higher_is_better else packed - dense
    limit = math.inf if max_drop is None else max_drop
    how = "in numpy" if artifact.graph is not None else "restored into torch, weights only"
    text = f"model {dense:.6g}, artifact {packed:.6g} ({how}): drop {drop:.3g}"
    bound = "" if max_drop is None else f" (at most {max_drop:g})"
    return [*findings, Finding("metric on validation", drop <= limit, text + bound)]
