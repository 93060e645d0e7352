"""Accuracy by normalization and batch size on Fashion-MNIST: LagrangeNorm, batch norm, group norm, none.

    python benchmarks/bench_norms.py --data DIR --network plain12_narrow --batches 1 2 4 8
    python benchmarks/bench_norms.py --data DIR --network plain12_narrow --batches 128 --methods batch --images 550000
    python benchmarks/bench_norms.py --data DIR --network plain12_narrow --batches 1 2 --methods lagrange --every 4
    python benchmarks/bench_norms.py --summary
    python benchmarks/bench_norms.py --step --network plain12 --batches 1 8

Every run sees the same number of images, whatever its batch size. SGD with momentum 0.9, a cosine over the run, no
weight decay, no augmentation, one thread. The same rates are tried for every method, each with every seed, all at
once as replicas side by side (replicas.py); the table is of the rate whose mean error on validation images is least.
"none" and "lagrange" begin with data-dependent initialisation on 256 training images. The test images are read when a
run is over, and nothing is chosen by them. Batch norms are judged with the statistics that training left, and once
more ("again") with those of 2,000 training images in evaluation's place.

--step (results/norms_step.jsonl) needs no data: processor time of a training step with each norm over group norm's,
the median over rounds in which the methods take turns, and the most memory that a step allocates beyond parameters,
gradients and momentum, as the allocator tells torch.profiler.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

import secateur as sct
from image_data import Images, Split
from mnist_data import load_mnist
from norm_networks import NORM_NETWORKS
from norm_step import ratios, seconds, step_of
from record import HERE, record
from replica_training import CHUNK, Course, replica_errors, train_replicas
from replicas import side_by_side
from secateur.nn.norms.lagrange_norm import RHO
from step_memory import grown_bytes

RATES = (0.1, 0.03, 0.01, 0.003, 0.001)
METHODS = ("lagrange", "group", "none", "batch")
STEPS = {
    "lagrange": ("lagrange", 1),
    "lagrange, every 4th": ("lagrange", 4),
    "group": ("group", 0),
    "none": ("none", 0),
    "batch": ("batch", 0),
}
"""What --step compares: method, and in which steps its penalty is."""
FIRST = 256
"""Images that data-dependent initialisation looks at."""
GROUPS = 4
AGAIN = 2_000
"""Images that batch norms take their statistics from once more."""


@dataclass(frozen=True)
class Run:
    """What a line is the result of."""

    network: str
    method: str
    batch: int
    rate: float
    seed: int
    images: int
    rho: float
    """Of LagrangeNorm; 0 for all others."""
    every: int = 1
    """In every so many steps LagrangeNorm's penalty is in the loss."""


def main() -> None:
    """Run what is asked for and not there yet, or print the table."""
    options = _arguments()
    if options.summary:
        print(summary())
        return
    torch.set_num_threads(1)
    if options.step:
        for batch in options.batches:
            step_costs(options.network, batch)
        return
    done, data = {run for run, _ in _lines()}, load_mnist(options.data)
    for runs in _wanted(options):
        if not done.issuperset(runs):
            for run, found in zip(runs, measured(runs, data), strict=True):
                record("norms", **asdict(run), **found)


def measured(runs: Sequence[Run], data: Images) -> list[dict[str, float]]:
    """Train runs that differ in rate and seed, side by side; what a line says of each. Errors in per cent."""
    first, train = runs[0], data.train
    seeds = {run.seed: _begun(run, train) for run in runs}
    model = side_by_side([seeds[run.seed] for run in runs])
    train_(model, first.method)
    course = Course(train, torch.stack([_order(run, len(train.images)) for run in runs]), first.batch)
    start = time.process_time()
    finite = train_replicas(model, [run.rate for run in runs], course, first.every).tolist()
    found: list[dict[str, float]] = [{"replicas": len(runs), "finite": one} for one in finite]
    took = time.process_time() - start

    def judge(name: str, split: Split) -> None:
        for line, error in zip(found, replica_errors(model, split, len(runs)), strict=True):
            line[name] = error if line["finite"] else 90.0

    judge("validation_error", data.validation)
    judge("test_error", data.test)
    if first.method == "lagrange":
        for line, worst in zip(found, _furthest(model, data.validation, len(runs)), strict=True):
            line["furthest_mean"], line["furthest_variance"] = worst
    if first.method == "batch":
        take_statistics_(model, train, len(runs))
        judge("validation_error_again", data.validation)
        judge("test_error_again", data.test)
    for line in found:
        line["processor_seconds"] = round(took / len(runs), 1)
    return found


def _begun(run: Run, train: Split) -> nn.Module:
    torch.manual_seed(run.seed)
    model = made(run.network, run.method, run.rho)
    if run.method in ("lagrange", "none"):
        sct.initialise_norms_(model, train.images[torch.randperm(len(train.images))[:FIRST]])
    return model


def _order(run: Run, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(run.seed)
    passes = [torch.randperm(count, generator=generator) for _ in range(-(-run.images // count))]
    return torch.cat(passes)[: run.images]


def _furthest(model: nn.Module, split: Split, replicas: int) -> list[tuple[float, float]]:
    """Of each replica, over its channels: the largest mean, and the largest difference of a variance from 1."""
    batches = [(part.expand(-1, replicas, -1, -1),) for part in split.images.split(CHUNK)]
    found = sct.norm_distances(model, batches).values()
    means = torch.stack([one.mean.abs().reshape(replicas, -1).amax(1) for one in found]).amax(0)
    apart = torch.stack([(one.variance - 1).abs().reshape(replicas, -1).amax(1) for one in found]).amax(0)
    return [(round(float(a), 3), round(float(b), 3)) for a, b in zip(means, apart, strict=True)]


@torch.no_grad()
def take_statistics_(model: nn.Module, train: Split, replicas: int) -> None:
    """Running statistics of batch norms become those of AGAIN training images."""
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over batches
    model.train()
    for part in train.images[:AGAIN].split(CHUNK):
        model(part.expand(-1, replicas, -1, -1))


def step_costs(network: str, batch: int) -> None:
    """Time and memory of a training step with each norm, as a line of results."""
    data = torch.randn(batch, 1, 28, 28), torch.randint(0, 10, (batch,))
    steps = {}
    for name, (method, every) in STEPS.items():
        torch.manual_seed(0)
        model = made(network, method)
        if method in ("lagrange", "none"):
            sct.initialise_norms_(model, torch.randn(64, 1, 28, 28))
        train_(model, method)
        steps[name] = step_of(model, data, every=every)
    found = seconds(steps, max(10, 40 // batch))
    milliseconds = {name: round(1e3 * statistics.median(times), 3) for name, times in found.items()}
    peaks = {name: grown_bytes(step, steps=2) for name, step in steps.items()}
    record(
        "norms_step",
        network=network,
        batch=batch,
        time_over_group=ratios(found, "group"),
        milliseconds=milliseconds,
        peak_bytes=peaks,
    )


def train_(model: nn.Module, method: str) -> None:
    """Training mode; with "none" LagrangeNorm stays an affine map, whose inputs nobody looks at."""
    model.train()
    for norm in model.modules():
        if isinstance(norm, sct.LagrangeNorm2d) and method == "none":
            norm.eval()


def made(network: str, method: str, rho: float = RHO) -> nn.Module:
    """The network with a method's norms. "none" has gain and shift as all others have, and no penalty."""
    norms = {
        "lagrange": functools.partial(sct.LagrangeNorm2d, rho=rho),
        "none": sct.LagrangeNorm2d,
        "batch": nn.BatchNorm2d,
        "group": lambda channels: nn.GroupNorm(GROUPS, channels),
    }
    return NORM_NETWORKS[network](norms[method])


Kind = tuple[str, int, str, float, int, int]
"""Network, images, method, rho, every, batch: what a rate is searched for."""


def summary() -> str:
    """By network, images seen, method and batch size, at the rate of least mean validation error: the mean test error,
    its deviation over seeds, and that rate."""
    found: dict[Kind, dict[float, list[dict[str, float]]]] = {}
    for run, line in _lines():
        kind = run.network, run.images, run.method, run.rho, run.every, run.batch
        found.setdefault(kind, {}).setdefault(run.rate, []).append(line)
    columns = (
        "network",
        "images",
        "method",
        "rho",
        "every",
        "batch",
        "runs",
        "test error, %",
        "deviation",
        "again, %",
        "rate",
    )
    rows = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for kind, rates in sorted(found.items()):
        rate, lines = min(rates.items(), key=lambda one: _mean(one[1], "validation_error"))
        errors = [line["test_error"] for line in lines]
        spread = statistics.stdev(errors) if len(errors) > 1 else 0.0
        again = f"{_mean(lines, 'test_error_again'):.2f}" if "test_error_again" in lines[0] else ""
        numbers = f"{len(errors)} | {statistics.mean(errors):.2f} | {spread:.2f} | {again} | {rate:g}"
        rows.append(f"| {' | '.join(map(str, kind))} | {numbers} |")
    return "\n".join(rows)


def _mean(lines: Sequence[dict[str, float]], name: str) -> float:
    return statistics.mean(line[name] for line in lines)


def _wanted(options: argparse.Namespace) -> Iterator[list[Run]]:
    """What trains side by side: all rates and seeds of a method at a batch size."""
    first, _, last = options.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    for batch in options.batches:
        for method in options.methods:
            yield [
                Run(
                    options.network,
                    method,
                    batch,
                    rate,
                    seed,
                    options.images,
                    options.rho if method == "lagrange" else 0.0,
                    options.every if method == "lagrange" else 1,
                )
                for rate in options.rates
                for seed in seeds
            ]


def _lines() -> list[tuple[Run, dict[str, float]]]:
    path = HERE / "results" / "norms.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [(Run(**{key: line[key] for key in Run.__dataclass_fields__ if key in line}), line) for line in lines]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of Fashion-MNIST's raw IDX files, plain or .gz")
    parser.add_argument("--network", choices=NORM_NETWORKS, default="plain12")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--images", type=int, default=55_000, help="that a run trains on, whatever its batch size")
    parser.add_argument("--rates", nargs="+", type=float, default=list(RATES), help="that are tried")
    parser.add_argument("--rho", type=float, default=RHO, help="weight of LagrangeNorm's penalty")
    parser.add_argument("--every", type=int, default=1, help="the penalty in every so many steps, so many times")
    parser.add_argument("--seeds", default="0-2", help="first-last")
    parser.add_argument("--summary", action="store_true", help="print the table of all results")
    parser.add_argument("--step", action="store_true", help="time and memory of training steps")
    options = parser.parse_args()
    if not (options.summary or options.step) and options.data is None:
        parser.error("--data is missing: the folder that holds train-images-idx3-ubyte")
    return options


if __name__ == "__main__":
    main()
