"""Error against weights left on CIFAR-10: self-pruning and magnitude pruning from the same float network, resumable.

    python benchmarks/bench_cifar.py --data DIR --network lenet5_cifar --float-epochs 30 --epochs 20+10
    python benchmarks/bench_cifar.py --data DIR --network resnet20 --densities 1 --methods self_pruning \
        --set "bits=[2,3,4,6,8]" "maps=[3,4,6,8]" packed_bytes=70000 largest_map_bytes=8192
    python benchmarks/bench_cifar.py --summary

DIR holds cifar10_train_jpeg.npz and cifar10_test_jpeg.npz. One float network a seed is trained first, where it is not
in floats/, and kept there; every method starts from it with the same batches, optimizer and epochs. Runs that are in
results/cifar.jsonl are skipped; an interrupted one goes on after its last epoch. Nothing is chosen by the test images:
they are read when a run is over. With bits, what stays is quantized, and the file is what is judged; with maps feature
maps are too, and the file is also run in integers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from cifar_data import load_cifar
from cifar_floats import RUNS, cifar_float
from cifar_networks import CIFAR_NETWORKS
from image_data import error
from methods import METHODS
from pruning_result import finished, measure
from pruning_run import Run, add_method_options, method_options
from pruning_table import markdown
from record import record


def main() -> None:
    """Run what is asked for and not there yet, or print the table."""
    options = _arguments()
    name = "cifar_search" if options.search else "cifar"
    if options.summary:
        print(markdown(finished(name)))
        return
    torch.set_num_threads(1)
    done = [Run.of(line) for line in finished(name)]
    data = load_cifar(options.data)
    for run in wanted(options):
        if run not in done:
            model = cifar_float(run.network, run.seed, data, epochs=options.float_epochs, precision=run.precision)
            dense = {"float_epochs": options.float_epochs, "float_validation_error": error(model, data.validation)}
            if not options.search:
                dense["float_test_error"] = error(model, data.test)
            record(
                name,
                **{key: round(value, 2) for key, value in dense.items()},
                **measure(run, model, data, RUNS, search=options.search),
            )


def wanted(options: argparse.Namespace) -> list[Run]:
    """Seed by seed and density by density, so that an interrupted benchmark still compares methods."""
    prune, finetune = map(int, options.epochs.split("+"))
    return [
        Run(
            method=method,
            network=options.network,
            density=density,
            shift=True,
            seed=seed,
            prune_epochs=prune,
            finetune_epochs=finetune,
            precision=options.precision,
            learning_rate=options.learning_rate,
            options=options.set,
        )
        for seed in options.seeds
        for density in options.densities
        for method in options.methods
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the two archives")
    parser.add_argument("--network", choices=CIFAR_NETWORKS, default="lenet5_cifar")
    parser.add_argument("--densities", type=float, nargs="+", default=[0.05, 0.1, 0.2])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["self_pruning", "magnitude_masked"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--float-epochs", type=int, default=30)
    parser.add_argument("--epochs", default="20+10", help="pruning+finetuning")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="Adam's, at the start of either phase")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    add_method_options(parser)
    parser.add_argument("--search", action="store_true", help="validation only, into results/cifar_search.jsonl")
    parser.add_argument("--summary", action="store_true", help="print the table of all results")
    options = parser.parse_args()
    if not options.summary and options.data is None:
        parser.error("--data is missing: the folder that holds cifar10_train_jpeg.npz")
    options.set = method_options(parser, options.set, options.methods)
    return options


if __name__ == "__main__":
    main()
