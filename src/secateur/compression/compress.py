"""compress(): the whole line in one call, in a folder where it can be interrupted at any moment and goes on exactly."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from secateur.compression.at_once import cut_at_once
from secateur.compression.fingerprint import fingerprint, replays
from secateur.compression.interrupts import stopping
from secateur.compression.layer_times import layer_times
from secateur.compression.line import Line, Passed
from secateur.compression.options import CHOSEN, Options
from secateur.compression.outcome import outcome, report_on
from secateur.compression.result import Compression
from secateur.compression.rounds import in_rounds, refuse_rounds
from secateur.compression.run_folder import SCHEDULE, RunFolder, held
from secateur.compression.suiting import suited_schedule
from secateur.compression.watching import watcher
from secateur.compression.within_drop import within_drop
from secateur.errors import SecateurWarning, TargetError
from secateur.ir.plan import Plan
from secateur.ir.rules import Prune
from secateur.ir.target import Target
from secateur.nn.pack import refuse_names
from secateur.nn.planning import plan as make_plan
from secateur.reporting.progress import Progress
from secateur.reporting.times import disagreements
from secateur.train.distillation import Distillation
from secateur.train.mac_aware import plan_keeping
from secateur.train.precision import refuse_unsupported
from secateur.train.replay import random_state, set_random_state
from secateur.train.schedule import Schedule
from secateur.train.task import Task, parts_of

ARTIFACT, RESULT, PLAN = "model.secat", "result.json", "plan.json"
REPORTS = ("report.html", "report.json")
SPENT = ("candidate-*.state", "trial-*.state", "round-*.state")


def compress(
    task: Task,
    target: Target,
    *,
    out: str | Path,
    plan: Plan | None = None,
    options: Options = CHOSEN,
    progress: Progress | None = None,
) -> Compression:
    """Plan, self-prune, harden, fine-tune, pack, check and report; returns what happened to every tensor.

    task      its model is the dense one and stays as it is; decisions look at its validation data alone
    target    what must hold. With max_drop the run ends with the sparsest network within it; where the plan prunes
              nothing, or gives every pruned tensor one pattern, n of every m, there is nothing to search and the drop
              is only judged
    out       the run's folder: model.secat, report.html, report.json, result.json. A run that was interrupted goes on
              there when compress is called again with the same; a complete one is read
    plan      what may be cut; None: everything that can be
    progress  told how far the run is

    DataError where the folder cannot be used or belongs to another run, with the differences; TargetError where the
    target was missed (unless options.on_miss is "warn"); TrainingError where training cannot go on, with the layer;
    ArtifactError, before anything else, for names of tensors that no file can hold.
    """
    refuse_names(task.model.state_dict())
    rows = make_plan(task.model, task.example, prune=Prune()) if plan is None else plan
    target = _for_plan(target, rows)
    before = random_state()
    try:
        with held(out) as folder:
            settings = options.settings()
            code = [Path(name) for name in options.code]
            told = fingerprint(task, rows, target, settings=settings, seed=options.seed, code=code)
            folder.begin(told)
            if not replays(told):
                warnings.warn(NO_REPLAY, SecateurWarning, stacklevel=2)
            result = _finished(folder)
            if result and progress:
                progress.say(f"the run in {out} was complete: its result is read, nothing was done again")
            result = result or _run(folder, task, target, rows, options, progress)
    finally:
        set_random_state(before)
    if result.missed:
        line = f"{MISSED}: {'; '.join(result.missed)}. The files are in {out}"
        if options.on_miss == "error":
            raise TargetError(line)
        warnings.warn(line, SecateurWarning, stacklevel=2)
    return result


def _for_plan(target: Target, plan: Plan) -> Target:
    """A plan that gives every tensor its pattern names the density, where nothing else is wished for but a max_drop."""
    if not plan.pruned and not target.wishes():
        raise TargetError(
            "max_drop alone searches for the sparsest network, and this plan prunes nothing: say what to reach as "
            "well, average_bits, packed_bytes or largest_map_bytes, so that the drop is judged there, or prune"
        )
    density = plan.pattern_density
    if density is not None and not target.wishes():
        return dataclasses.replace(target, density=density)
    given = [row.name for row in plan.pruned if row.prune and len(row.prune.patterns) == 1]
    if target.max_drop is not None and given and density is None:
        raise TargetError(
            f"max_drop searches for a density, of which the plan gives {given[0]} its own: give every pruned tensor "
            "one pattern, so that the drop is only judged, or none, or leave max_drop out"
        )
    return target


MISSED = "the target was missed"
NO_REPLAY = (
    "the training data does not come in the same order twice from the same seed, so an interrupted run goes on, but "
    "not exactly: draw all random numbers from torch, numpy or random, or from a torch.Generator that the loader has "
    "as `generator`"
)


def _run(
    folder: RunFolder, task: Task, target: Target, plan: Plan, options: Options, progress: Progress | None
) -> Compression:
    folder.write(PLAN, plan.to_json().encode())
    say: Callable[[str], None] = progress.say if progress else lambda _: None
    watch = watcher(progress) if progress else lambda _: None
    with stopping(say) as stop:
        line = Line(task, plan, folder, stop, watch, target.values, options.save_seconds)
        line.aim(target)
        if options.mac_aware is not None:
            refuse_rounds(line, target, options.mac_aware)
        if target.max_drop is not None:
            line.refuse_unscored()
        if options.one_shot is None:
            refuse_unsupported(task.model, options.precision)
            for batch in islice(task.val, 1):
                parts_of(batch)  # training validates after every epoch: refused now, not then
        say(f"score of the dense model on validation: {line.unscored or f'{line.score_dense:.6g}'}")
        schedule, chosen = _schedule(folder, task, target, options, say)
        within = None
        if options.one_shot is not None:
            passed = cut_at_once(line, target, options.one_shot, options.seed)
        elif options.mac_aware is not None:
            within = in_rounds(line, target, schedule, options.mac_aware, say)
            passed = within.passed
        elif target.max_drop is None or plan.pattern_density is not None or not plan.pruned:
            passed = line.train("state", target, schedule)
        else:
            within = within_drop(line, target, schedule)
            passed = within.passed
    if options.mac_aware is not None:
        kept = {row.name: row.nonzeros for row in passed.fitted.hardening.tensors}
        folder.write(PLAN, plan_keeping(task.model, plan, kept).to_json().encode())
    data = passed.artifact.to_bytes()
    result = outcome(line, target, schedule, passed, data=data, within=within)
    result = dataclasses.replace(result, notes=(*result.notes, *chosen))
    if options.times:
        say("measuring what every layer takes on this machine, dense and compressed")
        times = layer_times(task.model, passed.restored, task.example)
        notes = (*result.notes, *disagreements(result.layers, times))
        result = dataclasses.replace(result, times=times, notes=notes)
    _write(folder, line, passed, result, data)
    return result


def _write(folder: RunFolder, line: Line, passed: Passed, result: Compression, data: bytes) -> None:
    """The files of a complete run, the one that says so last; then what no longer serves goes."""
    folder.write(ARTIFACT, data)
    page = report_on(line, passed, result)
    for name, text in zip(REPORTS, (page.to_html(), page.to_json()), strict=True):
        folder.write(name, text.encode())
    folder.write(RESULT, result.to_json().encode())
    for pattern in SPENT:
        for path in folder.path.glob(pattern):
            path.unlink(missing_ok=True)


def _finished(folder: RunFolder) -> Compression | None:
    """The result of a complete run whose artifact is the one it wrote, else None: the run is then completed again."""
    path, artifact = folder.path / RESULT, folder.path / ARTIFACT
    if not (path.exists() and artifact.exists()):
        return None
    result = Compression.from_json(path.read_text(encoding="utf-8"))
    return result if hashlib.sha256(artifact.read_bytes()).hexdigest() == result.sha256 else None


def _schedule(
    folder: RunFolder, task: Task, target: Target, options: Options, say: Callable[[str], None]
) -> tuple[Schedule, tuple[str, ...]]:
    """Chosen once in a run, then read; and notes on how it was chosen."""
    if options.one_shot is not None:
        return Schedule(prune_epochs=0, finetune_epochs=0, seed=options.seed), ()
    told: dict[str, Any] | None = folder.read_json(SCHEDULE)
    if told is None:
        if options.lr is None:
            say("trying out rates: a few steps with each, on copies of the model")
        schedule, notes = suited_schedule(task, target, options)
        told = {**dataclasses.asdict(schedule), "notes": list(notes)}
        folder.write_json(SCHEDULE, told)
    notes = tuple(told.pop("notes", ()))
    distill = Distillation(**told["distill"]) if told["distill"] else None
    return Schedule(**{**told, "distill": distill}), notes
