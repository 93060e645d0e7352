"""What quantizing weights and feature maps costs a training step, beside PyTorch's own FakeQuantize modules.

python benchmarks/bench_quantized_step.py

Steps as in bench_step.py, of batches of 128, that take turns on one pinned thread: dense; with torch's FakeQuantize (8
bits, moving-average observer, as quantization-aware training has them) on every weight and every map; with ours while
the widths 2 to 8 of all of them are learned, Budget included ("learned"), and the same with "level" read as grid value
for weights ("value"); and with ours hardened. The quantizers of maps stand at the same places for all: `prepare_` puts
them in. First every map's quantizer is compared with the numpy definition. Memory is the peak of all living tensors
during a step. Ratios are medians over the rounds, to torch's FakeQuantize.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
import warnings
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.ao.quantization import FakeQuantize, MovingAverageMinMaxObserver
from torch.nn.utils import parametrize

import secateur as sct
from bench_step import BATCH, NETWORKS, RUN_STEPS, WAYS, Training, peak_bytes
from record import record
from secateur.ir.map_names import MAPS, key_of
from secateur.maths.map_grid import map_average
from secateur.nn.map_sites import maps_of
from secateur.nn.transform import transforms_of
from secateur.train.phases import LEARN

KINDS = ("dense", "torch", "learned", "value", "hard")
PEER = "torch"
EIGHT, WIDTHS = sct.Quantize(8), sct.Quantize((2, 8))
VALUES = sct.Quantize((2, 8), level="value")


class QuantizedTraining(Training):
    """One network with one of KINDS of quantization."""

    def __init__(self, network: str, way: str, kind: str) -> None:
        super().__init__(network, way, pruned=False)
        example, groups = self.images[:2], None
        if kind == PEER:
            sct.prepare_(self.model, sct.plan(self.model, example, maps=EIGHT))
            _replace_by_torch(self.model)
        elif kind != "dense":
            rule = VALUES if kind == "value" else WIDTHS
            sct.prepare_(self.model, sct.plan(self.model, example, quantize=rule, maps=WIDTHS))
            self.model(self.images)
            if kind == "hard":
                sct.harden_(self.model)
            else:
                self.budget = sct.Budget(self.model, sct.Target(average_bits=4), steps=RUN_STEPS)
                self.budget.taken = round((LEARN + 0.1) * RUN_STEPS)
                for quantizer in self.quantizers():
                    quantizer.learn(0.5)
            groups = sct.param_groups(self.model)
        for site in maps_of(self.model):
            if not site.quantizer.is_on:
                site.quantizer.start()
        self.optimizer = torch.optim.Adam(groups or self.model.parameters(), lr=1e-5, fused=True)

    def quantizers(self) -> list[Any]:
        """Of maps and weights."""
        for site in maps_of(self.model):
            site.quantizer.start()
        stages = [site.transform.quantize for site in transforms_of(self.model)]
        return [*(site.quantizer for site in maps_of(self.model)), *(stage for stage in stages if stage is not None)]


def _replace_by_torch(model: nn.Module) -> None:
    home = getattr(model, MAPS)
    for site in maps_of(model):
        low, high = (-127, 127) if site.row.signed else (0, 255)
        scheme = torch.per_tensor_symmetric if site.row.signed else torch.per_tensor_affine
        home[key_of(site.name)] = _fake_quantize(low, high, scheme)
    for module in list(model.modules()):
        if isinstance(module, nn.Conv2d | nn.Linear):
            fake = _fake_quantize(-127, 127, torch.per_tensor_symmetric)
            parametrize.register_parametrization(module, "weight", fake)


def _fake_quantize(low: int, high: int, scheme: torch.qscheme) -> FakeQuantize:
    dtype = torch.qint8 if low < 0 else torch.quint8
    return FakeQuantize(MovingAverageMinMaxObserver, quant_min=low, quant_max=high, dtype=dtype, qscheme=scheme)


@torch.no_grad()
def check(training: QuantizedTraining) -> float:
    """Largest difference of a quantized map from the definition, in units of its range, on normal numbers."""
    worst = 0.0
    x = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    for site in maps_of(training.model):
        q = site.quantizer
        end, theta = float(q.log_range.exp()), np.log(q.shares().numpy())
        expected = map_average(x.numpy(), end, theta, 1.0, q.widths, signed=q.signed).value
        off = np.abs(q(x).numpy() - expected)
        worst = max(worst, float(np.quantile(off, 0.9999)) / end)  # at halves float32 may round the other way
    if worst > 1e-5:
        raise SystemExit(f"quantized maps differ from the definition by {worst:.2e} of their range")
    return worst


def measure(network: str, way: str, rounds: int) -> None:
    """All kinds of one network and one way to train it."""
    runs = {kind: QuantizedTraining(network, way, kind) for kind in KINDS}
    difference = check(runs["learned"])
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for number in range(rounds + 2):
        for kind in KINDS if number % 2 else KINDS[::-1]:
            start = time.perf_counter()
            runs[kind].step()
            if number >= 2:
                seconds[kind].append(time.perf_counter() - start)
    peaks = {kind: peak_bytes(run) for kind, run in runs.items()}
    record(
        "quantized_step",
        benchmark="quantized_step",
        network=network,
        way=way,
        batch=BATCH,
        rounds=rounds,
        maps=len(maps_of(runs["learned"].model)),
        widths=list(WIDTHS.bits),
        difference=difference,
        median_ms={kind: round(1e3 * statistics.median(found), 2) for kind, found in seconds.items()},
        ratio={kind: _ratio(found, seconds[PEER]) for kind, found in seconds.items() if kind != PEER},
        peak_bytes=peaks,
        memory_ratio={kind: round(found / peaks[PEER], 4) for kind, found in peaks.items() if kind != PEER},
    )


def _ratio(ours: list[float], theirs: list[float]) -> list[float]:
    """Lower quartile, median and upper quartile of the paired ratios."""
    return [round(q, 4) for q in statistics.quantiles([a / b for a, b in zip(ours, theirs, strict=True)])]


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--network", choices=NETWORKS, action="append")
    parser.add_argument("--way", choices=WAYS, action="append")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", "torch.ao.quantization is deprecated", DeprecationWarning)
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for network, way in itertools.product(options.network or NETWORKS, options.way or WAYS):
        measure(network, way, options.rounds)


if __name__ == "__main__":
    main()
