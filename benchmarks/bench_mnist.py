"""Error against weights left on MNIST or Fashion-MNIST: self-pruning and its rivals, several seeds, resumable.

    python benchmarks/bench_mnist.py --data DIR --network lenet300 --density 0.02 --seeds 0-4 --epochs 20+10
    python benchmarks/bench_mnist.py --data DIR --methods self_pruning --density 1 --set "bits=[3,4]" packed_bytes=6500
    python benchmarks/bench_mnist.py --data DIR --name fashion --methods balanced sr_ste --density 0.25 --set n=4 m=16
    python benchmarks/bench_mnist.py --summary --name fashion

With bits, what stays is quantized, its widths learned together with the thresholds, and the file is what is judged.
A run is one process with one thread. Runs that are in results/NAME.jsonl are skipped; an interrupted run goes on after
its last epoch. Nothing is chosen by the test images: they are read once, when a run is over.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import nn

from methods import METHODS, PATTERNED, QUANTIZING
from mnist_data import load_mnist
from networks import NETWORKS
from pruning_result import finished, measure
from pruning_run import Run, add_method_options, method_options
from pruning_table import markdown
from record import HERE, record

RUNS = HERE.parent / ".runs"


def main() -> None:
    """Run what is asked for and not there yet, or print the table."""
    options = _arguments()
    if options.summary:
        print(markdown(finished(options.name)))
        return
    name = f"{options.name}_search" if options.search else options.name
    runs = RUNS / options.name
    done = [Run.of(line) for line in finished(name)]
    missing = [run for run in wanted(options) if run not in done]
    if len(missing) > 1:
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(lambda run: _in_own_process(run, options), missing))
    elif missing:
        torch.set_num_threads(1)
        record(name, **measure(missing[0], fresh(missing[0]), load_mnist(options.data), runs, search=options.search))


def fresh(run: Run) -> nn.Module:
    """The run's network with the initial weights of its seed."""
    torch.manual_seed(run.seed)
    return NETWORKS[run.network]()


def wanted(options: argparse.Namespace) -> Iterator[Run]:
    """Seed by seed, so that an interrupted benchmark still compares methods on the seeds it has."""
    first, _, last = options.seeds.partition("-")
    prune, finetune = map(int, options.epochs.split("+"))
    for seed in range(int(first), int(last or first) + 1):
        for method in options.methods:
            yield Run(
                method=method,
                network=options.network,
                density=options.density,
                shift=bool(options.shift),
                seed=seed,
                prune_epochs=prune,
                finetune_epochs=finetune,
                precision=options.precision,
                learning_rate=options.learning_rate,
                options=options.set,
            )


def _in_own_process(run: Run, options: argparse.Namespace) -> None:
    command = [
        sys.executable,
        __file__,
        f"--data={options.data}",
        f"--name={options.name}",
        f"--network={run.network}",
        f"--density={run.density}",
    ]
    command += [
        f"--shift={int(run.shift)}",
        f"--seeds={run.seed}",
        f"--epochs={run.prune_epochs}+{run.finetune_epochs}",
    ]
    command += [f"--precision={run.precision}", f"--learning-rate={run.learning_rate}"]
    command += [*(f"--set={key}={json.dumps(v)}" for key, v in run.options.items())]
    command += ["--methods", run.method, *(["--search"] if options.search else [])]
    subprocess.run(command, check=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the raw IDX files, plain or .gz")
    parser.add_argument("--name", default="mnist", help="of the data, and so of results/NAME.jsonl")
    parser.add_argument("--network", choices=NETWORKS, default="lenet300")
    parser.add_argument("--density", type=float, default=0.02, help="fraction of all weights that stays")
    parser.add_argument("--shift", type=int, choices=(0, 1), default=0, help="1: random shifts by at most one pixel")
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=METHODS,
        default=[name for name in METHODS if name not in (*QUANTIZING, *PATTERNED)],
    )
    parser.add_argument("--seeds", default="0-4", help="first-last")
    parser.add_argument("--epochs", default="20+10", help="pruning+finetuning")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="Adam's, at the start of either phase")
    add_method_options(parser)
    parser.add_argument("--search", action="store_true", help="validation only, into results/NAME_search.jsonl")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    parser.add_argument("--summary", action="store_true", help="print the table of all results")
    options = parser.parse_args()
    if not options.summary and options.data is None:
        parser.error("--data is missing: the folder that holds train-images-idx3-ubyte")
    options.set = method_options(parser, options.set, options.methods)
    return options


if __name__ == "__main__":
    main()
