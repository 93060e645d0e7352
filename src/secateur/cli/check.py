"""`secateur check`: an artifact against itself, its torch model and a limit on what it may lose. For a user's CI."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from secateur.cli.exits import CHECK_FAILED
from secateur.cli.limits import MaxBytes, MaxSeconds
from secateur.cli.options import verb
from secateur.cli.output import AsJSON, show_result
from secateur.errors import DataError
from secateur.ir.artifact import Artifact
from secateur.ir.effort import MAX_RUN_BYTES, MAX_RUN_SECONDS, fixed_batch
from secateur.ir.execute import interpret
from secateur.ir.graph import Graph


@dataclass(frozen=True)
class Finding:
    """One thing that was checked, and what was found."""

    name: str
    passed: bool
    found: str


@dataclass(frozen=True)
class Asked:
    """Check an artifact: that it is whole and runs; with a task, that it equals torch and how much it lost."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="An artifact, model.secat.")]
    task: Annotated[str | None, typer.Option(help="file.py:function or module:function, returns secateur.Task.")] = None
    checkpoint: Annotated[Path | None, typer.Option(help="Weights of the task's dense model.")] = None
    max_drop: Annotated[float | None, typer.Option(help="Largest loss of the task's metric on validation.")] = None
    tolerance: Annotated[
        float | None,
        typer.Option(help="Largest difference from torch, of the largest output; 1e-4, with quantized maps a step."),
    ] = None
    max_bytes: MaxBytes = MAX_RUN_BYTES
    max_seconds: MaxSeconds = MAX_RUN_SECONDS
    as_json: AsJSON = False


def run_check(asked: Asked) -> None:
    """See Asked."""
    if asked.task is None and (asked.checkpoint, asked.max_drop, asked.tolerance) != (None, None, None):
        raise DataError(
            "--checkpoint, --max-drop and --tolerance compare with a model: name the task too, --task file.py:function"
        )
    if asked.tolerance is not None and not 0 <= asked.tolerance < math.inf:
        raise DataError(f"--tolerance is a share of the largest output, 0 or more, not {asked.tolerance:g}")
    artifact = Artifact.load(asked.file, max_bytes=asked.max_bytes)
    findings = [Finding("file", True, "whole: every checksum fits and the graph is valid"), *_runs(artifact, asked)]
    if asked.task is not None:
        findings += _against_task(artifact, asked.task, asked)
    passed = all(finding.passed for finding in findings)
    lines = [f"{'ok    ' if finding.passed else 'FAILED'}  {finding.name}: {finding.found}" for finding in findings]
    data = {"file": asked.file, "passed": passed, "findings": [dataclasses.asdict(finding) for finding in findings]}
    show_result("\n".join(lines), data, as_json=asked.as_json)
    if not passed:
        raise typer.Exit(CHECK_FAILED)


def _runs(artifact: Artifact, asked: Asked) -> list[Finding]:
    graph = artifact.graph
    if graph is None:
        reason = artifact.meta.get("weights_only", "no reason recorded")
        return [Finding("run", True, f"not tried, weights only ({reason})")]
    zeros = [np.zeros(graph.types[name].bind(1), graph.types[name].dtype) for name in graph.inputs]
    found = interpret(artifact, *zeros, max_bytes=asked.max_bytes, max_seconds=asked.max_seconds)
    outputs = found if isinstance(found, tuple) else (found,)
    finite = all(np.isfinite(array).all() for array in outputs if array.dtype.kind == "f")
    return [Finding("run", finite, f"on zeros, every output {'is finite' if finite else 'should be finite'}")]


def _against_task(artifact: Artifact, name: str, asked: Asked) -> list[Finding]:
    from secateur.cli.oracle import Oracle
    from secateur.nn.check import check_file
    from secateur.nn.copying import copied
    from secateur.nn.restore import restore_
    from secateur.train.loading import load_task
    from secateur.train.replay import replayed
    from secateur.train.task import holds, inputs_of, score, unscored

    task = load_task(name)
    plain = copied(task.model)
    restored = restore_(copied(plain), artifact)
    if asked.checkpoint is not None:
        from secateur.cli.checkpoint import load_into, state_of

        load_into(task.model, state_of(asked.checkpoint), asked.checkpoint)
    findings, limits = [], {"max_bytes": asked.max_bytes, "max_seconds": asked.max_seconds}
    if artifact.graph is not None:
        with replayed(task.val):
            batch = next(iter(task.val), None)
        if batch is None:
            raise DataError(f"{name}: val has no batch to compare on")
        found = check_file(artifact, plain, _examples(artifact.graph, inputs_of(batch)), **limits)
        difference = f"{found.relative_difference:.1e} of the largest output on {found.examples} examples"
        limit = found.tolerance if asked.tolerance is None else asked.tolerance
        same = f"{difference} (at most {limit:.1e}), same arg max for {found.agreement:.2%}"
        findings.append(Finding("equals torch", found.relative_difference <= limit, same))
    if reason := unscored(task):
        if asked.max_drop is not None:
            raise DataError(f"--max-drop needs a score: {reason}")
        return [*findings, Finding("metric on validation", True, f"not measured: {reason}")]
    dense = score(task)
    packed = score(task, Oracle(artifact, **limits) if artifact.graph is not None else restored)
    drop = dense - packed if task.higher_is_better else packed - dense
    limit = math.inf if asked.max_drop is None else asked.max_drop
    how = "in numpy" if artifact.graph is not None else "restored into torch, weights only"
    text = f"model {dense:.6g}, artifact {packed:.6g} ({how}): drop {drop:.3g}"
    bound = "" if asked.max_drop is None else f" (at most {asked.max_drop:g})"
    return [*findings, Finding("metric on validation", holds(drop, limit, dense), text + bound)]


def _examples(graph: Graph, inputs: Any) -> Any:
    """The inputs of a validation batch, of which a graph with a fixed batch takes the first."""
    fixed = fixed_batch(graph)
    if isinstance(inputs, tuple | list):
        return tuple(_examples(graph, part) for part in inputs)
    return inputs[:fixed] if fixed else inputs


check = verb(Asked, run_check)
