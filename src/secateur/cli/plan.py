"""`secateur plan`: what may be cut in a task's model, as a table and as plan.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from secateur.cli.output import AsJSON, check_writable, note, show_result, write_file
from secateur.ir.plan import Prune


def plan(
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="file.py:function or module:function that returns a secateur.Task.")
    ],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the plan here, plan.json.")] = None,
    skip: Annotated[list[str] | None, typer.Option(help="A module, tensor or pattern to keep; repeatable.")] = None,
    granularity: Annotated[str, typer.Option(help="One threshold a tensor or a channel.")] = Prune().granularity,
    form: Annotated[str, typer.Option(help="Gradient: dense, analytic or straight_through.")] = Prune().form,
    as_json: AsJSON = False,
) -> None:
    """Plan what to prune: one row a tensor, and why the rest is kept."""
    rule = Prune(form=form, granularity=granularity)
    if output is not None:
        check_writable(output)
    from secateur.nn.planning import plan as plan_model
    from secateur.train.loading import load_task

    loaded = load_task(task)
    found = plan_model(loaded.model, loaded.example, prune=rule, skip=tuple(skip or ()))
    if output is not None:
        write_file(output, found.to_json().encode())
        note(f"wrote {output}: {len(found.pruned)} of {len(found)} tensors may be cut")
    show_result(str(found), json.loads(found.to_json()), as_json=as_json)
