"""`secateur run`: an artifact on arrays from a file, in numpy. Needs no torch."""

from __future__ import annotations

import io
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from secateur.cli.arrays import read_arrays
from secateur.cli.limits import MaxBytes, MaxSeconds
from secateur.cli.options import verb
from secateur.cli.output import AsJSON, check_writable, show_result, write_file
from secateur.errors import ArtifactError, DataError
from secateur.ir.artifact import Artifact
from secateur.ir.effort import MAX_RUN_BYTES, MAX_RUN_SECONDS
from secateur.ir.execute import has_maps, interpret

HOW = "interpreted in numpy, the reference that faster executions must equal"
IN_INTEGERS = "in integers wherever `secateur show` says so"


@dataclass(frozen=True)
class Asked:
    """Run an artifact on arrays and write what it gives."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="An artifact with a graph, model.secat.")]
    inputs: Annotated[Path, typer.Argument(metavar="INPUT", help="One array (.npy), or several by name (.npz).")]
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the result goes (.npy, or .npz).")]
    arithmetic: Annotated[
        str | None, typer.Option(help="integer or float; integer is what a model with quantized maps runs in.")
    ] = None
    max_bytes: MaxBytes = MAX_RUN_BYTES
    max_seconds: MaxSeconds = MAX_RUN_SECONDS
    as_json: AsJSON = False


def run_run(asked: Asked) -> None:
    """See Asked."""
    artifact = Artifact.load(asked.file, max_bytes=asked.max_bytes)
    if artifact.graph is None:
        raise ArtifactError(f"{asked.file} holds weights only and cannot run: {artifact.meta.get('weights_only', '')}")
    _check_output(asked.output, several=len(artifact.graph.outputs) > 1)
    arrays = read_arrays(asked.inputs, artifact.graph, max_bytes=asked.max_bytes)
    limits = {"max_bytes": asked.max_bytes, "max_seconds": asked.max_seconds}
    start = time.perf_counter()
    found = interpret(artifact, *arrays, arithmetic=asked.arithmetic, **limits)
    seconds = time.perf_counter() - start
    results = dict(zip(artifact.graph.outputs, found if isinstance(found, tuple) else (found,), strict=True))
    write_file(asked.output, _npz(results) if asked.output.suffix == ".npz" else _npy(*results.values()))
    how = f"{HOW}, {IN_INTEGERS}" if asked.arithmetic != "float" and has_maps(artifact.graph) else HOW
    shapes = {name: {"shape": array.shape, "dtype": array.dtype.name} for name, array in results.items()}
    lines = [f"{asked.output}: {name} {array.dtype} {array.shape}" for name, array in results.items()]
    text = "\n".join([*lines, f"{how}: {1000 * seconds:.1f} ms"])
    data = {"file": asked.file, "output": asked.output, "outputs": shapes, "how": how, "seconds": seconds}
    show_result(text, data, as_json=asked.as_json)


run = verb(Asked, run_run)


def _check_output(path: Path, *, several: bool) -> None:
    if path.suffix not in (".npy", ".npz"):
        raise DataError(f"the result is an array: name it .npy or .npz, not {path.name!r}")
    if several and path.suffix == ".npy":
        raise DataError("this model has several outputs: name a .npz file, which holds them all")
    check_writable(path)


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    # Written by hand: np.savez takes names as keywords, and a model may call an output "file".
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in arrays.items():
            archive.writestr(f"{name}.npy", _npy(array))
    return stream.getvalue()
