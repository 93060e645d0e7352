"""Convolutional layers against every library that a CPU user has: PyTorch, ONNX Runtime, OpenVINO, ncnn, MNN.

python benchmarks/bench_conv.py [--quick] [--summary]

Every layer of `conv_layers` is computed by every competitor of `conv_peers`, in its fastest form. First each result is
compared with the float64 sum; one whose error exceeds WRONG is reported and not ranked. Then competitors take turns in
random order, each in a process of its own, pinned, the others stopped. A ratio is the median over the rounds of the
peer's time over ours in the same round. Rows that are already there are skipped, so an interrupted run goes on; with
`--again` they are measured anew, and the last one of each counts.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from conv_layers import LAYERS, Layer, arrays, reference
from conv_peers import CLASSES, ENGINES, PEER_ENGINES, PEERS
from conv_table import fastest_peer, ratio, read, summary
from conv_turns import Times, Turns, quartiles, ratios, rounds, start
from record import RESULTS, circumstances, record

WRONG = 2e-3
"""An error beyond this, in max|y - y64| / max|y64|, is a wrong result."""
QUICK = ("3x3 64-64@56", "3x3 512-512@7", "5x5 48-128@14", "3x3 17-33@45x37")


def missing_modules() -> list[str]:
    """What has to be installed first."""
    modules = dict.fromkeys(module for engine in ENGINES.values() for module in engine.modules)
    return [module for module in modules if find_spec(module) is None]


@contextmanager
def engines(names: Iterable[str], threads: int, folder: Path) -> Iterator[dict[str, Turns]]:
    """Of these names, started one after the other, on as many cores as threads."""
    cores = sorted(os.sched_getaffinity(0))[-threads:]
    if len(cores) < threads:
        raise SystemExit(f"{threads} threads need {threads} cores; this process may use {len(cores)}")
    with ExitStack() as stack:
        yield {name: stack.enter_context(start(name, threads, cores, folder)) for name in names}


def prepare(workers: dict[str, Turns], layer: Layer, batch: int, folder: Path) -> dict[str, dict[str, Any]]:
    """Data and float64 result for all; every competitor's form and error."""
    x, weight, bias = arrays(layer, batch)
    np.savez(folder / "arrays.npz", x=x, weight=weight, bias=bias)
    np.save(folder / "wanted.npy", reference(layer, x, weight, bias))
    found: dict[str, dict[str, Any]] = {}
    for worker in workers.values():
        answer = worker.ask(prepare=layer.name, folder=str(folder))
        for competitor, about in answer.items():
            found[competitor] = judged(about)
    return found


def judged(about: dict[str, Any]) -> dict[str, Any]:
    """A competitor's form and error, and whether that is a wrong result."""
    return {"form": about["form"], "error": about["error"], "wrong": not about["error"] <= WRONG}


def speeds(
    found: dict[str, dict[str, Any]], measured: tuple[Times, Times], operations: float
) -> dict[str, dict[str, Any]]:
    """Competitors with milliseconds (quartiles) and direct-equivalent GFLOP/s."""
    times, processor = measured
    competitors = {}
    for name, about in found.items():
        ms = [1e3 * seconds for seconds in quartiles(times[name])]
        speed = {"ms": [round(value, 4) for value in ms], "gflops": round(operations / ms[1] / 1e6, 1)}
        work = round(1e3 * quartiles(processor[name])[1], 4)
        competitors[name] = {**about, "error": float(f"{about['error']:.2e}"), **speed, "processor_ms": work}
    return competitors


def row_of(found: dict[str, dict[str, Any]], measured: tuple[Times, Times], operations: float) -> dict[str, Any]:
    """Competitors with their speeds, and the ratios of the right ones."""
    times, processor = measured
    ranked = [name for name in PEERS if name in found and not found[name]["wrong"]]
    competitors = speeds(found, measured, operations)
    ours = [name for name in CLASSES if not found[name]["wrong"]]
    by = {"ratios": ratios(times, ours, ranked), "processor_ratios": ratios(processor, ours, ranked)}
    return {"competitors": competitors, **by, "rounds": len(times[CLASSES[0]])}


def progress(row: dict[str, Any], position: str) -> str:
    """A line a row."""
    wrong = [name for name, about in row["competitors"].items() if about["wrong"]]
    speeds = ", ".join(f"{name} {ratio(row, name) or 0:.2f}" for name in row["ratios"])
    peers = ", ".join(f"{peer} {values[1]:.2f}" for peer, values in row["ratios"]["default"].items())
    return (
        f"{position} {row['layer']} batch {row['batch']}, {row['threads']} threads: over {fastest_peer(row)} {speeds}; "
        f"default over {peers}" + (f"; WRONG: {', '.join(wrong)}" if wrong else "")
    )


def measure(options: argparse.Namespace, folder: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """One row a layer, batch and number of threads that is not there yet, and where in the run it stands."""
    done = {} if options.quick or options.again else read(RESULTS / "conv.jsonl", circumstances()["machine"])
    names = [name for name in (QUICK if options.quick else LAYERS) if any(part in name for part in options.layers)]
    for threads in options.threads:
        wanted = [(name, batch) for batch in options.batch for name in names]
        wanted = [(name, batch) for name, batch in wanted if (name, batch, threads) not in done]
        if not wanted:
            continue
        with engines(dict.fromkeys(("secateur", *options.peers)), threads, folder) as workers:
            versions = {key: value for worker in workers.values() for key, value in worker.ask(versions=True).items()}
            for number, (name, batch) in enumerate(wanted):
                layer = LAYERS[name]
                found = prepare(workers, layer, batch, folder)
                owners = {c: workers[e] for e, engine in ENGINES.items() for c in engine.competitors if c in found}
                least, most = (3, 3) if options.quick else (7, options.rounds)
                measured = rounds(owners, seconds=options.seconds, turn=options.turn, least=least, most=most)
                row = row_of(found, measured, 2.0 * layer.shape(batch).macs)
                about = {"layer": name, "batch": batch, "threads": threads, "peers": versions}
                yield {**about, **row}, f"[{threads} threads, {number + 1} of {len(wanted)}]"


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="three rounds of four layers, to see that it works; not kept"
    )
    parser.add_argument("--summary", action="store_true", help="tables of this machine's results, nothing is measured")
    parser.add_argument("--layers", nargs="+", default=[""], help="those with one of these in their name: 7x7, @56")
    parser.add_argument(
        "--peers", nargs="+", default=list(PEER_ENGINES), choices=list(PEER_ENGINES), help="only these processes"
    )
    parser.add_argument("--again", action="store_true", help="also rows that are there")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=10.0, help="of measurement a row")
    parser.add_argument("--turn", type=float, default=0.02, help="seconds of a competitor's turn")
    parser.add_argument("--rounds", type=int, default=40, help="at most, a row")
    parser.add_argument("--processor", action="store_true", help="with --summary: ratios of processor times")
    options = parser.parse_args()
    ranked_by = "processor_ratios" if options.processor else "ratios"
    if options.summary:
        print(summary(read(RESULTS / "conv.jsonl", circumstances()["machine"], ranked_by)))
        return
    if missing := missing_modules():
        raise SystemExit(f"install {', '.join(missing)} first: see benchmarks/README.md")
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for row, position in measure(options, Path(folder)):
            rows[row["layer"], row["batch"], row["threads"]] = row
            if not options.quick:
                record("conv", benchmark="conv", **row)
            print(progress(row, position), flush=True)
    print(summary(rows))


if __name__ == "__main__":
    main()
