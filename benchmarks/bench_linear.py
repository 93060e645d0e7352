"""Linear layers with 4 of 16 weights against the dense ones of PyTorch, ONNX Runtime and OpenVINO, float32, int8, int4.

python benchmarks/bench_linear.py [--summary] [--shapes 768x768 ...] [--batch 1 8 64 512] [--cold]

First each result is compared with float64 (linear_peers.LIMITS). Then competitors take turns in random order, each
engine in a process of its own on the same core, the others stopped. A ratio is the median over the rounds of the peer's
processor time over ours in the same round: with one thread that is the work done, whoever else uses the core. Calls
take float32 activations and give float32, quantizing included. Share of the bound: the longer of bytes of weights
over the measured bandwidth of memory of that size, and of products over the rate that the same kernel reaches on a
layer that the second-level cache holds, over the time. `--cold`: before every call other data fills all caches, so
weights come from main memory, as in a network larger than the caches.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from math import exp, log
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

from conv_turns import Times, Turns, environment, quartiles, ratios, rounds
from linear_matrices import BYTE_FORM, CODE_FORM, COUNT, balanced_forms, matrices
from linear_peers import ENGINES, LIMITS, precision_of
from linear_worker import COLD_BYTES
from record import RESULTS, circumstances, record
from secateur.ir.balanced_format import GROUP
from secateur.kernels.linear import LinearKernel
from secateur.kernels.memory import aligned

SHAPES = ("768x768", "3072x768", "768x3072", "4096x4096", "11008x4096")
"""outputs x inputs"""
WORKER = Path(__file__).with_name("linear_worker.py")
OURS = ("ours float32 4:16", f"ours {BYTE_FORM}", f"ours {CODE_FORM}", "ours dense int8")
THROUGH = ("accelerate float32 4:16", "accelerate int8 4:16")
SMALL, MANY = (1024, 256), 100
"""A layer that the second-level cache holds, and its tokens."""
CALLS = 4
"""In a row, so that reading the clock does not count."""
AGAINST = {
    "ours float32 4:16": ("float32",),
    "accelerate float32 4:16": ("float32",),
    f"ours {BYTE_FORM}": ("int8",),
    "accelerate int8 4:16": ("int8",),
    "ours dense int8": ("int8",),
    f"ours {CODE_FORM}": ("float32", "int8", "int4"),
}
"""Ours -> precisions of the dense peers whose fastest it is compared with."""


def fastest(run: Any, least: int = 5, seconds: float = 0.2) -> float:
    """Processor seconds of the fastest call."""
    found, start = [], perf_counter()
    while len(found) < least or perf_counter() - start < seconds:
        before = process_time()
        for _ in range(CALLS):
            run()
        found.append((process_time() - before) / CALLS)
    return min(found)


def rates() -> dict[str, float]:
    """Form -> products a second of our kernels at their best."""
    x, found = aligned((MANY, SMALL[1])), {}
    x[:] = np.random.default_rng(0).standard_normal(x.shape)
    y = aligned((MANY, SMALL[0]))
    for name, weight in balanced_forms(matrices(*SMALL)[1]).items():
        kernel = LinearKernel(MANY, weight)
        seconds = fastest(lambda k=kernel: k.run(x.ctypes.data, y.ctypes.data))
        found[f"ours {name}"] = MANY * SMALL[0] * SMALL[1] * COUNT / GROUP / seconds
    return found


def bandwidth(size_bytes: int) -> float:
    """Bytes a second of reading so much again and again: a dot product of an array with itself."""
    array = aligned(size_bytes // 4)
    array[:] = 1
    return size_bytes / fastest(lambda: np.dot(array, array))


def shares(sizes: tuple[int, int, int], sparse: np.ndarray, times: Times, options: Any) -> dict[str, float]:
    """Form of ours -> share of the bound. options: `peak`, what `rates` gives, and `cold`."""
    tokens, outputs, inputs = sizes
    found = {}
    for name, weight in balanced_forms(sparse).items():
        by_bytes = weight.nbytes / bandwidth(COLD_BYTES if options.cold else weight.nbytes)
        by_rate = tokens * outputs * inputs * COUNT / GROUP / options.peak[f"ours {name}"]
        found[f"ours {name}"] = round(max(by_bytes, by_rate) / statistics.median(times[f"ours {name}"]), 3)
    return found


def prepare(
    workers: dict[str, Turns], sizes: tuple[int, int, int], folder: Path
) -> tuple[dict[str, float], np.ndarray]:
    """Data and float64 results for all; errors of every competitor."""
    tokens, outputs, inputs = sizes
    dense, sparse = matrices(outputs, inputs)
    x = np.random.default_rng(1).standard_normal((tokens, inputs), np.float32)
    wide = x.astype(np.float64)
    results = [wide @ weight.T.astype(np.float64) for weight in (dense, sparse)]
    arrays = {"x": x, "dense": dense, "sparse": sparse}
    np.savez(folder / "arrays.npz", **arrays, wanted_dense=results[0], wanted_sparse=results[1])
    errors: dict[str, float] = {}
    for worker in workers.values():
        errors |= worker.ask(prepare=str(folder))
    return errors, sparse


def measured(workers: dict[str, Turns], sizes: tuple[int, int, int], folder: Path, options: Any) -> dict[str, Any]:
    """One row."""
    errors, sparse = prepare(workers, sizes, folder)
    wrong = [name for name, error in errors.items() if not error <= LIMITS[precision_of(name)]]
    owners = {name: workers[_engine(name)] for name in errors if name not in wrong}
    _, times = rounds(owners, seconds=options.seconds, turn=options.turn, least=3, most=options.rounds, ask=options.ask)
    peers = [name for name in owners if name not in (*OURS, *THROUGH)]
    over = ratios(times, [name for name in (*OURS, *THROUGH) if name in owners], peers)
    ms = {name: [round(1e3 * value, 4) for value in quartiles(found)] for name, found in times.items()}
    return {
        "processor_ms": ms,
        "errors": {name: float(f"{error:.1e}") for name, error in errors.items()},
        "wrong": wrong,
        "ratios": over,
        "shares": shares(sizes, sparse, times, options),
        "rounds": len(next(iter(times.values()))),
    }


def _engine(competitor: str) -> str:
    word = competitor.split()[0]
    return "secateur" if word in ("ours", "accelerate") else word


def best(row: dict[str, Any], mine: str) -> tuple[str, float]:
    """The fastest peer of the precisions that ours is compared with, and the ratio over it."""
    found = {peer: value[1] for peer, value in row["ratios"][mine].items() if precision_of(peer) in AGAINST[mine]}
    peer = min(found, key=lambda name: found[name])
    return peer, found[peer]


def summary(rows: list[dict[str, Any]]) -> str:
    """Geometric means over the shapes, a line a form of ours and batch."""
    lines = []
    for mine in AGAINST:
        for batch in sorted({row["batch"] for row in rows}):
            some = [row for row in rows if row["batch"] == batch and mine in row["ratios"]]
            found = [best(row, mine)[1] for row in some]
            each = ", ".join(f"{row['shape']} {best(row, mine)[1]:.2f} ({best(row, mine)[0]})" for row in some)
            share = [row["shares"][mine] for row in some if mine in row["shares"]]
            told = f", share of the bound {_mean(share):.0%}" if share else ""
            lines.append(f"{mine}, batch {batch}: {_mean(found):.2f}{told}: {each}")
    return "\n".join(lines)


def _mean(values: list[float]) -> float:
    return exp(statistics.fmean(map(log, values)))


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--summary", action="store_true", help="of this machine's results, nothing is measured")
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), help="outputs x inputs")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 64, 512])
    parser.add_argument("--cold", action="store_true", help="weights come from main memory at every call")
    parser.add_argument("--seconds", type=float, default=4.0, help="of measurement a row")
    parser.add_argument("--turn", type=float, default=0.02, help="seconds of a competitor's turn")
    parser.add_argument("--rounds", type=int, default=15, help="at most, a row")
    options = parser.parse_args()
    options.ask = "cold" if options.cold else "run"
    path = RESULTS / "linear.jsonl"
    kept = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    kept = [row for row in kept if row["machine"] == circumstances()["machine"]]
    rows = {(row["shape"], row["batch"]): row for row in kept if row.get("cold", False) == options.cold}
    if not options.summary:
        options.peak = rates()
        core = max(os.sched_getaffinity(0))
        with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
            folder = Path(name)
            settings = environment(1, str(folder / "cache"), bound=False)
            commands = {engine: [sys.executable, str(WORKER), engine, "1", str(core)] for engine in ENGINES}
            workers = {e: stack.enter_context(Turns(c, folder / f"{e}.log", settings)) for e, c in commands.items()}
            versions = {key: value for worker in workers.values() for key, value in worker.ask(versions=True).items()}
            for shape in options.shapes:
                outputs, inputs = map(int, shape.split("x"))
                for batch in options.batch:
                    row = measured(workers, (batch, outputs, inputs), folder, options)
                    row = {"shape": shape, "batch": batch, "cold": options.cold, "peers": versions, **row}
                    rows[shape, batch] = row
                    record("linear", benchmark="linear", **row)
    print(summary(list(rows.values())))


if __name__ == "__main__":
    main()
