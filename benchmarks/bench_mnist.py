"""Error against weights left on MNIST or Fashion-MNIST: self-pruning and its rivals, several seeds, resumable.

    python benchmarks/bench_mnist.py --data DIR --network lenet300 --density 0.02 --seeds 0-4 --epochs 20+10
    python benchmarks/bench_mnist.py --summary

A run is one process with one thread. Runs that are in results/mnist.jsonl are skipped; an interrupted run goes on after
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
from typing import Any

import torch
from torch import Tensor, nn

import secateur as sct
from methods import METHODS
from mnist_data import Mnist, error, load_mnist, mean_loss
from mnist_run import Run, fresh, train, weights_of
from mnist_table import markdown
from networks import NETWORKS
from record import HERE, RESULTS, record

RUNS = HERE.parent / ".runs" / "mnist"


def main() -> None:
    """Run what is asked for and not there yet, or print the table."""
    options = _arguments()
    if options.summary:
        print(markdown(finished("mnist")))
        return
    name = "mnist_search" if options.search else "mnist"
    done = [Run.of(line) for line in finished(name)]
    missing = [run for run in wanted(options) if run not in done]
    if len(missing) > 1:
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(lambda run: _in_own_process(run, options), missing))
    elif missing:
        torch.set_num_threads(1)
        record(name, **measure(missing[0], fresh(missing[0]), load_mnist(options.data), search=options.search))


def finished(name: str) -> list[dict[str, Any]]:
    """The lines of results/<name>.jsonl."""
    path = RESULTS / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wanted(options: argparse.Namespace) -> Iterator[Run]:
    """Seed by seed, so that an interrupted benchmark still compares methods on the seeds it has."""
    first, _, last = options.seeds.partition("-")
    prune, finetune = map(int, options.epochs.split("+"))
    extra = {key: json.loads(value) for key, value in (pair.split("=") for pair in options.set)}
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
                options=extra,
            )


def measure(run: Run, model: nn.Module, data: Mnist, *, search: bool) -> dict[str, Any]:
    """Train and report; sizes in three units that are never mixed."""
    RUNS.mkdir(parents=True, exist_ok=True)
    seen = train(run, model, data, RUNS)
    weights = weights_of(model)
    size, nonzeros = sum(w.numel() for w in weights.values()), sum(int(w.count_nonzero()) for w in weights.values())
    result = {
        **run.asdict(),
        "validation_error": round(seen["validation"][-1], 2),
        "validation_loss": round(mean_loss(model, data.validation), 4),
        "validation_hardened": round(seen["validation_hardened"], 2),
        "density_before_hardening": seen["densities"],
        "density_reached": nonzeros / size,
        "densities": {name: round(float(w.count_nonzero()) / w.numel(), 5) for name, w in weights.items()},
        "seconds": round(seen["seconds"]),
    }
    if search:
        return result
    tested = {"test_error": round(error(model, data.test), 2), "sparsity_x": round(size / nonzeros, 1)}
    return {
        **result,
        **tested,
        **sizes(model, data.train.images[:1], RUNS / f"{run.name}.secat"),
        "secateur": sct.__version__,
    }


def sizes(model: nn.Module, example: Tensor, path: Path) -> dict[str, int]:
    """Bytes of the file with float16 values, which stays at `path`; parameters left once dead units are gone."""
    artifact = sct.pack(model, example, values="float16")
    artifact.save(path)
    return {"file_bytes": path.stat().st_size, "parameters_left": artifact.meta["parameters"][1]}


def _in_own_process(run: Run, options: argparse.Namespace) -> None:
    command = [
        sys.executable,
        __file__,
        f"--data={options.data}",
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
    parser.add_argument("--network", choices=NETWORKS, default="lenet300")
    parser.add_argument("--density", type=float, default=0.02, help="fraction of all weights that stays")
    parser.add_argument("--shift", type=int, choices=(0, 1), default=0, help="1: random shifts by at most one pixel")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", default="0-4", help="first-last")
    parser.add_argument("--epochs", default="20+10", help="pruning+finetuning")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="Adam's, at the start of either phase")
    parser.add_argument("--set", nargs="*", default=[], metavar="OPTION=VALUE", help="options of the method")
    parser.add_argument("--search", action="store_true", help="validation only, into results/mnist_search.jsonl")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    parser.add_argument("--summary", action="store_true", help="print the table of all results")
    options = parser.parse_args()
    if not options.summary and options.data is None:
        parser.error("--data is missing: the folder that holds train-images-idx3-ubyte")
    return options


if __name__ == "__main__":
    main()
