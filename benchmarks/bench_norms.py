"""Accuracy by normalization and batch size on Fashion-MNIST: LagrangeNorm, batch norm, group norm, none.

    python benchmarks/bench_norms.py --data DIR --network plain12 --batches 1 2 4 8 --search
    python benchmarks/bench_norms.py --data DIR --network plain12 --batches 1 2 4 8 --seeds 0-2
    python benchmarks/bench_norms.py --summary
    python benchmarks/bench_norms.py --step --network plain12 --batches 1 8

Every run sees the same number of images, whatever its batch size. SGD with momentum 0.9, a cosine over the run, no
weight decay, no augmentation, one thread. The rate is searched for every method, network and batch size alike, on
seed 0 by validation (--search, results/norms_search.jsonl); the others then train at the best. "none" and "lagrange"
begin with data-dependent initialisation on 256 training images. The test images are read once, when a run is over.

--step (results/norms_step.jsonl) needs no data: processor time of a training step with each norm over group norm's,
the median over rounds in which the methods take turns, and the most memory that a step allocates beyond parameters,
gradients and momentum, as the allocator tells torch.profiler.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import secateur as sct
from image_data import Images, Split
from mnist_data import load_mnist
from norm_networks import NORM_NETWORKS
from norm_step import ratios, seconds, step_of
from record import HERE, record
from step_memory import grown_bytes

RATES = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
METHODS = ("lagrange", "group", "none", "batch")
FIRST = 256
"""Images that data-dependent initialisation looks at."""
GROUPS = 8


@dataclass(frozen=True)
class Run:
    """What a line is the result of."""

    network: str
    method: str
    batch: int
    rate: float
    seed: int
    images: int


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
    name = "norms_search" if options.search else "norms"
    done, data = [run for run, _ in _lines(name)], load_mnist(options.data)
    for run in _wanted(options):
        if run not in done:
            record(name, **asdict(run), **measured(run, data, search=options.search))


def measured(run: Run, data: Images, *, search: bool) -> dict[str, float]:
    """Train; error on the validation images, and on the test images where nothing is searched. Both in per cent."""
    torch.manual_seed(run.seed)
    model = made(run.network, run.method)
    train = data.train
    if run.method in ("lagrange", "none"):
        sct.initialise_norms_(model, train.images[torch.randperm(len(train.images))[:FIRST]])
    start = time.perf_counter()
    finite = trained(model, run, train)
    found = {"seconds": round(time.perf_counter() - start), "finite": finite}
    found["validation_error"] = error(model, data.validation) if finite else 90.0
    if run.method == "lagrange" and finite:
        worst = [one.worst for one in sct.norm_distances(model, [(data.validation.images,)]).values()]
        found["furthest_mean"], found["furthest_variance"] = (round(max(part), 3) for part in zip(*worst, strict=True))
    if not search:
        found["test_error"] = error(model, data.test) if finite else 90.0
    return found


def step_costs(network: str, batch: int) -> None:
    """Time and memory of a training step with each norm, as a line of results."""
    data = torch.randn(batch, 1, 28, 28), torch.randint(0, 10, (batch,))
    steps = {}
    for method in METHODS:
        torch.manual_seed(0)
        model = made(network, method)
        if method in ("lagrange", "none"):
            sct.initialise_norms_(model, torch.randn(64, 1, 28, 28))
        train_(model, method)
        steps[method] = step_of(model, data, constrained=method == "lagrange")
    found = seconds(steps, max(10, 40 // batch))
    milliseconds = {name: round(1e3 * statistics.median(times), 3) for name, times in found.items()}
    peaks = {name: grown_bytes(step) for name, step in steps.items()}
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


def made(network: str, method: str) -> nn.Module:
    """The network with a method's norms. "none" has gain and shift as all others have, and no penalty."""
    norms = {
        "lagrange": sct.LagrangeNorm2d,
        "none": sct.LagrangeNorm2d,
        "batch": nn.BatchNorm2d,
        "group": lambda channels: nn.GroupNorm(GROUPS, channels),
    }
    return NORM_NETWORKS[network](norms[method])


def trained(model: nn.Module, run: Run, data: Split) -> bool:
    """Train on so many images; whether the loss stayed a number."""
    train_(model, run.method)
    groups = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(groups, lr=run.rate, momentum=0.9)
    generator = torch.Generator().manual_seed(run.seed)
    steps = run.images // run.batch
    order = torch.cat(
        [torch.randperm(len(data.images), generator=generator) for _ in range(-(-run.images // len(data.images)))]
    )
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = run.rate * (1 + math.cos(math.pi * step / steps)) / 2
        chosen = order[step * run.batch : (step + 1) * run.batch]
        loss = F.cross_entropy(model(data.images[chosen]), data.labels[chosen])
        if not torch.isfinite(loss):
            return False
        if run.method == "lagrange":
            try:
                loss = loss + sct.norm_penalty(model)
            except sct.TrainingError:
                return False
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return True


@torch.no_grad()
def error(model: nn.Module, data: Split) -> float:
    """Per cent that are classed wrong, in evaluation."""
    model.eval()
    right = sum(
        int((model(x).argmax(1) == y).sum())
        for x, y in zip(data.images.split(500), data.labels.split(500), strict=True)
    )
    return round(100 * (1 - right / len(data.images)), 2)


def summary() -> str:
    """Mean test error by network, images seen, method and batch size, and the rates that were chosen."""
    found: dict[Kind, list[float]] = {}
    for run, line in _lines("norms"):
        found.setdefault(kind_of(run), []).append(line["test_error"])
    rows = ["| network | images | method | batch | runs | test error, % | deviation | rate |", "| --- " * 8 + "|"]
    for kind, errors in sorted(found.items()):
        mean = sum(errors) / len(errors)
        spread = math.sqrt(sum((e - mean) ** 2 for e in errors) / max(1, len(errors) - 1))
        numbers = f"{len(errors)} | {mean:.2f} | {spread:.2f} | {_best(kind)}"
        rows.append(f"| {' | '.join(map(str, kind))} | {numbers} |")
    return "\n".join(rows)


Kind = tuple[str, int, str, int]
"""Network, images, method, batch: what a rate is searched for."""


def kind_of(run: Run) -> Kind:
    """What else than rate and seed a run is of."""
    return run.network, run.images, run.method, run.batch


def _best(kind: Kind) -> float:
    """The rate that the search found best for these."""
    lines = [(line["validation_error"], run.rate) for run, line in _lines("norms_search") if kind_of(run) == kind]
    if not lines:
        raise SystemExit(f"no rate was searched for {kind}: run it with --search first")
    return min(lines)[1]


def _wanted(options: argparse.Namespace) -> Iterator[Run]:
    first, _, last = options.seeds.partition("-")
    for batch in options.batches:
        for method in options.methods:
            if options.search:
                for rate in options.rates:
                    yield Run(options.network, method, batch, rate, 0, options.images)
            else:
                for seed in range(int(first), int(last or first) + 1):
                    rate = _best((options.network, options.images, method, batch))
                    yield Run(options.network, method, batch, rate, seed, options.images)


def _lines(name: str) -> list[tuple[Run, dict[str, float]]]:
    path = HERE / "results" / f"{name}.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [(Run(**{key: line[key] for key in Run.__dataclass_fields__}), line) for line in lines]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of Fashion-MNIST's raw IDX files, plain or .gz")
    parser.add_argument("--network", choices=NORM_NETWORKS, default="plain12")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--images", type=int, default=55_000, help="that a run trains on, whatever its batch size")
    parser.add_argument("--rates", nargs="+", type=float, default=list(RATES), help="that --search tries")
    parser.add_argument("--seeds", default="0-2", help="first-last")
    parser.add_argument("--search", action="store_true", help="all rates on seed 0, validation only")
    parser.add_argument("--summary", action="store_true", help="print the table of all results")
    parser.add_argument("--step", action="store_true", help="time and memory of training steps")
    options = parser.parse_args()
    if not (options.summary or options.step) and options.data is None:
        parser.error("--data is missing: the folder that holds train-images-idx3-ubyte")
    return options


if __name__ == "__main__":
    main()
