"""The bytes of a `.secat` file: magic, version, announced lengths, header, sections, checksums. No code, no pickle.

magic, version          6 bytes and 1
varints                 header bytes once decompressed, header bytes, number of sections, bytes of each section
header                  zstd with the dictionary of usual header texts (header.dict)
CRC-32C                 of everything above, little-endian; so the lengths are trusted before anything is allocated
each section, CRC-32C
CRC-32C                 of everything above
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import google_crc32c
from zstandard import DICT_TYPE_FULLDICT, ZstdCompressionDict

from secateur.errors import ArtifactError
from secateur.ir.coding.squeeze import squeeze, unsqueeze
from secateur.ir.coding.varint import LIMIT_BITS, varint

MAGIC = b"\x93SECAT"
VERSION = 1
CHECKSUM_BYTES = 4
HEADER_LIMIT = 1 << 20  # bytes of JSON: about ten thousand tensors
PARTS_BYTES = 13 << 20  # what a header may become in memory, in a small file
PARTS_A_BYTE = 8  # and how much more for a byte of the file
LIST_BYTES, OBJECT_BYTES, ITEM_BYTES = 300, 400, 70  # roughly what a header's lists, objects and items become
HEADER_DICTIONARY = Path(__file__).with_name("header.dict")


@dataclass(frozen=True)
class Container:
    """An opened file: its header, how many bytes that takes in the file, and its sections, each checked when read."""

    header: bytes
    frame_bytes: int
    sections: Iterator[bytes]


def build(header: bytes, sections: Sequence[bytes]) -> bytes:
    """The whole file."""
    if len(header) > HEADER_LIMIT:
        raise ArtifactError(
            f"the header would take {len(header)} bytes, {HEADER_LIMIT} are allowed: shorten the names or the meta"
        )
    frame = squeeze(header, _dictionary())
    out = bytearray(_prefix(header, frame, sections) + frame)
    out += _checksum(bytes(out))
    for section in sections:
        out += section + _checksum(section)
    if (excess := _excess_parts(header, len(out) + CHECKSUM_BYTES)) > 0:
        raise ArtifactError(f"the header has too many parts, by {excess} bytes in memory: shorten the meta")
    return bytes(out + _checksum(bytes(out)))


def framing_bytes(header: bytes, sections: Sequence[bytes]) -> tuple[int, int]:
    """Bytes of the compressed header, and of magic, version, lengths and checksums, in a file of these."""
    frame = squeeze(header, _dictionary())
    return len(frame), len(_prefix(header, frame, sections)) + CHECKSUM_BYTES * (len(sections) + 2)


def least_bytes() -> int:
    """No file has fewer: magic, version, three lengths, two checksums, and the frame of a header without text."""
    return sum(framing_bytes(b"", []))


def _prefix(header: bytes, frame: bytes, sections: Sequence[bytes]) -> bytes:
    lengths = [len(header), len(frame), len(sections), *map(len, sections)]
    return MAGIC + bytes([VERSION]) + b"".join(map(varint, lengths))


def open_container(file: BinaryIO, size: int) -> Container:
    """Read the header of a file of `size` bytes. ArtifactError for what is no artifact, newer, damaged or cut off."""
    source = _Source(file, size)
    if source.read(len(MAGIC)) != MAGIC:
        raise ArtifactError("this is no secateur artifact: it does not begin as a .secat file does")
    if (version := source.read(1)[0]) > VERSION:
        raise ArtifactError(f"this artifact has version {version}, this secateur reads up to {VERSION}: update it")
    if version != VERSION:
        raise ArtifactError(f"damaged artifact: there is no version {version}")
    raw, packed, count = (source.varint() for _ in range(3))
    if raw > HEADER_LIMIT:
        raise ArtifactError(f"damaged artifact: a header of {raw} bytes is announced, {HEADER_LIMIT} are allowed")
    if packed + count * (CHECKSUM_BYTES + 1) > source.left:
        raise ArtifactError(f"damaged artifact: more is announced than the file's {size} bytes")
    lengths = [source.varint() for _ in range(count)]
    if packed + sum(lengths) + CHECKSUM_BYTES * (count + 2) != source.left:
        raise ArtifactError(f"damaged artifact: cut off, or the announced lengths do not fit the file's {size} bytes")
    frame = source.read(packed)
    source.check(source.crc, "header")
    header = unsqueeze(frame, raw, _dictionary())
    if _excess_parts(header, size) > 0:
        raise ArtifactError(f"damaged artifact: its header has more parts than a file of {size} bytes needs")
    return Container(header, packed, _sections(source, lengths))


def _sections(source: _Source, lengths: list[int]) -> Iterator[bytes]:
    for index, length in enumerate(lengths):
        section = source.read(length)
        source.check(google_crc32c.value(section), f"section {index}")
        yield section
        del section  # or it would stay in memory while the next is read
    source.check(source.crc, "file")


class _Source:
    """A file read front to back: never past its size, with the checksum of all that was read."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.left = size
        self.crc = 0

    def read(self, count: int) -> bytes:
        data = self.file.read(count) if count <= self.left else b""
        if len(data) != count:
            raise ArtifactError(f"damaged artifact: it ends where {count} more bytes are announced")
        self.left -= count
        self.crc = google_crc32c.extend(self.crc, data)
        return data

    def varint(self) -> int:
        value = shift = 0
        while (byte := self.read(1)[0]) > 0x7F:
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift >= LIMIT_BITS:
                raise ArtifactError("damaged artifact: an announced number is longer than 63 bits")
        if byte == 0 and shift:
            raise ArtifactError("damaged artifact: an announced number is not in its shortest form")
        return value | byte << shift

    def check(self, crc: int, what: str) -> None:
        if self.read(CHECKSUM_BYTES) != crc.to_bytes(CHECKSUM_BYTES, "little"):
            raise ArtifactError(f"damaged artifact: the checksum of its {what} does not match")


def _excess_parts(header: bytes, file_bytes: int) -> int:
    """Bytes by which a header would become too large in memory: 2 kB of zstd can hold a hundred thousand nodes.

    Counted before JSON is read, brackets and commas within text too.
    """
    lists, objects, items = (header.count(mark) for mark in (b"[", b"{", b","))
    needed = LIST_BYTES * lists + OBJECT_BYTES * objects + ITEM_BYTES * items
    return needed - PARTS_BYTES - PARTS_A_BYTE * file_bytes


def _checksum(data: bytes) -> bytes:
    return google_crc32c.value(data).to_bytes(CHECKSUM_BYTES, "little")


@cache
def _dictionary() -> ZstdCompressionDict:
    return ZstdCompressionDict(HEADER_DICTIONARY.read_bytes(), dict_type=DICT_TYPE_FULLDICT)
