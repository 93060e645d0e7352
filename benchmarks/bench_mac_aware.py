"""MACs left after MAC-aware pruning, one uniform threshold and global magnitude, after equal retraining.

    python benchmarks/bench_mac_aware.py --data DIR --task mnistnet --shares 0.2 0.1 0.06 --steps 430 --seeds 0 1
    python benchmarks/bench_mac_aware.py --data DIR --task cifar --shares 0.5 0.3 0.2 --steps 100 --seeds 0 1
    python benchmarks/bench_mac_aware.py --data DIR --task resnet20 --shares 0.5 0.3 0.2 0.1 --steps 10530 --seeds 0 1
    python benchmarks/bench_mac_aware.py --summary

DIR is that of bench_defaults.py and bench_cifar.py, which say what it holds. Every way cuts the same trained network to
the same limit on MACs and is retrained with fixed masks on the same batches (Adam, cosine); accuracy is that on
validation data. The networks of bench_cifar.py start from those in floats/, one a seed, trained where one is
missing; 10,530 steps are 30 epochs. A result that is there is skipped. The summary says how many times fewer MACs
mac_aware needs at equal accuracy.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import secateur as sct
from cifar_data import load_cifar
from cifar_floats import cifar_float
from cifar_networks import CIFAR_NETWORKS
from default_tasks import TRIALS
from image_data import Batches
from mac_table import table
from pruning_result import finished
from record import record

RIVALS = {"uniform threshold": "standardized", "global magnitude": "magnitude"}
OURS = {"relative": 0, "sensitivity": 4, "sqrt": 0}
"""Allowance -> batches that it looks at."""
BATCH = 128


class Augmented:
    """The training images of CIFAR-10 as a loader, moved and mirrored anew in every epoch."""

    def __init__(self, batches: Batches) -> None:
        self.batches, self.generator = batches, batches.generator

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return self.batches.epoch()


def task_of(name: str, data: Path, seed: int) -> sct.Task:
    """A trained network with its data; seed: of those that are trained here."""
    if name in TRIALS:
        return TRIALS[name](data).task
    images = load_cifar(data)
    model = cifar_float(name, seed, images)
    train = Augmented(Batches(images, BATCH, torch.Generator().manual_seed(seed), augmented=True))
    judged = list(zip(*(part.split(500) for part in (images.validation.images, images.validation.labels)), strict=True))
    return sct.Task(model.eval(), images.train.images[:2], train, judged, F.cross_entropy, sct.accuracy)


def batches(task: sct.Task, steps: int, seed: int) -> Iterator[Any]:
    """So many batches, epoch after epoch: the same ones for the same seed."""
    torch.manual_seed(seed)
    if isinstance(drawn := getattr(task.train, "generator", None), torch.Generator):
        drawn.manual_seed(seed)
    done = 0
    while done < steps:
        for batch in islice(task.train, steps - done):
            yield batch
            done += 1


def cut(task: sct.Task, plan: sct.Plan, way: str, macs: int, seed: int) -> nn.Module:
    """A hard copy of the network."""
    model, target = copy.deepcopy(task.model), sct.Target(macs=macs)
    if way in RIVALS:
        sct.one_shot_(sct.prepare_(model, plan), target, allocation=RIVALS[way])
        return model
    kind = way.removeprefix("mac_aware ")
    seen = list(batches(task, OURS[kind], seed)) or None
    found = sct.mac_aware(model, plan, target, allowance=kind, batches=seen)
    sct.harden_(sct.prepare_(model, found.plan), target)
    return model


def retrain(task: sct.Task, model: nn.Module, steps: int, lr: float, seed: int) -> None:
    """One step a batch, masks fixed."""
    optimizer = torch.optim.Adam(sct.param_groups(model), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    for inputs, labels in batches(task, steps, seed):
        optimizer.zero_grad()
        task.loss(model(inputs), labels).backward()
        optimizer.step()
        schedule.step()
    model.eval()


def main() -> None:
    """Run every result that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of everything that the tasks read")
    parser.add_argument("--task", choices=(*TRIALS, *CIFAR_NETWORKS), default="mnistnet")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.2, 0.1, 0.05], help="of the dense MACs")
    ways = [*(f"mac_aware {kind}" for kind in OURS), *RIVALS]
    parser.add_argument("--ways", nargs="+", choices=ways, default=[way for way in ways if way != "mac_aware sqrt"])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--summary", action="store_true")
    options = parser.parse_args()
    if options.summary:
        print(table(finished("mac_aware")))
        return
    if options.data is None:
        parser.error("--data is needed to measure")
    torch.set_num_threads(1)
    for seed in options.seeds:
        measure(options, seed)


def measure(options: argparse.Namespace, seed: int) -> None:
    """What is missing of one seed."""
    asked = {"network": options.task, "steps": options.steps, "lr": options.lr, "seed": seed}
    done = [{key: line[key] for key in (*asked, "way", "share")} for line in finished("mac_aware")]
    wanted = [{**asked, "way": way, "share": share} for share in options.shares for way in options.ways]
    wanted = [one for one in wanted if one not in done]
    if not wanted:
        return
    task = task_of(options.task, options.data, seed)
    plan = sct.plan(task.model, task.example, prune=sct.Prune())
    dense, before = sum(row.macs for row in plan), sct.score(task)
    for one in wanted:
        start = time.perf_counter()
        model = cut(task, plan, one["way"], int(one["share"] * dense), seed)
        at_once = sct.score(task, model)
        retrain(task, model, options.steps, options.lr, seed)
        sct.strip_(model)
        weights = model.state_dict()
        record(
            "mac_aware",
            **one,
            macs=sum(row.reuse * int(weights[row.name].count_nonzero()) for row in plan),
            macs_dense=dense,
            densities={r.name: round(int(weights[r.name].count_nonzero()) / r.size, 4) for r in plan.pruned},
            accuracy_dense=round(before, 4),
            accuracy_at_once=round(at_once, 4),
            accuracy=round(sct.score(task, model), 4),
            judged_on="validation",
            seconds=round(time.perf_counter() - start, 1),
        )


if __name__ == "__main__":
    main()
