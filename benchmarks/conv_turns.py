"""Processes that take turns: while one runs, the others are stopped, so that no idle threads spin on a core."""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from conv_peers import ENGINES

WORKER = Path(__file__).with_name("conv_worker.py")
Times = dict[str, list[float]]


def environment(threads: int, cache: str, *, bound: bool) -> dict[str, str]:
    """Of an engine's process. Freed memory stays in it, so that no library pays for new pages at every call."""
    return {
        **os.environ,
        **({"OMP_PROC_BIND": "true"} if bound else {}),
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
        "XDG_CACHE_HOME": cache,
        "TORCHINDUCTOR_CACHE_DIR": cache,
    }


class Turns:
    """An engine's process; stopped but while it answers."""

    def __init__(self, command: list[str], log: Path, settings: Mapping[str, str] | None = None) -> None:
        self._log = log
        pipe = subprocess.PIPE
        with log.open("a") as errors:
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=errors, text=True, env=settings and dict(settings)
            )

    def ask(self, **question: Any) -> Any:
        """The answer to a question; SystemExit with the last of what the process printed where it died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        os.kill(self._process.pid, signal.SIGCONT)
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            last = "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
            raise SystemExit(f"{self._process.args} ended by {self._process.returncode} at {question}:\n{last}")
        os.kill(self._process.pid, signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)  # back when all its threads stand still
        return json.loads(line)

    def __enter__(self) -> Turns:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()


def start(engine: str, threads: int, cores: Iterable[int], folder: Path) -> Turns:
    """An engine of conv_peers on these cores."""
    bound = ENGINES[engine].binding == "OpenMP"
    where = ",".join(str(core) for core in cores)
    command = [sys.executable, str(WORKER), engine, str(threads), where]
    return Turns(command, folder / f"{engine}.log", environment(threads, str(folder / "cache"), bound=bound))


def rounds(
    owners: Mapping[str, Turns], *, seconds: float, turn: float, least: int, most: int, ask: str = "run"
) -> tuple[Times, Times]:
    """Seconds of a call, a round and competitor, by the clock (medians) and of processor time (means): all take a turn
    a round, in random order, for about `seconds` in all. ask: the question that workers know a turn by."""
    found: Times = {name: [] for name in owners}
    processor: Times = {name: [] for name in owners}
    order, spent, number = list(owners), 0.0, 0
    while number < least or (spent < seconds and number < most):
        random.shuffle(order)
        for name in order:
            times, work = owners[name].ask(**{ask: name}, seconds=turn)
            found[name].append(statistics.median(times))
            processor[name].append(work)
            spent += sum(times)
        number += 1
    return found, processor


def quartiles(values: list[float]) -> list[float]:
    """First, median, third."""
    return statistics.quantiles(values, method="inclusive") if len(values) > 1 else values * 3


def ratios(times: Times, ours: Iterable[str], peers: Iterable[str]) -> dict[str, dict[str, list[float]]]:
    """For each of ours and each peer: quartiles, over rounds, of the peer's time over ours; above 1 we are faster."""
    return {
        mine: {
            peer: [round(q, 3) for q in quartiles([p / o for o, p in zip(times[mine], times[peer], strict=True)])]
            for peer in peers
        }
        for mine in ours
    }
