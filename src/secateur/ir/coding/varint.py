"""Unsigned integers in 7-bit groups, lowest first (LEB128), and a reader that never passes the end of its bytes."""

from __future__ import annotations

from typing import TypeAlias

from secateur.errors import ArtifactError

Bytes: TypeAlias = bytes | memoryview

LIMIT_BITS = 63


def varint(value: int) -> bytes:
    """`value` >= 0 in as few bytes as its 7-bit groups take."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Reader:
    """Takes announced pieces off a byte string, as views; ArtifactError where fewer bytes are left than announced."""

    __slots__ = ("_data", "_place")

    def __init__(self, data: Bytes) -> None:
        self._data = memoryview(data)
        self._place = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._place

    def take(self, count: int) -> memoryview:
        """The next `count` bytes."""
        if not 0 <= count <= self.left:
            raise ArtifactError(f"damaged artifact: {count} bytes are announced where {self.left} are left")
        self._place += count
        return self._data[self._place - count : self._place]

    def rest(self) -> memoryview:
        """All that is left."""
        return self.take(self.left)

    def end(self) -> None:
        """Raise ArtifactError unless everything was taken."""
        if self.left:
            raise ArtifactError(f"damaged artifact: {self.left} bytes follow where none belong")

    def varint(self) -> int:
        """The next integer, below 2**63 and in its shortest form."""
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift >= LIMIT_BITS:
                raise ArtifactError("damaged artifact: an announced number is longer than 63 bits")
        if byte == 0 and shift > 7:
            raise ArtifactError("damaged artifact: an announced number is not in its shortest form")
        return value
