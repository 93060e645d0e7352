"""What a measurement was made with: processor, system, versions. No name of the machine, its user or its folders."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

VERSIONS = ("secateur", "numpy", "torch")


def environment() -> dict[str, str]:
    """Facts by name, each a short text; a package that is not installed is left out."""
    facts = {
        "processor": f"{processor()}, {os.cpu_count()} logical cores",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    for package in VERSIONS:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return facts


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's own name where the system tells it, else its architecture."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
