"""One JSON line a result: what was measured, on what machine, commit and versions, so that it can be repeated."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy
import torch

import secateur

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def record(name: str, **measured: Any) -> None:
    """Append a line to results/<name>.jsonl and print it. What was measured goes before what is so all around."""
    line = json.dumps({**measured, **circumstances(), **measured})
    print(line)
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("a") as file:
        file.write(line + "\n")


def circumstances() -> dict[str, Any]:
    """Machine, load, versions, commit and command."""
    return {
        "machine": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__},
        "commit": _commit(),
        "command": _command(sys.argv),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


@functools.cache
def code() -> str:
    """Names the sources that run here, the library's and the benchmarks': the same only where no byte differs."""
    library = Path(secateur.__file__).parent
    digest = hashlib.sha256()
    for path in [*sorted(library.rglob("*.py")), *sorted(HERE.glob("*.py"))]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _command(words: list[str]) -> str:
    """What to type to repeat it; a folder of this machine is DIR."""
    options = [re.sub(r"^(--[\w-]+=)?/.*", r"\1DIR", word) for word in words[1:]]
    return f"python benchmarks/{Path(words[0]).name} {shlex.join(options)}".strip()


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    """The commit, with a + where the library differs from it."""
    git = ["git", "-C", str(HERE)]
    commit = subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    changed = subprocess.run(
        [*git, "status", "--short", "--", "../src"], capture_output=True, text=True, check=True
    ).stdout
    return commit + ("+" if changed.strip() else "")
