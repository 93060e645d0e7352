"""MACs left after MAC-aware pruning, one uniform threshold and global magnitude, after equal retraining.

    python benchmarks/bench_mac_aware.py --data DIR --task mnistnet --shares 0.2 0.1 0.05 --steps 100
    python benchmarks/bench_mac_aware.py --summary

DIR is that of bench_defaults.py, which says what it holds. Every way cuts the same trained network to the same limit on
MACs and is retrained with fixed masks on the same batches (Adam, cosine); accuracy is that on validation data. A result
that is there is skipped. The summary says how many times fewer MACs mac_aware needs at a rival's accuracy,
interpolated in log(MACs).
"""

from __future__ import annotations

import argparse
import copy
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import secateur as sct
from default_tasks import TRIALS
from pruning_result import finished
from record import record

RIVALS = {"uniform threshold": "standardized", "global magnitude": "magnitude"}
OURS = {"mac_aware sqrt": None, "mac_aware sensitivity": 4}
"""Way -> batches that it looks at."""


def cut(task: sct.Task, plan: sct.Plan, way: str, macs: int) -> nn.Module:
    """A hard copy of the network."""
    model, target = copy.deepcopy(task.model), sct.Target(macs=macs)
    if way in RIVALS:
        sct.one_shot_(sct.prepare_(model, plan), target, allocation=RIVALS[way])
        return model
    batches = list(islice(task.train, OURS[way])) if OURS[way] else None
    found = sct.mac_aware(model, plan, target, batches=batches)
    sct.harden_(sct.prepare_(model, found.plan), target)
    return model


def retrain(task: sct.Task, model: nn.Module, batches: list[Any], lr: float) -> None:
    """One step a batch, masks fixed."""
    optimizer = torch.optim.Adam(sct.param_groups(model), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches))
    model.train()
    for inputs, labels in batches:
        optimizer.zero_grad()
        task.loss(model(inputs), labels).backward()
        optimizer.step()
        schedule.step()
    model.eval()


def summary() -> None:
    """Times fewer MACs at equal accuracy, per network and rival."""
    lines = finished("mac_aware")
    keys = ("network", "steps", "lr", "seed")
    for name in dict.fromkeys(tuple(line[key] for key in keys) for line in lines):
        alike = [line for line in lines if tuple(line[key] for key in keys) == name]  # retrained equally
        curves = {}
        for way in (*OURS, *RIVALS):
            points = sorted((r["macs"], r["accuracy"]) for r in alike if r["way"] == way)
            curves[way] = np.array(points, float).reshape(-1, 2)
        for way in OURS:
            for rival in RIVALS:
                told = _times_fewer(curves[way], curves[rival])
                print(f"{dict(zip(keys, name, strict=True))}: {way} against {rival}: {told}")


def _times_fewer(ours: np.ndarray, rival: np.ndarray) -> str:
    """At each accuracy of the rival's that lies within ours."""
    if not len(ours):
        return "no result"
    best = np.maximum.accumulate(ours[:, 1])
    found = [
        f"{macs / np.exp(np.interp(accuracy, best, np.log(ours[:, 0]))):.2f}x at {accuracy:.4f}"
        for macs, accuracy in rival
        if best[0] <= accuracy <= best[-1]
    ]
    return ", ".join(found) or "no common accuracy"


def main() -> None:
    """Run every result that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of everything that the tasks read")
    parser.add_argument("--task", choices=TRIALS, default="mnistnet")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.2, 0.1, 0.05], help="of the dense MACs")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--summary", action="store_true")
    options = parser.parse_args()
    if options.summary:
        summary()
        return
    if options.data is None:
        parser.error("--data is needed to measure")
    torch.set_num_threads(1)
    task = TRIALS[options.task](options.data).task
    torch.manual_seed(options.seed)
    batches = list(islice(cycle(task.train), options.steps))
    plan = sct.plan(task.model, task.example, prune=sct.Prune())
    dense = sum(row.macs for row in plan)
    asked = {"network": options.task, "steps": options.steps, "lr": options.lr, "seed": options.seed}
    done = [{key: line[key] for key in (*asked, "way", "share")} for line in finished("mac_aware")]
    before = sct.score(task)
    for share in options.shares:
        for way in (*OURS, *RIVALS):
            if {**asked, "way": way, "share": share} in done:
                continue
            start = time.perf_counter()
            model = cut(task, plan, way, int(share * dense))
            at_once = sct.score(task, model)
            retrain(task, model, batches, options.lr)
            sct.strip_(model)
            weights = model.state_dict()
            record(
                "mac_aware",
                **asked,
                way=way,
                share=share,
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
