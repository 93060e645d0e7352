"""An artifact's file taken apart for editing, and put together again with every checksum right. The container's own
code computes lengths and checksums, so that a mutated file gets past them and reaches what lies behind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from itertools import pairwise
from typing import Any

from secateur.ir import container
from secateur.ir.coding.squeeze import squeeze
from secateur.ir.coding.varint import Reader, varint


@dataclass(frozen=True)
class Honest:
    """A file as the library writes it; `text` is its header, `body` all sections joined."""

    name: str
    data: bytes

    @cached_property
    def _opened(self) -> tuple[bytes, bytes]:
        found = container.open_container(BytesIO(self.data), len(self.data))
        return found.header, b"".join(found.sections)

    @property
    def text(self) -> bytes:
        return self._opened[0]

    @property
    def body(self) -> bytes:
        return self._opened[1]

    def header(self) -> dict[str, Any]:
        """The header, anew each time: it may be edited."""
        return json.loads(self.text)

    def records(self) -> list[bytes]:
        """Records of unit groups and tensors, in order."""
        reader, found = Reader(self.body), []
        while reader.left:
            found.append(bytes(reader.take(reader.varint())))
        return found


def sealed(text: bytes, body: bytes, cuts: Sequence[int] = ()) -> bytes:
    """A file with this header and this body, in sections that end at `cuts`; checksums and lengths are right."""
    edges = [0, *sorted(cuts), len(body)]
    sections = [body[first:last] for first, last in pairwise(edges)]
    if len(text) <= container.HEADER_LIMIT and container._excess_parts(text, 0) <= 0:
        return container.build(text, sections if body else [])
    frame = squeeze(text, container._dictionary())
    return resealed([len(text), len(frame), len(sections), *map(len, sections)], frame, sections)


def resealed(
    lengths: Sequence[int], frame: bytes, sections: Sequence[bytes], version: int = container.VERSION
) -> bytes:
    """A file that announces `lengths`, true or not; only the checksums are right."""
    out = container.MAGIC + bytes([version]) + b"".join(map(varint, lengths)) + frame
    out += container._checksum(out)
    for section in sections:
        out += section + container._checksum(section)
    return out + container._checksum(out)


def joined(records: Sequence[bytes]) -> bytes:
    """Records as a body."""
    return b"".join(varint(len(record)) + record for record in records)


def as_text(header: Any) -> bytes:
    """JSON, though not strict: NaN and infinities are written as Python does."""
    return json.dumps(header, separators=(",", ":")).encode()


def zeros_frame(size: int, window_log: int = 17) -> bytes:
    """A zstd frame (RFC 8878, 3.1.1) of `size` zeros in blocks that repeat one byte: four bytes for 128 KiB."""
    out = bytes([0, (window_log - 10) << 3])
    while True:
        block = min(size, 1 << 17)
        size -= block
        out += ((size == 0) | 1 << 1 | block << 3).to_bytes(3, "little") + b"\0"
        if not size:
            return out
