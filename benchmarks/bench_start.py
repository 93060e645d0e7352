"""Do MAC-aware thresholds as a start shorten self-pruning? LeNet-5 with three ReLUs on MNIST: all of the pruning epochs
without a start, and half of them with and without.

    python benchmarks/bench_start.py --data DIR --seeds 0 1
    python benchmarks/bench_start.py --summary

DIR holds the raw IDX files of MNIST. Every way begins with the same trained network of its seed and gets the same
epochs of fine-tuning; the start are the thresholds at which `mac_aware` leaves --start of the weights. Errors are those
on validation images. A result that is there is skipped.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import secateur as sct
from float_training import FloatCourse, float_network
from image_data import Images, error
from image_task import image_task
from mnist_data import load_mnist
from networks import lenet5_relu
from pruning_result import finished
from record import HERE, record

RUNS = HERE.parent / ".runs" / "start"
FLOAT_EPOCHS = 3
WAYS = {"all epochs": (1.0, False), "half": (0.5, False), "half, started": (0.5, True)}
"""Way -> (share of the pruning epochs, whether thresholds start where mac_aware has them)."""


def float_model(data: Images, seed: int) -> nn.Module:
    """The trained network of a seed, kept."""
    torch.manual_seed(seed)
    model = lenet5_relu()
    RUNS.mkdir(parents=True, exist_ok=True)
    float_network(model, data, RUNS / f"lenet5_relu-{seed}.pt", FloatCourse(FLOAT_EPOCHS, 0.05, seed))
    return model


def measure(data: Images, asked: dict[str, Any]) -> None:
    """One way of one seed."""
    model = float_model(data, asked["seed"])
    before = error(model, data.validation)
    share, started = WAYS[asked["way"]]
    task, _ = image_task(copy.deepcopy(model), data)
    plan = sct.plan(task.model, task.example, prune=sct.Prune())
    if started:
        plan = sct.mac_aware(task.model, plan, sct.Target(density=asked["start"])).plan
    sct.prepare_(task.model, plan)
    epochs = (round(share * asked["prune_epochs"]), asked["finetune_epochs"])
    schedule = sct.Schedule(*epochs, lr=asked["lr"], precision="bfloat16", seed=asked["seed"])
    begun = time.perf_counter()
    found = sct.fit(task, sct.Target(density=asked["density"]), schedule=schedule)
    sct.strip_(task.model)
    record(
        "start",
        **asked,
        float_error=round(before, 2),
        soft_error=round(100 * (1 - found.score_soft), 2),
        hard_error=round(100 * (1 - found.score_hard), 2),
        error=round(error(task.model, data.validation), 2),
        factor=round(found.hardening.factor, 4),
        densities={row.name: round(row.density, 5) for row in found.hardening.tensors},
        judged_on="validation",
        seconds=round(time.perf_counter() - begun),
    )


def summary(lines: list[dict[str, Any]]) -> str:
    """Markdown: a row a way, mean and every seed."""
    keys = ("density", "start", "prune_epochs", "finetune_epochs", "lr")
    rows = ["| " + " | ".join((*keys, "way")) + " | error, mean | by seed |", "|---" * (len(keys) + 3) + "|"]
    for name in dict.fromkeys(tuple(line[key] for key in (*keys, "way")) for line in lines):
        found = [line["error"] for line in lines if tuple(line[key] for key in (*keys, "way")) == name]
        rows.append(f"| {' | '.join(map(str, name))} | {np.mean(found):.2f} % | {', '.join(map(str, found))} |")
    return "\n".join(rows)


def main() -> None:
    """Run every result that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the raw IDX files")
    parser.add_argument("--density", type=float, default=0.02)
    parser.add_argument("--start", type=float, default=0.2, help="density that the thresholds start at")
    parser.add_argument("--epochs", default="6+2", help="pruning+finetuning")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--summary", action="store_true")
    options = parser.parse_args()
    if options.summary:
        print(summary(finished("start")))
        return
    if options.data is None:
        parser.error("--data is needed to measure")
    torch.set_num_threads(1)
    prune, finetune = map(int, options.epochs.split("+"))
    given = {"density": options.density, "start": options.start, "prune_epochs": prune, "finetune_epochs": finetune}
    wanted = [{**given, "lr": options.lr, "seed": seed, "way": way} for seed in options.seeds for way in WAYS]
    done = [{key: line[key] for key in wanted[0]} for line in finished("start")]
    data = load_mnist(options.data)
    for asked in wanted:
        if asked not in done:
            measure(data, asked)


if __name__ == "__main__":
    main()
