"""From the packed network to the result: checked against torch and the target, explained, written as a report."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils import _pytree

from secateur.compression.explaining import went_back, why
from secateur.compression.line import Line, Passed
from secateur.compression.result import Compression
from secateur.compression.within_drop import Within
from secateur.ir.artifact import Artifact
from secateur.ir.bit_count import count_bits
from secateur.ir.count import count
from secateur.ir.effort import fixed_batch, runnable_batch
from secateur.ir.plan_rows import float_map_bytes
from secateur.ir.target import Target
from secateur.nn.bit_operations import FLOAT_BITS, bit_operations, read_by
from secateur.nn.check import Check, check_file
from secateur.nn.harden import Hardening
from secateur.reporting.facts import Training
from secateur.reporting.layers import PRUNED, LayerRow, layer_rows
from secateur.reporting.maps import MapRow, largest_map_bytes, map_rows
from secateur.reporting.measurement import Change, Measurement
from secateur.reporting.report import Report, report
from secateur.train.modes import frozen
from secateur.train.one_shot_result import OneShot
from secateur.train.precision import FULL
from secateur.train.replay import replayed
from secateur.train.schedule import Schedule
from secateur.train.task import Task, accuracy, inputs_of

NAMED = 5
"""So many modules a note lists by name."""
CHECKED = 64
"""Examples of the first validation batch that the numpy reference runs, or fewer, so that 4 GiB are enough."""


def outcome(
    line: Line, target: Target, schedule: Schedule, passed: Passed, *, data: bytes, within: Within | None = None
) -> Compression:
    """Judge a pass. data: the bytes of its artifact; within: what a search for a max_drop found."""
    hardened = passed.fitted.hardening
    rows = layer_rows(line.plan, passed.artifact, hardened)
    checked = _check(line, passed)
    drop = line.drop(passed.score)
    told = within or Within(passed, (), ())
    maps = map_rows(line.plan, hardened.maps)
    operations = _operations(line, rows, hardened)
    largest = _largest_map(maps, passed.artifact)
    found = {"packed_bytes": len(data), "bit_operations": operations, "largest_map_bytes": largest}
    missed = told.missed or (*_missed(target, rows, found, hardened), *_beyond(line, target, drop))
    return Compression(
        target=target,
        schedule=schedule,
        layers=rows,
        factor=hardened.factor,
        score_dense=line.score_dense,
        score_soft=passed.fitted.score_soft,
        score_hard=passed.fitted.score_hard,
        score_packed=passed.score,
        drop=drop,
        file_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        check=checked,
        missed=(*missed, *_differs(checked)),
        notes=(
            *told.notes,
            *why(line, passed, drop),
            *went_back(passed),
            *_refitted(passed),
            *_packing(passed),
            *_products_of_maps(passed.artifact),
            *_not_seen(passed),
            *_frozen(line, passed),
        ),
        maps=maps,
        bit_operations=operations,
        rounds=told.rounds,
    )


def report_on(line: Line, passed: Passed, result: Compression) -> Report:
    """The page of a run."""
    batches = f"mean metric over {len(line.task.val):,} validation batches"
    before, after = result.macs
    summary = [
        _score(line.task, result, batches),
        _change("density", "fraction", 1.0, result.density, "weights in pruned tensors", "non-zeros in the file"),
        _change("bytes", "bytes", result.bytes_before, result.file_bytes, "parameters as float32", "whole model.secat"),
        _change("multiply-accumulates", "macs", before, after, "one example", "one example, on non-zero weights"),
    ]
    if result.maps:
        dense = FLOAT_BITS**2 * before
        summary.append(_change("bit operations", "macs", dense, result.bit_operations, "one example, 32 x 32 bits",
                               "one example, on non-zero weights, at the widths of weights and maps"))  # fmt: skip
        floats = max(map(float_map_bytes, result.maps))
        summary.append(_change("largest feature map", "bytes", floats, _largest_map(result.maps, passed.artifact),
                               "one example, as float32", "one example, float32 where not quantized"))  # fmt: skip
    sizes = {row.name: row.size for row in line.plan}
    judged = summary[0].after
    training = Training.of(passed.fitted.history, sizes, f"{judged.name}: {batches}", judged.unit)
    notes = [
        *(f"Missed: {line}" for line in result.missed),
        *result.notes,
        _hardened_in_words(passed, result),
        *_precision(result.schedule),
        checked_in_words(result.check),
    ]
    rows = layer_rows(line.plan, passed.artifact, passed.fitted.hardening, passed.histograms)
    page = report(
        passed.artifact,
        title=f"{type(line.task.model).__name__}, compressed",
        summary=summary,
        training=training,
        layers=rows,
        notes=notes,
    )
    return dataclasses.replace(page, maps=result.maps, rounds=result.rounds, times=result.times)


def _precision(schedule: Schedule) -> list[str]:
    return [] if schedule.precision == FULL else [f"Forward passes of training computed in {schedule.precision}."]


def _hardened_in_words(passed: Passed, result: Compression) -> str:
    taken = f"took the score from {result.score_soft:.6g} to {result.score_hard:.6g}"
    found = passed.fitted.hardening
    if isinstance(found, OneShot):
        given = f"{found.samples:,} training inputs without labels" if found.samples else "the weights alone"
        done = "Cutting" if found.allocation else "Quantizing"
        tried = ", ".join(f"{bits} bits {lost:.3g}" for bits, lost in found.tried.items())
        widths = f" Of the mean widths tried the one that loses least was taken: {tried}." if tried else ""
        return f"{done} at once, from {given}, {taken}; nothing was trained.{widths}"
    grouped = [row for row in found.tensors if row.groups is not None]
    told = [f"all learned thresholds were multiplied by {result.factor:.3f}"] if _has_free(found) else []
    if grouped:
        moved = f"{sum(row.moved for row in grouped):,} of {sum(row.size for row in grouped):,} weights"
        told.append(
            f"leaving exactly as many of every group as its pattern says moved {moved} from one side to the other"
        )
    return "; ".join([f"Hardening {taken}", *told]) + "."


def _has_free(found: Hardening) -> bool:
    """Whether any tensor is pruned without a pattern, or none at all."""
    pruned = [row for row in found.tensors if row.pruned]
    return not pruned or any(row.groups is None for row in pruned)


def checked_in_words(found: Check | None) -> str:
    """What running the file in numpy showed."""
    if found is None:
        return "The file holds weights alone; its score is that of the torch model restored from it."
    return (
        f"The file run in numpy and the torch model restored from it differ by at most {found.relative_difference:.0e} "
        f"of the largest output on {found.examples} examples, same arg max for {found.agreement:.2%}."
    )


def _check(line: Line, passed: Passed) -> Check | None:
    graph = passed.artifact.graph
    if graph is None:
        return None
    examples = runnable_batch(graph, CHECKED)
    with replayed(line.task.val):
        batch = next(iter(line.task.val), None)

    def first(tensor: Any) -> Any:
        return tensor[:examples].detach().to("cpu") if isinstance(tensor, Tensor) else tensor

    inputs: Any = line.task.example if batch is None else inputs_of(batch)
    inputs = _pytree.tree_map(first, inputs)
    if fixed_batch(graph) and len(_pytree.tree_leaves(inputs)[0]) < examples:
        inputs = line.task.example  # what the graph was traced with: batches are smaller
    # The file is our own: it may take what one batch of it takes.
    return check_file(passed.artifact, line.task.model, inputs, max_bytes=sys.maxsize, max_seconds=math.inf)


def _operations(line: Line, rows: tuple[LayerRow, ...], hardened: Hardening) -> int:
    """Bit operations of the whole network for one example, on weights that are not zero in the file."""
    macs = {row.name: row.macs_after for row in rows}
    bits = {row.name: row.bits for row in rows if row.bits is not None}
    by_map = {row.name: row.bits for row in hardened.maps}
    reads = read_by({row.name: row for row in line.plan}, line.plan.quantized_maps)
    return bit_operations(macs, bits, by_map, reads)


def _missed(target: Target, rows: tuple[LayerRow, ...], whole: Mapping[str, int], hardened: Hardening) -> list[str]:
    pruned = [row for row in rows if row.fate == PRUNED]
    total, kept = sum(row.weights for row in pruned), sum(row.nonzeros for row in pruned)
    found: dict[str, float] = {
        "density": kept / total if total else 1.0,
        "average_bits": hardened.average_bits or 0.0,
        "macs": sum(row.macs_after for row in rows),
        **whole,
    }
    limits = {**target.wishes()}
    if "density" in limits:
        limits["density"] = max(1, round(limits["density"] * total)) / total  # exact to the weight
        if any(row.groups is not None for row in hardened.tensors):
            limits["density"] = max(limits["density"], hardened.density)  # as shorter last groups round up
    return [f"{name} {limit:g}: got {found[name]:g}" for name, limit in limits.items() if found[name] > limit]


def _largest_map(maps: Sequence[MapRow], artifact: Artifact) -> int:
    """Bytes of the largest feature map, of the plan's and of those that the graph of the file reads: one that the plan
    could not see counts too."""
    planned = largest_map_bytes(maps)
    if artifact.graph is None:
        return planned
    largest = count_bits(artifact.graph, artifact.tensors, count(artifact.graph, artifact.constants)).largest_map
    return max(planned, largest.bytes) if largest else planned


def _products_of_maps(artifact: Artifact) -> list[str]:
    """What the layers' multiply-accumulates do not hold."""
    found = count(artifact.graph, artifact.constants).map_macs if artifact.graph is not None else 0
    if not found:
        return []
    return [
        f"Products of maps, as of queries and keys, take {found:,} more multiply-accumulates for one example; no "
        "weight takes part in them, so no cut makes them fewer."
    ]


def _beyond(line: Line, target: Target, drop: float) -> list[str]:
    if target.max_drop is None or line.within(target.max_drop, drop):  # a drop that is NaN is a miss
        return []
    return [f"max_drop {target.max_drop:g}: lost {drop:.4g} on validation"]


def _differs(found: Check | None) -> list[str]:
    if found is None or found.relative_difference <= found.tolerance:
        return []
    return [f"the file differs from torch by {found.relative_difference:.1e} of the largest output: please report this"]


def _refitted(passed: Passed) -> list[str]:
    """Weights that went or came back after hardening, for the file to fill its limit."""
    history = [record for record in passed.fitted.history if record.phase == "finetune"]
    during = _refit_in_words(sum(record.cut for record in history), sum(record.grown for record in history))
    after = _refit_in_words(passed.refit.cut, passed.refit.grown)
    told = [f"{during} while it was fine-tuned"] if during else []
    told += [f"{after} at the very end"] if after else []
    return [f"for the file to fill its limit, {', '.join(told)}"] if told else []


def _refit_in_words(cut: int, grown: int) -> str:
    """Counts of weights, the least that had stayed and the largest that had gone; "" for none."""
    words = [f"{cut:,} weights more were cut"] if cut else []
    words += [f"{grown:,} came back"] if grown else []
    return " and ".join(words)


def _packing(passed: Passed) -> list[str]:
    """What packing had to say of the file, each once."""
    reason, notes = passed.artifact.meta.get("weights_only"), passed.artifact.meta.get("notes", [])
    assert isinstance(notes, list)
    told = [f"the file holds weights alone and cannot run by itself: {reason}"] if reason else []
    return [*told, *dict.fromkeys(str(note) for note in notes)]


def _not_seen(passed: Passed) -> list[str]:
    """What cutting at once could not do in full."""
    found = passed.fitted.hardening
    return [f"{name}: {why}" for name, why in found.fallbacks.items()] if isinstance(found, OneShot) else []


def _frozen(line: Line, passed: Passed) -> list[str]:
    """Modules that trained in evaluation mode."""
    names = [] if isinstance(passed.fitted.hardening, OneShot) else list(frozen(line.task.model))
    if not names:
        return []
    listed = ", ".join(name or "the model" for name in names[:NAMED]) + (
        f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    )
    return [
        f"{listed} trained in evaluation mode, as the task's model has it or for a norm's momentum of 0: "
        "statistics there stay as they were, and nothing is dropped"
    ]


def _score(task: Task, result: Compression, batches: str) -> Change:
    """The metric of the dense model and of the file, with its direction, so that runs can be compared by it."""
    name, unit = ("accuracy", "fraction") if task.metric is accuracy else ("score", "1")
    higher = task.higher_is_better
    return Change(
        Measurement(name, result.score_dense, unit, batches, higher),
        Measurement(name, result.score_packed, unit, "the same, model.secat in torch", higher),
    )


def _change(name: str, unit: str, before: float, after: float, *how: str) -> Change:
    return Change(Measurement(name, before, unit, how[0]), Measurement(name, after, unit, how[1]))
