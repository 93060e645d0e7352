"""compress with a density and nothing else, on six tasks of different kinds: is the default good for what is new?

    python benchmarks/bench_defaults.py --data DIR
    python benchmarks/bench_defaults.py --data DIR --tasks digits crepe

A run must end within its allowed drop of the dense model (one point; 0.03 of cosine for the sentence encoder), or say
that it did not and why. It sees training and validation data; dense and packed model are judged on test data
afterwards. Results go to results/defaults.jsonl; runs lie in .runs/defaults and go on where they were interrupted.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import torch

import secateur as sct
from default_tasks import RUNS, TRIALS, Trial
from pruning_result import finished
from record import record
from secateur.reporting.progress import progress_on


def main() -> None:
    """Run every task that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of everything that the tasks read")
    parser.add_argument("--tasks", nargs="+", choices=TRIALS, default=list(TRIALS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    done = {line["task"] for line in finished("defaults")}
    for name in options.tasks:
        if name not in done:
            record("defaults", task=name, **measure(TRIALS[name](options.data), RUNS / name))


def measure(trial: Trial, out: Path) -> dict[str, Any]:
    """What the defaults made of a task, judged on its test data."""
    judged = dataclasses.replace(trial.task, val=trial.test)
    start = time.perf_counter()
    with progress_on(sys.stderr) as progress:
        target = sct.Target(density=trial.density)
        result = sct.compress(trial.task, target, out=out, options=sct.Options(on_miss="warn"), progress=progress)
    seconds = time.perf_counter() - start
    model = sct.restore_(copy.deepcopy(trial.task.model), sct.Artifact.load(out / "model.secat"))
    before, after = sct.score(judged), sct.score(judged, model)
    return {
        "density": result.density,
        "test_dense": round(before, 4),
        "test_packed": round(after, 4),
        "drop": round(before - after, 4),
        "allowed_drop": trial.allowed_drop,
        "within": before - after <= trial.allowed_drop,
        "validation": {key: round(getattr(result, f"score_{key}"), 4) for key in ("dense", "soft", "hard", "packed")},
        "said": [*result.missed, *result.notes],
        "bytes_before": result.bytes_before,
        "file_bytes": result.file_bytes,
        "schedule": dataclasses.asdict(result.schedule),
        "seconds": round(seconds),
    }


if __name__ == "__main__":
    main()
