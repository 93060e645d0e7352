"""An Artifact: a compressed network as one value, with or without the graph that runs it, and its file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from math import prod
from typing import BinaryIO

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir import container
from secateur.ir.coding.tensors import TensorBytes, encode_tensor, record_bytes
from secateur.ir.formats import GRAPH_DTYPE, Stored
from secateur.ir.graph import Graph
from secateur.ir.header import header_bytes, read_header
from secateur.ir.integer.lower import Program, lower
from secateur.ir.map_scales import check_map_scales
from secateur.ir.records import Fold, UnitAxes, UnitGroup
from secateur.ir.sections import DENSE_ITEM_BYTES, check_size, decode_body, encode_body
from secateur.ir.storage import write_whole
from secateur.ir.strict_json import JSON

MAX_BYTES = 4 * 2**30


@dataclass(frozen=True, repr=False)
class Artifact:
    """A compressed network.

    graph    what to compute; None = weights only, `meta["weights_only"]` then says why
    tensors  by state-dict key, in their compacted shape; the graph's constants are among them
    meta     small facts a user may read: name, creator, what was dropped
    units    groups of units of which some were removed
    axes     tensor -> axis -> (index into `units`, repeat): that axis lost the units of the group that are not kept,
             each `repeat` neighbouring elements (16 for a flattened channel of 4x4 pixels)
    folds    normalizations folded into their neighbours, in the order they were folded
    """

    graph: Graph | None
    tensors: Mapping[str, Stored]
    meta: Mapping[str, JSON] = field(default_factory=dict)
    units: tuple[UnitGroup, ...] = ()
    axes: UnitAxes = field(default_factory=dict)
    folds: tuple[Fold, ...] = ()
    _sizes: FileBytes | None = field(default=None, init=False, compare=False)

    def __post_init__(self) -> None:
        for name, tensor in self.tensors.items():
            if type(name) is not str or not isinstance(tensor, Stored):
                raise ArtifactError(f"tensor {name!r} is a {type(tensor).__name__}: store it with formats.from_dense")
        for name in self.axes:
            if name not in self.tensors:
                raise ArtifactError(f"axes name a tensor {name!r} that the artifact does not hold")
            self.original_shape(name)
        if self.graph is not None:
            _check_constants(self.graph, self.tensors)
            check_map_scales(self.graph, self.tensors)

    def __repr__(self) -> str:
        nonzeros = sum(tensor.nonzeros for tensor in self.tensors.values())
        runs = f"{len(self.graph.nodes)} operations" if self.graph is not None else "weights only"
        return f"Artifact({len(self.tensors)} tensors, {nonzeros:,} non-zeros, {runs})"

    def original_shape(self, name: str) -> tuple[int, ...]:
        """The shape a tensor had before units were removed. Raises ArtifactError where axes and units disagree."""
        shape = list(self.tensors[name].shape)
        for axis, (index, repeat) in self.axes.get(name, {}).items():
            if not (0 <= axis < len(shape) and 0 <= index < len(self.units) and repeat >= 1):
                raise ArtifactError(f"axis {axis} of {name!r} refers to unit group {index} x {repeat}: out of range")
            group = self.units[index]
            if shape[axis] != group.kept_units * repeat:
                raise ArtifactError(
                    f"axis {axis} of {name!r} has {shape[axis]} elements, "
                    f"its unit group keeps {group.kept_units} x {repeat}"
                )
            shape[axis] = group.size * repeat
        return tuple(shape)

    @cached_property
    def constants(self) -> Mapping[str, np.ndarray]:
        """What the graph reads, dense, read-only, made once; empty without a graph."""
        names = self.graph.constants if self.graph is not None else ()
        dense = {name: self.tensors[name].to_dense().view() for name in names}
        for array in dense.values():
            array.flags.writeable = False
        return dense

    @cached_property
    def program(self) -> Program:
        """The graph in integers, made once: which operations, at which scales. ArtifactError without a graph."""
        if self.graph is None:
            raise ArtifactError("this artifact holds weights only: there is nothing to run, in integers or floats")
        return lower(self.graph, self.tensors)

    def to_bytes(self) -> bytes:
        """The whole file. ArtifactError where graph or meta cannot be stored."""
        header, body = self._header(), encode_body(self.units, self.tensors)
        sections = body.sections()
        tensors = {name: streams.sizes() for name, streams in body.tensors.items()}
        frame, framing = container.framing_bytes(header, sections)
        object.__setattr__(self, "_sizes", FileBytes(tensors, sum(map(record_bytes, body.units)), frame, framing))
        return container.build(header, sections)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file under `path`, whole or not at all; ArtifactError where that fails, the old file then stays."""
        write_whole(path, self.to_bytes())

    @classmethod
    def from_bytes(cls, data: bytes, *, max_bytes: int = MAX_BYTES) -> Artifact:
        """The artifact in the bytes of a file; as `load`."""
        return cls._read(BytesIO(data), len(data), max_bytes)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> Artifact:
        """Read a file, whoever made it: what it announces is checked before it is allocated.

        max_bytes  limit of the file's size, and of all its tensors in bytes once dense
        Raises ArtifactError, and nothing else, for a file that is missing, damaged, hostile, newer or too large.
        """
        try:
            with open(path, "rb") as file:
                return cls._read(file, os.fstat(file.fileno()).st_size, max_bytes)
        except OSError as error:
            raise ArtifactError(f"cannot read {path}: {error.strerror or error}") from error
        except ValueError as error:  # a name with a NUL in it
            raise ArtifactError(f"cannot read {str(path)!r}: {error}") from error

    def bytes_by_stream(self) -> FileBytes:
        """Where the bytes of the file go; `total` is exactly the size of the file.

        Known of an artifact that was loaded or saved; any other is encoded to find out.
        """
        if self._sizes is None:
            self.to_bytes()
        assert self._sizes is not None
        return self._sizes

    def _header(self) -> bytes:
        return header_bytes(self.graph, self.tensors, self.axes, len(self.units), self.folds, self.meta)

    @classmethod
    def _read(cls, file: BinaryIO, size: int, max_bytes: int) -> Artifact:
        if size > max_bytes:
            raise ArtifactError(f"this file has {size} bytes, {max_bytes} are allowed: load it with a larger max_bytes")
        try:
            opened = container.open_container(file, size)
            header = read_header(opened.header)
            body = decode_body(opened.sections, header.groups, header.shapes, max_bytes)
            graph = header.graph(body.tensors)
            found = cls(graph, body.tensors, header.meta, body.units, header.axes, header.folds)
        except MemoryError as error:
            raise ArtifactError("not enough memory for what this artifact announces: is it what you expect?") from error
        check_size(sum(DENSE_ITEM_BYTES * prod(found.original_shape(name)) for name in header.axes), max_bytes)
        framing = size - opened.frame_bytes - body.units_bytes - sum(row.total for row in body.sizes.values())
        object.__setattr__(found, "_sizes", FileBytes(body.sizes, body.units_bytes, opened.frame_bytes, framing))
        return found


@dataclass(frozen=True)
class FileBytes:
    """Bytes of a file: tensors, masks of removed units, compressed header, and magic, lengths and checksums."""

    tensors: Mapping[str, TensorBytes]
    units: int
    header: int
    framing: int

    @property
    def total(self) -> int:
        return sum(row.total for row in self.tensors.values()) + self.units + self.header + self.framing


def encoded_bytes(tensor: Stored) -> int:
    """Bytes a tensor takes in a file, all but its name and shape in the header: it is encoded to find out."""
    return encode_tensor(tensor).sizes().total


def _check_constants(graph: Graph, tensors: Mapping[str, Stored]) -> None:
    for name in graph.constants:
        if name not in tensors:
            raise ArtifactError(f"the graph reads a constant {name!r} that the artifact does not hold")
        if name not in graph.types:
            raise ArtifactError(f"the graph gives its constant {name!r} no type")
        have, want = tensors[name], graph.types[name]
        if have.shape != want.shape or GRAPH_DTYPE[have.dtype] != want.dtype:
            stored = f"{GRAPH_DTYPE[have.dtype]} {have.shape}"
            raise ArtifactError(f"constant {name!r} is {stored}, the graph expects {want.dtype} {want.shape}")
