"""How long a self-pruning step takes in either memory format and precision.

python benchmarks/bench_training.py

The step is `train_step`: forward, cross-entropy, backward, fused Adam and budget, batch 64, one thread. The four ways
take turns, so that a busy machine is busy for all; before, the outputs of each are compared with those of float32 in
torch's usual layout. Medians over the turns, the first three left out.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

import secateur as sct
from networks import lenet5
from record import record
from resnet import resnet20
from secateur.train.fit import train_step
from secateur.train.precision import PRECISIONS, forward
from secateur.train.schedule import Schedule, adam
from secateur.train.task import Task, accuracy

BATCH, WARM = 64, 3
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "lenet5": (lenet5, (1, 28, 28)),
    "resnet20": (resnet20, (3, 32, 32)),
}
LAYOUTS = {"usual": torch.contiguous_format, "channels_last": torch.channels_last}
FURTHEST = {"float32": 1e-4, "bfloat16": 0.05}
"""Difference of the outputs, of the largest one."""


class Way:
    """One network in one layout and precision, its data and its optimizer."""

    def __init__(self, network: str, layout: str, precision: str) -> None:
        torch.manual_seed(0)
        build, shape = NETWORKS[network]
        model = build().to(memory_format=LAYOUTS[layout])
        self.batch = torch.randn(BATCH, *shape), torch.randint(0, 10, (BATCH,))
        sct.prepare_(model, sct.plan(model, self.batch[0][:2], prune=sct.Prune()))
        self.precision, self.milliseconds = precision, list[float]()
        self.task = Task(model, self.batch[0][:2], [self.batch], [], F.cross_entropy, accuracy)
        self.budget = sct.Budget(model, sct.Target(density=0.1), steps=1000)
        self.optimizer = adam(model, Schedule(), 1000)

    @torch.no_grad()
    def outputs(self) -> torch.Tensor:
        """Before the first step."""
        return forward(self.task.model, self.batch[0], self.precision)

    def step(self) -> None:
        """One step, timed."""
        start = time.perf_counter()
        train_step(self.task, self.batch, self.optimizer, budget=self.budget, precision=self.precision)
        self.milliseconds.append(1e3 * (time.perf_counter() - start))


def measure(network: str, turns: int) -> None:
    """All four ways, in turns."""
    ways = {pair: Way(network, *pair) for pair in itertools.product(LAYOUTS, PRECISIONS)}
    wanted = ways["usual", "float32"].outputs()
    for (layout, precision), way in ways.items():
        difference = float((way.outputs() - wanted).abs().max() / wanted.abs().max())
        if difference > FURTHEST[precision]:
            raise SystemExit(f"{network}, {layout}, {precision}: outputs differ by {difference:.1e} of the largest")
    for _ in range(WARM + turns):
        for way in ways.values():
            way.step()
    medians = {" ".join(pair): round(statistics.median(way.milliseconds[WARM:]), 2) for pair, way in ways.items()}
    record("training", benchmark="training", network=network, batch=BATCH, turns=turns, median_ms=medians)


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=15)
    turns = parser.parse_args().turns
    torch.set_num_threads(1)
    for network in NETWORKS:
        measure(network, turns)


if __name__ == "__main__":
    main()
