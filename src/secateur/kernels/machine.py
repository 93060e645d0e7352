"""What is known of this machine's caches and name, for the cost model and for the key of measurements."""

from __future__ import annotations

import functools
import os

from secateur.ir.storage import read_plainly
from secateur.kernels.target import LLVM

USUAL_BYTES = {2: 1 << 20, 3: 32 << 20}
"""Level -> a cache's size where the system does not say."""
SIZES = "/sys/devices/system/cpu/cpu0/cache"
MOST_CACHES = 8
UNITS = {"K": 10, "M": 20}


@functools.cache
def _caches() -> dict[int, int]:
    """Level -> bytes of the first core's unified caches; usual sizes where the system does not say."""
    found = dict(USUAL_BYTES)
    for number in range(MOST_CACHES):  # a pattern would take ten times as long
        try:
            level, size = (read_plainly(f"{SIZES}/index{number}/{name}").decode().strip() for name in ("level", "size"))
        except OSError:
            break
        if level in "23" and size[-1:] in UNITS and size[:-1].isdigit():
            found[int(level)] = int(size[:-1]) << UNITS[size[-1]]
    return found


def l2_bytes() -> int:
    """Bytes of a core's second-level cache."""
    return _caches()[2]


def l3_bytes() -> int:
    """Bytes of the last cache, which cores share."""
    return _caches()[3]


@functools.cache
def cpu_name() -> str:
    """The processor as LLVM names it."""
    return LLVM.get_host_cpu_name()


@functools.cache
def machine_name() -> str:
    """The processor, its number of cores and its cache: measurements hold for one of these."""
    return f"{cpu_name()} {os.cpu_count()} cores {l2_bytes()} bytes L2"
