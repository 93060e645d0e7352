"""Tensors and unit groups as records, and records as the sections of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir.coding.positions import announced_nonzeros, decode_positions, encode_positions
from secateur.ir.coding.tensors import (
    POSITION_BYTES,
    Streams,
    TensorBytes,
    decode_tensor,
    encode_tensor,
    held_bytes,
    record_bytes,
    split_record,
)
from secateur.ir.coding.varint import Reader, varint
from secateur.ir.formats import Stored
from secateur.ir.records import UnitGroup

SECTION_BYTES = 1 << 20  # a section is closed once it holds as much; a small model is one section
DENSE_ITEM_BYTES = 4  # what to_dense makes of an element, but for int64
UNIT_BYTES = 1


@dataclass(frozen=True)
class Body:
    """All numbers of an artifact, encoded: the records of unit groups, then those of tensors."""

    units: tuple[bytes, ...]
    tensors: Mapping[str, Streams]

    def sections(self) -> list[bytes]:
        """Records, each behind its length, gathered until a section is full."""
        found, current = [], bytearray()
        for record in (*self.units, *(streams.record() for streams in self.tensors.values())):
            current += varint(len(record)) + record
            if len(current) >= SECTION_BYTES:
                found.append(bytes(current))
                current.clear()
        return [*found, bytes(current)] if current else found


@dataclass(frozen=True)
class Decoded:
    """A body as it was read, and what each part took in the file."""

    units: tuple[UnitGroup, ...]
    tensors: dict[str, Stored]
    sizes: dict[str, TensorBytes]
    units_bytes: int


def encode_body(units: tuple[UnitGroup, ...], tensors: Mapping[str, Stored]) -> Body:
    """Encode everything; this is where the time of saving goes."""
    groups = tuple(
        varint(group.size) + encode_positions(np.flatnonzero(group.kept).astype(np.int64), (group.size,))
        for group in units
    )
    return Body(groups, {name: encode_tensor(tensor) for name, tensor in tensors.items()})


def decode_body(
    sections: Iterator[bytes], groups: int, shapes: Mapping[str, tuple[int, ...]], max_bytes: int
) -> Decoded:
    """Unit groups and tensors. ArtifactError where the records do not fit what the header announced, or where the
    tensors and unit masks would take more than `max_bytes`, each tensor dense or as it is held, whichever is more."""
    needed = sum(DENSE_ITEM_BYTES * prod(shape) for shape in shapes.values())
    records, units, units_bytes = _records(sections), [], 0
    for _ in range(groups):
        record = _next(records)
        units_bytes += record_bytes(record)
        reader = Reader(record)
        size, positions = reader.varint(), reader.rest()
        needed += UNIT_BYTES * size
        check_size(max(needed, POSITION_BYTES * announced_nonzeros(positions)), max_bytes)
        kept = np.zeros(size, dtype=np.bool_)
        kept[decode_positions(positions, (size,))] = True
        units.append(UnitGroup(size, kept))
    check_size(needed, max_bytes)
    tensors, sizes = {}, {}
    for name, shape in shapes.items():
        streams = split_record(_next(records))
        needed += max(0, held_bytes(streams, shape) - DENSE_ITEM_BYTES * prod(shape))
        check_size(needed, max_bytes)
        tensors[name] = decode_tensor(streams, shape)
        sizes[name] = streams.sizes()
        del streams  # or its section would stay in memory while the next is read
    if next(records, None) is not None:
        raise ArtifactError("damaged artifact: it holds more tensors than its header names")
    return Decoded(tuple(units), tensors, sizes, units_bytes)


def check_size(needed: int, max_bytes: int) -> None:
    """ArtifactError where the announced tensors are larger than the caller allows."""
    if needed > max_bytes:
        raise ArtifactError(
            f"this artifact announces {needed} bytes of tensors, {max_bytes} are allowed: "
            "if you trust where it comes from, load it with a larger max_bytes"
        )


def _next(records: Iterator[memoryview]) -> memoryview:
    if (record := next(records, None)) is None:
        raise ArtifactError("damaged artifact: it holds fewer tensors than its header names")
    return record


def _records(sections: Iterator[bytes]) -> Iterator[memoryview]:
    for section in sections:
        reader = Reader(section)
        del section  # the reader's view keeps it for as long as its records are read
        while reader.left:
            yield reader.take(reader.varint())
