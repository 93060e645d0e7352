"""What a run of a pruning benchmark reached: errors, densities, three sizes; and the lines that are there already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

import secateur as sct
from image_data import Images, Split, error, guesses, mean_loss
from pruning_run import Run, train, weights_of
from record import RESULTS
from secateur.ir.bit_count import count_bits
from secateur.ir.count import count
from secateur.ir.formats import Quantized

INTERPRETED = 500
"""Images a call of `interpret`."""


def finished(name: str) -> list[dict[str, Any]]:
    """The lines of results/<name>.jsonl."""
    path = RESULTS / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def measure(run: Run, model: nn.Module, data: Images, folder: Path, *, search: bool) -> dict[str, Any]:
    """Train and report; sizes in three units that are never mixed. folder keeps checkpoints and the finished file.

    search  validation only; of a quantized network the file too, as it is what is judged
    """
    folder.mkdir(parents=True, exist_ok=True)
    seen = train(run, model, data, folder)
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
    file = folder / f"{run.name}.secat"
    if "bits" in run.options:
        kept = quantized_sizes(model, data, file, seen["beside_file"])
    elif not search:
        kept = sizes(model, data.train.images[:1], file)
    if search:
        return {**result, **(kept if "bits" in run.options else {})}
    tested = {"test_error": round(error(model, data.test), 2), "sparsity_x": round(size / nonzeros, 1)}
    if "maps" in run.options:
        kept |= in_integers(model, data.test, sct.Artifact.load(file))
    return {**result, **tested, **kept, "secateur": sct.__version__}


def in_integers(model: nn.Module, split: Split, artifact: sct.Artifact) -> dict[str, Any]:
    """What the file computes in integers: its error, on how many inputs it decides as the torch model does, bytes of
    the largest map for one example, bits of every map."""
    decided = np.concatenate(
        [sct.interpret(artifact, part.numpy()).argmax(1) for part in split.images.split(INTERPRETED)]
    )
    same = decided == guesses(model, split).numpy()
    assert artifact.graph is not None
    counted = count_bits(artifact.graph, artifact.tensors, count(artifact.graph, artifact.constants))
    return {
        "integer_test_error": round(100 * float((decided != split.labels.numpy()).mean()), 2),
        "same_arg_max": float(same.mean()),
        "bit_operations": counted.bit_operations,
        "largest_map_bytes": max(row.bytes for row in counted.maps),
        "map_bits": {row.name: row.bits for row in counted.maps},
    }


def quantized_sizes(model: nn.Module, data: Images, path: Path, beside_file: int | None) -> dict[str, Any]:
    """Of the file of a quantized network, which lies at `path`. The model gets what the file holds, rounded biases too,
    so that what is judged afterwards is the file; not so where a decoder needs more beside it."""
    artifact = sct.Artifact.load(path)
    if beside_file is None:
        sct.restore_(model, artifact)
    return {
        "file_bytes": path.stat().st_size + (beside_file or 0),
        "validation_of_file": round(error(model, data.validation), 2),
        "parameters_left": artifact.meta["parameters"][1],
        "bits": {name: t.grid.bits for name, t in artifact.tensors.items() if isinstance(t, Quantized)},
    }


def sizes(model: nn.Module, example: Tensor, path: Path) -> dict[str, int]:
    """Bytes of the file with float16 values: of the weights as they are, and of the same function with units sorted and
    rescaled, which stays at `path`; parameters left once dead units are gone."""
    plain = sct.pack(model, example, values="float16")
    artifact = sct.pack(model, example, values="float16", sort=True, rescale=True)
    artifact.save(path)
    return {
        "file_bytes": len(plain.to_bytes()),
        "file_bytes_rescaled": path.stat().st_size,
        "parameters_left": artifact.meta["parameters"][1],
    }
