"""What generated code is told: named 64-bit numbers in a row, written by Python and read by the code."""

from __future__ import annotations

import ctypes
import struct

from secateur.kernels.code import FLOAT, I64, PTR, Function, Value


class Record:
    """A closed list of names; each takes 8 bytes: an integer, an address, or a float in the first four."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.array = ctypes.c_int64 * len(names)

    @property
    def size_bytes(self) -> int:
        """Bytes in memory."""
        return 8 * len(self.names)

    def pack(self, **values: int) -> ctypes.Array[ctypes.c_int64]:
        """The numbers in memory, in order; every name must be given."""
        if values.keys() != set(self.names):
            raise TypeError(f"not given or not known: {sorted(values.keys() ^ set(self.names))}")
        return self.array(*(values[name] for name in self.names))

    def place(self, address: Value, name: str) -> Value:
        """Where in memory a number is; emits an addition."""
        return address + 8 * self.names.index(name)

    def read(self, f: Function, address: Value) -> dict[str, Value]:
        """All numbers as i64. What is not used costs nothing: LLVM drops it."""
        return {name: f.load(I64, self.place(address, name)) for name in self.names}

    def read_pointer(self, f: Function, address: Value, name: str) -> Value:
        """A number that is an address."""
        return f.load(PTR, self.place(address, name))

    def read_float(self, f: Function, address: Value, name: str) -> Value:
        """A number that is a float, as `float_bits` writes it."""
        return f.load(FLOAT, self.place(address, name))

    def write(self, f: Function, address: Value, **values: Value | int) -> None:
        """Emit stores of some of the numbers."""
        for name, value in values.items():
            f.store(value if isinstance(value, Value) else f.constant(value), self.place(address, name))


def float_bits(number: float) -> int:
    """A float32 as the integer whose first four bytes it is (all targets are little-endian)."""
    return struct.unpack("<i", struct.pack("<f", number))[0]
