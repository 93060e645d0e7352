"""`secateur plan`: what may be cut in a task's model, as a table and as plan.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secateur.cli.mac_aware import MAC_AWARE, SELF_PRUNING, found_plan, options_from, plain, refuse_method
from secateur.cli.options import map_rule, verb, weight_rule
from secateur.cli.output import AsJSON, check_writable, note, show_result, write_file
from secateur.cli.pattern import prune_from
from secateur.ir.rules import Prune
from secateur.ir.target import Target

if TYPE_CHECKING:
    from secateur.compression.options import MacAwareOptions


@dataclass(frozen=True)
class Asked:
    """Plan what to prune and quantize: one row a tensor, and why the rest is kept."""

    task: Annotated[
        str, typer.Argument(metavar="TASK", help="file.py:function or module:function that returns a secateur.Task.")
    ]
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the plan here, plan.json.")] = None
    skip: Annotated[list[str] | None, typer.Option(help="A module, tensor or pattern to keep; repeatable.")] = None
    granularity: Annotated[str, typer.Option(help="One threshold a tensor or a channel.")] = Prune().granularity
    form: Annotated[str | None, typer.Option(help="Gradient: dense, analytic or straight_through; else chosen.")] = None
    pattern: Annotated[str | None, typer.Option(help="n of every m weights stay: 4:16; 1,2,4,8:16 to choose.")] = None
    method: Annotated[
        str | None, typer.Option(help="threshold or mac-aware, or for a pattern balanced, sr_ste, top_n.")
    ] = None
    macs: Annotated[int | None, typer.Option(help="Of mac-aware: most multiply-accumulates for one example.")] = None
    density: Annotated[float | None, typer.Option(help="Of mac-aware: or fraction of the weights that stays.")] = None
    allowance: Annotated[
        str | None, typer.Option(help="Of mac-aware: relative (the default), uniform, linear, sqrt, sensitivity.")
    ] = None
    cap: Annotated[float | None, typer.Option(help="Of mac-aware: most of a tensor that goes, 0.95.")] = None
    batches: Annotated[int | None, typer.Option(min=0, help="Of training inputs that mac-aware sees, 0.")] = None
    seed: Annotated[int | None, typer.Option(min=0, help="That these batches are drawn with, 0.")] = None
    also: Annotated[str | None, typer.Option(help="At most so many in any so many besides: 2:4.")] = None
    groups: Annotated[str | None, typer.Option(help="What a group runs along: inputs or banks.")] = None
    bits: Annotated[str | None, typer.Option(help="Quantize weights: 4 bits, 2-8 learned, 2,4,8 one of these.")] = None
    level: Annotated[str | None, typer.Option(help="What --bits averages over in training: width or value.")] = None
    map_bits: Annotated[str | None, typer.Option(help="Quantize feature maps as well: 8, 4-8, 4,8 or dynamic.")] = None
    as_json: AsJSON = False


def run_plan(asked: Asked) -> None:
    """See Asked."""
    options = {"also": asked.also, "groups": asked.groups, "form": asked.form, "granularity": asked.granularity}
    found_by = _mac_aware(asked)
    rule = prune_from(asked.pattern, method=None if found_by else asked.method, **options)
    quantize, maps = weight_rule(asked.bits, asked.level), map_rule(asked.map_bits)
    if asked.output is not None:
        check_writable(asked.output)
    from secateur.nn.planning import plan as plan_model
    from secateur.train.loading import load_task

    task = load_task(asked.task)
    skip = tuple(asked.skip or ())
    found = plan_model(task.model, task.example, prune=rule, quantize=quantize, maps=maps, skip=skip)
    text, more_data = str(found), {}
    if found_by:
        target = Target(macs=asked.macs, density=asked.density)
        shares = found_plan(task, found, target, found_by, asked.seed or 0)
        found, text, more_data = shares.plan, str(shares), {"mac_aware": plain(shares)}
    if asked.output is not None:
        write_file(asked.output, found.to_json().encode())
        more = f", {len(found.quantized_maps)} of {len(found.maps)} feature maps quantized" if found.maps else ""
        note(f"wrote {asked.output}: {len(found.pruned)} of {len(found)} tensors may be cut{more}")
    show_result(text, {**json.loads(found.to_json()), **more_data}, as_json=asked.as_json)


def _mac_aware(asked: Asked) -> MacAwareOptions | None:
    """What mac-aware is given; None for another method. PlanError for options that do not go with the method."""
    alone = ("macs", "density", "allowance", "cap", "batches", "seed")
    given = {f"--{name}": getattr(asked, name) is not None for name in alone}
    beside = {"--pattern": asked.pattern is not None}
    method = MAC_AWARE if asked.method == MAC_AWARE else SELF_PRUNING
    refuse_method(method, beside=beside, alone=given)
    return options_from(asked.allowance, asked.cap, asked.batches, None) if method == MAC_AWARE else None


plan = verb(Asked, run_plan)
