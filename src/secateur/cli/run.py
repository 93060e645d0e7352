"""`secateur run`: an artifact on arrays from a file, in numpy. Needs no torch."""

from __future__ import annotations

import io
import time
import zipfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from secateur.cli.arrays import read_arrays
from secateur.cli.limits import MaxBytes, MaxSeconds
from secateur.cli.output import AsJSON, check_writable, show_result, write_file
from secateur.errors import ArtifactError, DataError
from secateur.ir.artifact import Artifact
from secateur.ir.effort import MAX_RUN_BYTES, MAX_RUN_SECONDS
from secateur.ir.execute import interpret

HOW = "interpreted in numpy, the reference that faster executions must equal"


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An artifact with a graph, model.secat.")],
    inputs: Annotated[Path, typer.Argument(metavar="INPUT", help="One array (.npy), or several by name (.npz).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the result goes (.npy, or .npz).")],
    max_bytes: MaxBytes = MAX_RUN_BYTES,
    max_seconds: MaxSeconds = MAX_RUN_SECONDS,
    as_json: AsJSON = False,
) -> None:
    """Run an artifact on arrays and write what it gives."""
    artifact = Artifact.load(file, max_bytes=max_bytes)
    if artifact.graph is None:
        raise ArtifactError(f"{file} holds weights only and cannot run: {artifact.meta.get('weights_only', '')}")
    several = len(artifact.graph.outputs) > 1
    _check_output(output, several=several)
    arrays = read_arrays(inputs, artifact.graph, max_bytes=max_bytes)
    start = time.perf_counter()
    found = interpret(artifact, *arrays, max_bytes=max_bytes, max_seconds=max_seconds)
    seconds = time.perf_counter() - start
    results = dict(zip(artifact.graph.outputs, found if isinstance(found, tuple) else (found,), strict=True))
    write_file(output, _npz(results) if output.suffix == ".npz" else _npy(*results.values()))
    shapes = {name: {"shape": array.shape, "dtype": array.dtype.name} for name, array in results.items()}
    lines = [f"{output}: {name} {array.dtype} {array.shape}" for name, array in results.items()]
    text = "\n".join([*lines, f"{HOW}: {1000 * seconds:.1f} ms"])
    data = {"file": file, "output": output, "outputs": shapes, "how": HOW, "seconds": seconds}
    show_result(text, data, as_json=as_json)


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
