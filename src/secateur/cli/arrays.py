"""Input arrays from a .npy or .npz file, whoever wrote it: what it announces is compared with what the model expects
before memory is taken. Format: numpy.lib.format."""

from __future__ import annotations

import os
import tokenize
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from secateur.errors import DataError
from secateur.ir.artifact import MAX_BYTES
from secateur.ir.graph import Graph, ValueType
from secateur.ir.ops.sizes import show

ZIP = b"PK"
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others unfold in zipfile without any limit
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
# What numpy and zipfile raise on damaged bytes; numpy's own words recommend reading pickles, which could run anything.
DAMAGE = (
    ValueError,
    TypeError,
    SyntaxError,
    KeyError,
    EOFError,
    OverflowError,
    RecursionError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_arrays(path: Path, graph: Graph, *, max_bytes: int = MAX_BYTES) -> list[np.ndarray]:
    """The graph's inputs in its order, from a .npy with the only one or a .npz with all of them by name. DataError for
    a file that is missing, damaged, holds objects (pickles are never read), other names, shapes or dtypes, or more
    than `max_bytes`."""
    try:
        with open(path, "rb") as file:
            magic = file.read(len(ZIP))
            file.seek(0)
            if magic == ZIP:
                return _members(file, path, graph, max_bytes)
            if len(graph.inputs) != 1:
                raise DataError(f"expected {len(graph.inputs)} inputs ({_names(graph.inputs)}), got one: name a .npz")
            (name,) = graph.inputs
            return [_array(file, os.fstat(file.fileno()).st_size, name, graph.types[name], max_bytes)]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except DAMAGE:
        raise DataError(f"{path} is no .npy or .npz file of plain numbers, or it is damaged") from None


def _members(file: IO[bytes], path: Path, graph: Graph, max_bytes: int) -> list[np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        files = archive.namelist()
        if sorted(files) != sorted(f"{name}.npy" for name in graph.inputs):
            found = [name.removesuffix(".npy") for name in files]
            raise DataError(f"{path} holds {_names(found)}, the model's inputs are {_names(graph.inputs)}")
        arrays = []
        for name in graph.inputs:
            info = archive.getinfo(f"{name}.npy")
            if info.compress_type not in COMPRESSIONS:
                raise ValueError("no compression that numpy writes")
            with archive.open(info) as member:
                arrays.append(_array(member, info.file_size, name, graph.types[name], max_bytes))
            max_bytes -= arrays[-1].nbytes
        return arrays


def _array(file: IO[bytes], size: int, name: str, expected: ValueType, max_bytes: int) -> np.ndarray:
    """The array in a stream of `size` bytes. ValueError where it is none, DataError where it does not fit."""
    shape, by_columns, dtype = HEADERS[npy.read_magic(file)](file)
    if dtype.hasobject:
        raise ValueError("a pickle")
    if dtype != expected.dtype or not _fits(shape, expected.shape):
        raise DataError(f"{name!r}: expected {expected.dtype} {show(expected.shape)}, got {dtype} {shape}")
    needed = dtype.itemsize * prod(shape)
    if needed > size:
        raise ValueError("more is announced than the file holds")
    if needed > max_bytes:
        raise DataError(f"{name!r} takes {needed:,} bytes, {max_bytes:,} are allowed: run smaller batches")
    data = file.read(needed)
    if len(data) != needed or file.read(1):
        raise ValueError("the file holds more or less than it announces")
    flat = np.frombuffer(data, dtype)
    return flat.reshape(shape[::-1]).T if by_columns else flat.reshape(shape)


def _fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether a shape is the expected one for some batch size; which one, and whether inputs agree, is not asked."""
    return len(shape) == len(expected) and all(
        have >= 0 and (have == want if want >= 0 else have % -want == 0)
        for have, want in zip(shape, expected, strict=True)
    )


def _names(names: object) -> str:
    return ", ".join(map(str, names)) if isinstance(names, (list, tuple)) and names else "no array"
