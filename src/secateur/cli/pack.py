"""`secateur pack`: a task's model with a checkpoint's weights becomes an artifact."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secateur.cli.options import verb
from secateur.cli.output import AsJSON, check_writable, note, show_result, write_file
from secateur.errors import PlanError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Asked:
    """Pack a model and its weights into one file that runs without torch."""

    task: Annotated[
        str, typer.Argument(metavar="TASK", help="file.py:function or module:function that returns a secateur.Task.")
    ]
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the artifact goes, model.secat.")]
    checkpoint: Annotated[Path | None, typer.Option(help="Weights of the model: torch.save(model.state_dict()).")] = (
        None
    )
    plan: Annotated[Path | None, typer.Option(help="The plan, where the checkpoint is of a prepared model.")] = None
    values: Annotated[str, typer.Option(help="Store numbers as float32, float16 or int8.")] = "float32"
    smallest: Annotated[
        bool,
        typer.Option(
            "--smallest",
            help="The smallest of: units in their own order, sorted, sorted and rescaled.",
        ),
    ] = False
    as_json: AsJSON = False


def run_pack(asked: Asked) -> None:
    """See Asked."""
    output = asked.output
    if asked.plan is not None and asked.checkpoint is None:
        raise PlanError("--plan says nothing without --checkpoint, the prepared model's weights: give both, or neither")
    check_writable(output)
    from secateur.nn.pack import pack as pack_model
    from secateur.train.loading import load_task

    loaded = load_task(asked.task)
    if asked.checkpoint is not None:
        _load(loaded.model, asked.checkpoint, asked.plan)
    artifact = pack_model(loaded.model, loaded.example, values=asked.values)
    data, chosen = artifact.to_bytes(), "units in their own order"
    if asked.smallest and artifact.graph is not None:
        for rescale, words in ((False, "units sorted"), (True, "units sorted and rescaled")):
            other = pack_model(loaded.model, loaded.example, values=asked.values, sort=True, rescale=rescale)
            if len(found := other.to_bytes()) < len(data):
                artifact, data, chosen = other, found, words
    write_file(output, data)
    weights_only = artifact.meta.get("weights_only")
    if weights_only:
        note(f"{output} holds weights only and cannot run by itself: {weights_only}")
    result = {"file": output, "file_bytes": len(data), "runs": not weights_only, "units": chosen, "meta": artifact.meta}
    told = f", {chosen}" if asked.smallest else ""
    show_result(f"wrote {output}: {len(data):,} bytes{told}", result, as_json=asked.as_json)


def _load(model: nn.Module, checkpoint: Path, plan: Path | None) -> None:
    from secateur.cli.checkpoint import is_prepared, load_into, state_of
    from secateur.ir.plan import Plan
    from secateur.nn.prepare import prepare_

    state = state_of(checkpoint)
    if plan is not None and not is_prepared(state):
        raise PlanError(f"{checkpoint} is of a plain model, to which --plan says nothing: leave it away")
    if is_prepared(state):
        if plan is None:
            raise PlanError(f"{checkpoint} is of a prepared model: name its plan, --plan plan.json")
        try:
            text = plan.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PlanError(f"cannot read {plan}: {error}") from None
        prepare_(model, Plan.from_json(text))
    load_into(model, state, checkpoint)


pack = verb(Asked, run_pack)
