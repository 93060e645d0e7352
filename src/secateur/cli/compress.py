"""`secateur compress`: the whole line on a task of a user's, in a run folder that survives interruptions."""

from __future__ import annotations

import json
import math
import sys
import warnings
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur.cli.exits import CHECK_FAILED, printable
from secateur.cli.mac_aware import MAC_AWARE, SELF_PRUNING, options_from, refuse_method
from secateur.cli.options import map_rule, verb, weight_rule
from secateur.cli.output import note, show_result
from secateur.cli.pattern import prune_from
from secateur.errors import PlanError, SecateurWarning
from secateur.ir.plan import Plan
from secateur.ir.rules import Prune, Quantize
from secateur.ir.storage import output_folder
from secateur.ir.target import Target
from secateur.reporting.layers import PRUNED, LayerRow
from secateur.reporting.progress import progress_on

if TYPE_CHECKING:
    from secateur.compression.options import Options
    from secateur.compression.result import Compression

BATCHES = 8
"""That --one-shot sees where nobody says how many."""


@dataclass(frozen=True)
class Asked:
    """Compress a task's model: prune, pack, verify, report. The same command goes on where a run was interrupted."""

    task: Annotated[
        str, typer.Argument(metavar="TASK", help="file.py:function or module:function that returns a secateur.Task.")
    ]
    output: Annotated[Path, typer.Option("-o", "--output", help="The run's folder.")] = Path("run")
    density: Annotated[float | None, typer.Option(help="Fraction of the weights that stays, 0.1.")] = None
    packed_bytes: Annotated[int | None, typer.Option(help="Most bytes of the file.")] = None
    macs: Annotated[int | None, typer.Option(help="Most multiply-accumulates for one example.")] = None
    max_drop: Annotated[float | None, typer.Option(help="Largest loss of the metric on validation, 0.01.")] = None
    pattern: Annotated[str | None, typer.Option(help="n of every m weights stay: 4:16; 1,2,4,8:16 to choose.")] = None
    bits: Annotated[str | None, typer.Option(help="Quantize weights: 4 bits, 2-8 learned, 2,4,8 one of these.")] = None
    level: Annotated[str | None, typer.Option(help="What --bits averages over in training: width or value.")] = None
    average_bits: Annotated[float | None, typer.Option(help="Most bits a kept weight has on average.")] = None
    map_bits: Annotated[str | None, typer.Option(help="Quantize feature maps as well: 8, 4-8, 4,8 or dynamic.")] = None
    bit_operations: Annotated[int | None, typer.Option(help="Most bit operations for one example.")] = None
    largest_map_bytes: Annotated[int | None, typer.Option(help="Most bytes of a feature map, one example.")] = None
    values: Annotated[str, typer.Option(help="Store numbers as float32, float16 or int8.")] = "float32"
    plan: Annotated[Path | None, typer.Option(help="What may be cut, plan.json; else all that can be.")] = None
    epochs: Annotated[int | None, typer.Option(min=0, help="Of self-pruning; else chosen.")] = None
    finetune_epochs: Annotated[int | None, typer.Option(min=0, help="After hardening; else chosen.")] = None
    lr: Annotated[float | None, typer.Option(help="Peak rate of the weights, Adam; else tried out.")] = None
    distill: Annotated[float, typer.Option(help="Share of the dense model's outputs in the loss, 0 to 1.")] = 0.0
    match: Annotated[str | None, typer.Option(help="What to distill: logits (the default) or outputs.")] = None
    average: Annotated[float, typer.Option(help="Decay of a moving average of the weights, 0.999; 0: none.")] = 0.0
    precision: Annotated[str, typer.Option(help="Of forward passes in training: float32 or bfloat16.")] = "float32"
    one_shot: Annotated[
        bool, typer.Option("--one-shot", help="Cut, or with --bits quantize, at once instead of training.")
    ] = False
    batches: Annotated[
        int | None, typer.Option(min=0, help="Of training inputs that --one-shot sees, 8, or mac-aware, 0; 0: none.")
    ] = None
    method: Annotated[str, typer.Option(help="How weights are chosen: self-pruning or mac-aware.")] = SELF_PRUNING
    allowance: Annotated[
        str | None, typer.Option(help="Of mac-aware: relative (the default), uniform, linear, sqrt, sensitivity.")
    ] = None
    cap: Annotated[float | None, typer.Option(help="Of mac-aware: most of a tensor that goes, 0.95.")] = None
    rounds: Annotated[int | None, typer.Option(min=1, help="Of mac-aware: cut and fine-tune so often, 1.")] = None
    seed: Annotated[int, typer.Option(min=0, help="Of everything drawn at random.")] = 0
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads; else torch's choice.")] = None
    save_seconds: Annotated[float, typer.Option(min=0, help="Between two states inside an epoch.")] = 60.0
    times: Annotated[
        bool, typer.Option("--times", help="Measure every layer's time here, dense and compressed, at the end.")
    ] = False
    on_miss: Annotated[str, typer.Option(help="A missed target is an error (exit 1) or only told: warn.")] = "error"
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON, alone on standard output.")] = False


def run_compress(asked: Asked) -> None:
    """See Asked."""
    weights, maps = weight_rule(asked.bits, asked.level), map_rule(asked.map_bits)
    _refuse_method(asked)
    rule = prune_from(asked.pattern)
    given = {"--bits": asked.bits, "--map-bits": asked.map_bits, "--pattern": asked.pattern}
    told = [name for name, text in given.items() if text is not None]
    plan = _plan(asked.plan)
    if plan is not None and told:
        raise PlanError(f"{', '.join(told)} says nothing beside --plan, which has rules of its own: give one of them")
    target = _target(asked, weights, _density_of(rule) if plan is None else plan.pattern_density)
    output_folder(asked.output)
    import torch

    from secateur.compression.compress import compress as compress_task
    from secateur.nn.planning import plan as plan_model
    from secateur.train.loading import load_task

    if asked.threads is not None:
        torch.set_num_threads(asked.threads)
    options = _options(asked)
    task = load_task(asked.task)
    if told:
        limits = (asked.density, asked.macs, asked.pattern, asked.packed_bytes)
        cuts = not asked.one_shot or any(limit is not None for limit in limits)
        prune = rule if cuts else None  # bits at once under no limit on weights: nothing has to go
        plan = plan_model(task.model, task.example, prune=prune, quantize=weights, maps=maps)
    with progress_on(sys.stderr) as progress, warnings.catch_warnings():
        warnings.simplefilter("always", SecateurWarning)
        warnings.showwarning = lambda message, *_: (
            progress.say(printable(f"warning: {message}")) if _is_news(message) else None
        )
        result = compress_task(task, target, out=asked.output, plan=plan, options=options, progress=progress)
    _tell(result, asked)


def _refuse_method(asked: Asked) -> None:
    beside = {
        "--one-shot": asked.one_shot,
        "--epochs": asked.epochs is not None,
        "--pattern": asked.pattern is not None,
        "--bits": asked.bits is not None,
        "--map-bits": asked.map_bits is not None,
    }
    alone = {f"--{name}": getattr(asked, name) is not None for name in ("allowance", "cap", "rounds")}
    refuse_method(asked.method, beside=beside, alone=alone)


def _density_of(rule: Prune) -> float | None:
    """Of the one pattern of a rule."""
    return rule.patterns[0].density if len(rule.patterns) == 1 else None


def _target(asked: Asked, weights: Quantize | None, density: float | None) -> Target:
    """What must hold. Quantizing at once under no limit, the widths of --bits are what is asked for; under one pattern
    it is the density of that."""
    limits = {field.name: getattr(asked, field.name) for field in fields(Target)}
    wished = [name for name, limit in limits.items() if limit is not None and name not in ("values", "max_drop")]
    if asked.one_shot and weights is not None and not wished:
        limits["average_bits"] = max(weights.bits)
    elif not wished and density is not None:
        limits["density"] = density
    return Target(**limits)


def _is_news(message: Warning | str) -> bool:
    """A missed target is told with the result."""
    from secateur.compression.compress import MISSED

    return not str(message).startswith(MISSED)


def _options(asked: Asked) -> Options:
    from secateur.compression.options import ON_MISS, Options
    from secateur.errors import TargetError
    from secateur.train.distillation import Distillation

    if asked.on_miss not in ON_MISS:
        raise TargetError(f"--on-miss is {' or '.join(ON_MISS)}, not {asked.on_miss!r}")
    for name, given, needed in (
        ("--match", asked.match is not None, "--distill" if not asked.distill else ""),
        ("--batches", asked.batches is not None, "" if asked.one_shot or asked.method == MAC_AWARE else "--one-shot"),
    ):
        if given and needed:
            raise TargetError(f"{name} says nothing without {needed}: give both, or neither")
    file = Path(asked.task.rpartition(":")[0])
    return Options(
        prune_epochs=asked.epochs,
        finetune_epochs=asked.finetune_epochs,
        lr=asked.lr,
        average=asked.average,
        precision=asked.precision,
        distill=Distillation(asked.distill, match=asked.match or "logits") if asked.distill else None,
        one_shot=(BATCHES if asked.batches is None else asked.batches) if asked.one_shot else None,
        mac_aware=options_from(asked.allowance, asked.cap, asked.batches, asked.rounds)
        if asked.method == MAC_AWARE
        else None,
        seed=asked.seed,
        save_seconds=asked.save_seconds,
        times=asked.times,
        on_miss="warn",  # told below, with the exit status of a check that failed
        code=(str(file),) if file.is_file() else (),
    )


def _plan(path: Path | None) -> Plan | None:
    if path is None:
        return None
    try:
        return Plan.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"cannot read {path}: {error}") from None


def _tell(result: Compression, asked: Asked) -> None:
    from secateur.compression.outcome import checked_in_words

    before, after = result.macs
    times = result.bytes_before / result.file_bytes
    schedule = result.schedule
    lines = [
        str(result),
        "",
        f"score on validation: {_scores(result)}",
        f"density {result.density:.4g} of the weights in pruned tensors" if any(map(_is_pruned, result.layers)) else "",
        f"bytes: {result.bytes_before:,} as float32, {result.file_bytes:,} in the file ({times:.1f} times fewer)",
        f"multiply-accumulates for one example: {before:,} dense, {after:,} on non-zero weights" if before else "",
        f"bit operations for one example: {32 * 32 * before:,} dense, {result.bit_operations:,} now"
        if result.maps
        else "",
        f"{_at_once(result)} at once, nothing was trained"
        if asked.one_shot
        else f"trained {_trained(result)} epochs, rate {schedule.lr:g}, forward passes in {schedule.precision}",
        f"verified: {checked_in_words(result.check)}",
        *(f"note: {line}" for line in result.notes),
        f"wrote model.secat, report.html, report.json and result.json into {asked.output}",
    ]
    data: dict[str, Any] = {"folder": asked.output, "met": result.met, **json.loads(result.to_json())}
    show_result("\n".join(line for line in lines if line), data, as_json=asked.as_json)
    for line in result.missed:
        note(f"MISSED: {line}")
    if result.missed and asked.on_miss == "error":
        raise typer.Exit(CHECK_FAILED)


def _at_once(result: Compression) -> str:
    done = ("cut", any(map(_is_pruned, result.layers))), ("quantized", any(row.bits for row in result.layers))
    return " and ".join(name for name, was in done if was)


def _trained(result: Compression) -> str:
    prune, finetune = result.schedule.prune_epochs, result.schedule.finetune_epochs
    rounds = len(result.rounds)
    return f"{rounds} {'round' if rounds == 1 else 'rounds'} of {finetune}" if rounds else f"{prune} + {finetune}"


def _is_pruned(row: LayerRow) -> bool:
    return row.fate == PRUNED


def _scores(result: Compression) -> str:
    if math.isnan(result.drop):
        return "not measured"
    return f"dense {result.score_dense:.6g}, file {result.score_packed:.6g}, drop {result.drop:.4g}"


compress = verb(Asked, run_compress)
