"""What an Artifact costs a plain Python process: reading the file and running one image through it, without torch.

    python benchmarks/bench_artifact.py --data DIR FILE [FILE ...]

FILE is a .secat that bench_mnist.py left in .runs/mnist. Its outputs are first compared with the torch model that
`restore_` makes of it; then fresh processes, torch not imported, load and run it. A run's time has three parts, which
are medians over the processes: importing secateur and numpy, `Artifact.load` and `interpret`, the first ever in it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

import secateur as sct
from mnist_data import load_mnist
from networks import NETWORKS
from record import record

PROCESS = """
import json, sys, time
start = time.perf_counter()
import numpy, secateur
secateur.Artifact, secateur.interpret
ready = time.perf_counter()
artifact = secateur.Artifact.load(sys.argv[1])
loaded = time.perf_counter()
secateur.interpret(artifact, numpy.load(sys.argv[2]))
done = time.perf_counter()
assert "torch" not in sys.modules
print(json.dumps([1e3 * (ready - start), 1e3 * (loaded - ready), 1e3 * (done - loaded)]))
"""
PARTS = ("import_ms", "load_ms", "interpret_ms")


def main() -> None:
    """Check, measure and record every file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the raw IDX files, plain or .gz")
    parser.add_argument("--processes", type=int, default=20)
    parser.add_argument("files", nargs="+", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = load_mnist(options.data).test.images[:100]
    np.save(options.files[0].with_suffix(".npy"), images[:1].numpy())
    for file in options.files:
        difference = compare(file, images)
        runs = [in_fresh_process(file, options.files[0].with_suffix(".npy")) for _ in range(options.processes)]
        medians = {
            part: round(statistics.median(times), 2) for part, times in zip(PARTS, zip(*runs, strict=True), strict=True)
        }
        slowest = round(max(load + run for _, load, run in runs), 2)
        record(
            "artifact",
            file=file.name,
            file_bytes=file.stat().st_size,
            **medians,
            slowest_load_and_interpret_ms=slowest,
            processes=options.processes,
            largest_difference=difference,
        )


def compare(file: Path, images: torch.Tensor) -> float:
    """Largest difference between numpy and torch on the logits; refuses to time a wrong result."""
    artifact = sct.Artifact.load(file)
    model = NETWORKS[file.name.split("-")[0]]()
    sct.restore_(model, artifact)
    with torch.no_grad():
        expected = model.eval()(images).numpy()
    difference = float(np.abs(sct.interpret(artifact, images.numpy()) - expected).max())
    if difference > 1e-4 * float(np.abs(expected).max()):
        raise SystemExit(f"{file}: numpy and torch differ by {difference}")
    return difference


def in_fresh_process(file: Path, image: Path) -> list[float]:
    """Milliseconds of PARTS."""
    command = [sys.executable, "-c", PROCESS, str(file), str(image)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
