"""Networks with 4 of 16 weights whose layers hand bytes to one another through accelerate, beside those that do not.

python benchmarks/bench_byte_chains.py [--batch 1] [--rounds 60] [--width 4]

ResNet-20 for 32x32 images, its channels `--width` times as many; the largest 4 of every 16
weights, weights and feature maps in 8 bits with ranges from two batches of noise, no training: times do not depend on
what that makes of weights. Its maps are handed over as bytes with accuracy "int8". Beside it the same network with maps
of float32, through accelerate in 8 bits (scales found at run time) and in float32, and by torch.compile; and the
quantized one by torch, quantizers and all. One thread, processor time, all take turns in one process; a ratio is the
median over the rounds of the two times in the same round, with its quartiles.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable
from time import process_time

import torch
from torch import Tensor, nn

import secateur as sct
from record import record
from resnet import resnet20

FASTEST = "accelerate int8 4:16, maps of bytes"
ALLOWED = 5e-2
"""max|y - y'| / max|y'|: what accelerate allows a layer in 8 bits."""
CALLS = 3
"""A turn, after one that finds the caches as others left them."""


def quantized(width: int, batch: int) -> tuple[nn.Module, nn.Module, Tensor]:
    """The network with maps in 8 bits, the same with maps of float32, and an input."""
    torch.manual_seed(0)
    model = resnet20(width).eval()
    batches = [torch.randn(batch, 3, 32, 32) for _ in range(2)]
    eight = sct.Quantize(bits=8)
    plan = sct.plan(model, batches[0], prune=sct.Prune("balanced", n=4, m=16), quantize=eight, maps=eight)
    sct.prepare_(model, plan)
    sct.calibrate_(model, batches)
    sct.harden_(model)
    floats = sct.strip_(copy.deepcopy(model))
    return sct.restore_(resnet20(width).eval(), sct.pack(model, batches[0])), floats, batches[0]


@torch.no_grad()
def timed(options: argparse.Namespace) -> None:
    """Record processor times of a call of every way."""
    model, floats, x = quantized(options.width, options.batch)
    chained = sct.accelerate(model, x, accuracy="int8", threads=1)
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        FASTEST: chained,
        "accelerate int8 4:16, maps of float32": sct.accelerate(floats, x, accuracy="int8", threads=1),
        "accelerate float32 4:16": sct.accelerate(floats, x, threads=1),
        "torch.compile float32": torch.compile(floats),
        "eager, quantizers included": model,
    }
    print(chained.report)
    _refuse_wrong(ways, {FASTEST: model, "eager, quantizers included": model}, floats, x)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(options.rounds + 1):
        for name, way in ways.items():
            way(x)
            start = process_time()
            for _ in range(CALLS):
                way(x)
            if number:  # the first round compiles
                times[name].append((process_time() - start) / CALLS)
    record(
        "byte_chains",
        benchmark="byte_chains",
        network=f"ResNet-20, {16 * options.width} to {64 * options.width} channels",
        batch=options.batch,
        processor_ms={name: round(1e3 * statistics.median(found), 3) for name, found in times.items()},
        ratios={name: _ratio(times[name], times[FASTEST]) for name in ways if name != FASTEST},
        rounds=options.rounds,
        maps={row.name: row.maps for row in chained.report.layers},
        difference=chained.report.difference,
    )


def _refuse_wrong(
    ways: dict[str, Callable[[Tensor], Tensor]], own: dict[str, nn.Module], floats: nn.Module, x: Tensor
) -> None:
    """Every way must give what its network gives, the one with maps of bytes or that of floats, before it is timed."""
    for name, way in ways.items():
        wanted = own.get(name, floats)(x)
        apart = float((way(x) - wanted).abs().max() / wanted.abs().max())
        if not apart <= ALLOWED:
            raise SystemExit(f"{name}: outputs differ by {apart:.1e} of the largest, more than {ALLOWED:g}")


def _ratio(over: list[float], under: list[float]) -> list[float]:
    """Quartiles of the ratios of two times in the same round."""
    found = statistics.quantiles((a / b for a, b in zip(over, under, strict=True)), n=4)
    return [round(value, 3) for value in found]


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--width", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    timed(options)


if __name__ == "__main__":
    main()
