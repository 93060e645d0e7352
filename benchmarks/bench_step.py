"""What self-pruning costs a training step: time and memory against the dense step of the same network.

python benchmarks/bench_step.py

Both steps are forward, cross-entropy, backward and a fused Adam on a batch of 128; the self-pruning step adds the
gates, the budget and its own step. Two ways to train: float32 in torch's usual layout, and bfloat16 (autocast) in
channels_last, the faster one where the processor has bfloat16. First the soft weights are compared with the numpy
definition. Then dense and self-pruning steps take turns on one pinned thread, in the middle of a pruning run (half of
the weights' gates closed), and the ratio is the median over the pairs; beside it the same in processor time, which a
busy machine disturbs less. Memory is the peak of all living tensors during a step, as the allocator reports it to
torch.profiler, parameters and optimizer state included; beside it the peak resident memory of a fresh process for
either. Last what the first gate of a process costs: with nothing compiled, and with the code in the cache.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import secateur as sct
from networks import lenet5
from record import record
from resnet import resnet20
from secateur.maths.threshold import gate
from secateur.nn.transform import transforms_of
from step_memory import grown_bytes

BATCH = 128
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "lenet5": (lenet5, (1, 28, 28)),
    "resnet20": (resnet20, (3, 32, 32)),
}
WAYS = ("float32", "bfloat16")
RUN_STEPS, TAKEN = 1000, 500
ALPHA_IN_STD = 0.67
"""Half of a normal distribution lies inside this threshold."""


class Training:
    """One network, its data and its optimizer; `step()` is what is measured."""

    def __init__(self, network: str, way: str, *, pruned: bool) -> None:
        torch.manual_seed(0)
        build, shape = NETWORKS[network]
        self.model, self.budget, self.bfloat16 = build(), None, way == "bfloat16"
        self.images, self.labels = torch.randn(BATCH, *shape), torch.randint(0, 10, (BATCH,))
        if self.bfloat16:
            self.model = self.model.to(memory_format=torch.channels_last)
            self.images = self.images.contiguous(memory_format=torch.channels_last)
        groups = None
        if pruned:
            sct.prepare_(self.model, sct.plan(self.model, self.images[:2], prune=sct.Prune(start=ALPHA_IN_STD)))
            self.budget = sct.Budget(self.model, sct.Target(density=0.05), steps=RUN_STEPS)
            self.budget.taken = TAKEN
            groups = sct.param_groups(self.model)
        self.optimizer = torch.optim.Adam(groups or self.model.parameters(), lr=1e-5, fused=True)

    def step(self) -> None:
        """One optimizer step, as in secateur.train.fit."""
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bfloat16):
            logits = self.model(self.images)
        loss = F.cross_entropy(logits.float(), self.labels)
        self.optimizer.zero_grad()
        (loss + self.budget() if self.budget else loss).backward()
        self.optimizer.step()
        if self.budget:
            self.budget.step()

    @torch.no_grad()
    def density(self) -> Tensor:
        """Expected fraction of the weights inside open gates."""
        assert self.budget is not None
        return self.budget.costs()["density"]

    def state_bytes(self) -> int:
        """Bytes that live from step to step: parameters, buffers, optimizer state, the batch."""
        state = [t for s in self.optimizer.state.values() for t in s.values() if isinstance(t, Tensor)]
        tensors = [*self.model.parameters(), *self.model.buffers(), *state, self.images, self.labels]
        return sum(t.numel() * t.element_size() for t in tensors)


def check(training: Training) -> float:
    """Largest difference of a soft weight from the numpy definition, in units of the largest weight of its tensor."""
    worst = 0.0
    for site in transforms_of(training.model):
        stage, w = site.transform.prune, site.original
        h = gate(w.detach().numpy(), stage.alpha().detach().numpy(), stage.sharpness().detach().numpy()).h
        found = getattr(site.module, site.tensor).detach().numpy()
        worst = max(worst, float(np.abs(found - w.detach().numpy() * h).max() / w.detach().abs().max()))
    if worst > 1e-5:
        raise SystemExit(f"the soft weights differ from the definition by {worst:.2e} of the largest weight")
    return worst


def ratios(dense: Training, pruned: Training, pairs: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Seconds of dense and self-pruning steps that take turns, and their ratio."""
    for training in (dense, pruned) * 3:
        training.step()
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for pair in range(pairs):
        for is_pruned in (False, True) if pair % 2 else (True, False):
            start = clock()
            (pruned if is_pruned else dense).step()
            seconds[is_pruned].append(clock() - start)
    paired = [p / d for d, p in zip(seconds[False], seconds[True], strict=True)]
    fastest = {name: min(seconds[key]) for name, key in (("dense", False), ("self-pruning", True))}
    return {
        "ratio": round(statistics.median(paired), 4),
        "quartiles": [round(q, 4) for q in statistics.quantiles(paired)[::2]],
        "median_ms": {n: round(1e3 * statistics.median(seconds[n != "dense"]), 3) for n in fastest},
        "fastest_ms": {name: round(1e3 * value, 3) for name, value in fastest.items()},
        "ratio_of_fastest": round(fastest["self-pruning"] / fastest["dense"], 4),
    }


def peak_bytes(training: Training) -> int:
    """Peak of the bytes of living tensors during a step: what lives before it plus the step's own high-water mark."""
    training.step()
    training.optimizer.zero_grad()
    alive = training.state_bytes()
    return alive + grown_bytes(training.step)


def resident_bytes(network: str, way: str, *, pruned: bool) -> int:
    """Peak resident memory of a fresh process that takes ten steps."""
    command = [sys.executable, __file__, "--resident", network, "--way", way, *(["--pruned"] if pruned else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.strip().splitlines()[-1])


FIRST = """
import time
import torch
from secateur.nn.fused import threshold_gate
arguments = torch.randn(1000), torch.ones(1), torch.full((1,), 6.0), "analytic"
seconds = []
for _ in range(3):
    start = time.perf_counter()
    threshold_gate(*arguments)
    seconds.append(time.perf_counter() - start)
print(1e3 * (seconds[0] - seconds[-1]))
"""


def first_gate_ms() -> dict[str, float]:
    """Milliseconds by which the first gate of a process takes longer than the third: compiled, then loaded."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"XDG_CACHE_HOME": folder}
        command = [sys.executable, "-c", FIRST]
        found = [
            round(float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout), 1)
            for _ in range(2)
        ]
    return dict(zip(("compiled", "from the cache"), found, strict=True))


def measure(network: str, way: str, pairs: int) -> None:
    """All of it for one network and one way to train it."""
    dense, pruned = Training(network, way, pruned=False), Training(network, way, pruned=True)
    difference = check(pruned)
    wall = ratios(dense, pruned, pairs, time.perf_counter)
    processor = ratios(dense, pruned, pairs, time.process_time)
    memory = {"dense": peak_bytes(dense), "self-pruning": peak_bytes(pruned)}
    resident = {name: resident_bytes(network, way, pruned=name != "dense") for name in memory}
    record(
        "step",
        benchmark="step",
        network=network,
        way=way,
        batch=BATCH,
        pairs=pairs,
        gate_difference=difference,
        density=float(pruned.density()),
        wall_time=wall,
        processor_time=processor,
        peak_bytes=memory,
        memory_ratio=round(memory["self-pruning"] / memory["dense"], 4),
        resident_bytes=resident,
        resident_ratio=round(resident["self-pruning"] / resident["dense"], 4),
        first_gate_ms=first_gate_ms(),
    )


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--network", choices=NETWORKS, action="append")
    parser.add_argument("--way", choices=WAYS, action="append")
    parser.add_argument("--resident", choices=NETWORKS, help="print the peak resident bytes of ten steps and stop")
    parser.add_argument("--pruned", action="store_true", help="with --resident: self-pruning instead of dense steps")
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if options.resident:
        training = Training(options.resident, options.way[0], pruned=options.pruned)
        for _ in range(10):
            training.step()
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        print(int(status["VmHWM"].split()[0]) * 1024)  # ru_maxrss would count the parent process too
        return
    for network, way in itertools.product(options.network or NETWORKS, options.way or WAYS):
        measure(network, way, options.pairs)


if __name__ == "__main__":
    main()
