"""What is known of this machine's caches and name, for the cost model and for the key of measurements."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from secateur.kernels.target import LLVM

USUAL_L2_BYTES = 1 << 20
SIZES = Path("/sys/devices/system/cpu/cpu0/cache")
MOST_CACHES = 8


@functools.cache
def l2_bytes() -> int:
    """Bytes of a core's second-level cache; a usual size where the system does not say."""
    for entry in (SIZES / f"index{number}" for number in range(MOST_CACHES)):  # a pattern would take ten times as long
        if not entry.is_dir():
            break
        level, size = ((entry / name).read_text().strip() for name in ("level", "size"))
        if level == "2" and size.endswith("K") and size[:-1].isdigit():
            return int(size[:-1]) << 10
    return USUAL_L2_BYTES


@functools.cache
def machine_name() -> str:
    """The processor as LLVM names it, its number of cores and its cache: measurements hold for one of these."""
    return f"{LLVM.get_host_cpu_name()} {os.cpu_count()} cores {l2_bytes()} bytes L2"
