"""The processors that code is generated for: one row a vector extension, and which of them this machine has."""

from __future__ import annotations

import functools
import platform
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm

from secateur.errors import KernelError

LLVM: Any = llvm
"""llvmlite ships no types."""


@dataclass(frozen=True)
class Target:
    """A vector extension as the emitters see it.

    lanes      float32 numbers in a vector
    rows       rows of the register tile of a matrix product (pixels or tiles of an image)
    columns    vectors a row of that tile has (output channels); rows x columns accumulators + columns + 1 registers
    machine    as platform.machine() spells it, for which LLVM makes code
    cpu, features   in LLVM's terms: exactly what may be used, whatever the machine has beyond
    register   a vector register's letter in inline assembly
    """

    name: str
    lanes: int
    rows: int
    columns: int
    machine: tuple[str, ...]
    cpu: str
    features: str
    register: str

    @property
    def vector_bytes(self) -> int:
        """Bytes of a vector."""
        return 4 * self.lanes

    @property
    def panel(self) -> int:
        """Output channels of a full register tile."""
        return self.lanes * self.columns

    @property
    def native(self) -> bool:
        """Whether this machine can be of that kind at all."""
        return platform.machine() in self.machine

    @property
    def triple(self) -> str:
        """LLVM's name of processor family and system: this machine's, or Linux where code is only looked at."""
        return llvm_default_triple() if self.native else f"{self.machine[0]}-unknown-linux-gnu"


X86, ARM = ("x86_64", "AMD64"), ("aarch64", "arm64")
TARGETS = {
    "avx512": Target("avx512", 16, 14, 2, X86, "x86-64-v4", "-prefer-256-bit", "v"),
    "avx2": Target("avx2", 8, 6, 2, X86, "x86-64-v3", "", "x"),
    "neon": Target("neon", 4, 8, 3, ARM, "generic", "+neon", "w"),
}
NEEDED = {
    "avx512": ("avx512f", "avx512bw", "avx512dq", "avx512vl", "fma", "bmi2"),
    "avx2": ("avx2", "fma", "f16c", "bmi2", "movbe"),
    "neon": (),
}
"""What LLVM must see on the machine before the code of a row may run."""


def llvm_default_triple() -> str:
    """This machine in LLVM's terms."""
    return LLVM.get_default_triple()


@functools.cache
def supported() -> tuple[str, ...]:
    """Names of the targets whose code runs on this machine, fastest first."""
    LLVM.initialize_native_target()
    LLVM.initialize_native_asmprinter()
    features = LLVM.get_host_cpu_features()
    return tuple(
        name
        for name, target in TARGETS.items()
        if target.native and all(features.get(feature, False) for feature in NEEDED[name])
    )


def host_target(name: str | None = None) -> Target:
    """The fastest target of this machine, or the one of that name where the machine has it; else KernelError."""
    found = supported()
    if name is None and found:
        return TARGETS[found[0]]
    if name in found:
        return TARGETS[name]
    wanted = f"target {name!r}" if name else "any target"
    raise KernelError(
        f"this machine ({platform.machine()}) does not run code for {wanted}; it runs {', '.join(found) or 'none'} of "
        f"{', '.join(TARGETS)}: leave the layer to PyTorch"
    )
