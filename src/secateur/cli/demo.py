"""`secateur demo`: the whole line on real images that ship with the package."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur.cli.exits import CHECK_FAILED
from secateur.cli.output import AsJSON, check_writable, note, show_result, write_file
from secateur.errors import TargetError
from secateur.ir.storage import output_folder
from secateur.ir.text_table import text_table
from secateur.reporting.progress import duration, progress_on

if TYPE_CHECKING:
    from secateur.cli.demo_line import DemoResult, Recipe

ARTIFACT, REPORT, TWIN = FILES = ("demo.secat", "report.html", "report.json")


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for demo.secat and its report.")] = Path(),
    fast: Annotated[bool, typer.Option("--fast", help="Train for a few epochs only: under 40 seconds.")] = False,
    density: Annotated[float, typer.Option(help="Fraction of the weights that stays.")] = 0.03,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and order: equal seeds give equal demo.secat.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Processor threads; more only help on a quiet machine.")] = 1,
    as_json: AsJSON = False,
) -> None:
    """Train LeNet-5 on Fashion-MNIST, prune it, pack it, verify the file: needs no data and no network."""
    if not 0 < density <= 1:
        raise TargetError(f"--density is a fraction of the weights, 0 < density <= 1, got {density}; 3 % is 0.03")
    folder = output_folder(output)
    for name in FILES:
        check_writable(folder / name)
    recipe = _recipe(density, fast=fast)
    replaced = [str(folder / name) for name in FILES if (folder / name).exists()]
    note(
        f"LeNet-5 on 10,000 images of Fashion-MNIST: training, self-pruning to {density:.3g} of its weights, packing "
        f"and verifying; about {'half a minute' if fast else 'three minutes'}. "
        f"Writes {folder / ARTIFACT}, its report {folder / REPORT} and {TWIN}"
        f"{' (replaces ' + ' and '.join(replaced) + ')' if replaced else ''}."
    )
    start = time.perf_counter()
    try:
        result = _train(recipe, seed=seed, threads=threads)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"training was stopped; nothing was written into {folder}") from None
    used = f"{threads} thread{'s' if threads > 1 else ''}"
    took = (
        f"The dense network was trained for {len(result.epochs)} epochs, the pruned one for "
        f"{len(result.fitted.history)} more. "
        f"Everything together took {duration(time.perf_counter() - start)} on {used}, seed {seed}."
    )
    _finish(result, took, folder, as_json=as_json)


def _recipe(density: float, *, fast: bool) -> Recipe:
    from secateur.cli.demo_line import Recipe
    from secateur.train.schedule import Schedule

    if fast:
        # Fewer steps to a threshold's place need longer ones.
        return Recipe(2, Schedule(4, 1, threshold_lr=4e-2), density)
    return Recipe(10, Schedule(18, 8), density)


def _train(recipe: Recipe, *, seed: int, threads: int) -> DemoResult:
    import torch

    from secateur.cli.demo_data import load_demo_data
    from secateur.cli.demo_line import run_line
    from secateur.cli.demo_network import build
    from secateur.compression.watching import watcher

    torch.set_num_threads(threads)
    task, test = build(load_demo_data(), seed)
    with progress_on(sys.stderr) as progress:
        return run_line(task, test, recipe, watcher(progress))


def _finish(result: DemoResult, took: str, folder: Path, *, as_json: bool) -> None:
    from secateur.cli.demo_report import demo_report, summary, verified
    from secateur.reporting.saving import written

    made = demo_report(result, took)
    write_file(folder / ARTIFACT, result.packed.to_bytes())
    for name in (REPORT, TWIN):
        write_file(folder / name, written(made, name))
    rows = [(c.before.name, str(c.before), str(c.after), str(c), _how(c.before.how, c.after.how)) for c in made.summary]
    table = text_table(("measured", "before", "after", "change", "how"), rows, right=("before", "after", "change"))
    text = f"{table}\n\nverified: {verified(result)}\n{took}\nwrote {folder / ARTIFACT}, {REPORT} and {TWIN}"
    data: dict[str, Any] = {
        "summary": [dataclasses.asdict(change) for change in summary(result)],
        "verified": dataclasses.asdict(result.check),
        "validation_soft": result.fitted.score_soft,
        "validation_hard": result.fitted.score_hard,
        "environment": made.environment,
        "files": [folder / name for name in FILES],
    }
    show_result(text, data, as_json=as_json)
    if result.check.relative_difference > result.check.tolerance:
        note(f"check failed: {ARTIFACT} differs from torch by more than {result.check.tolerance} of the largest output")
        raise typer.Exit(CHECK_FAILED)


def _how(before: str, after: str) -> str:
    return after if before == after else f"{before} -> {after}"
