"""One engine of bench_conv.py or bench_sparse_conv.py in a process of its own: a line of JSON in, a line of JSON out,
nothing in between.

The process is stopped by a signal while others have their turn, so its threads may spin as its library likes.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Protocol

import numpy as np

from conv_layers import LAYERS, PRUNED_LAYERS
from conv_peers import ENGINES, Form, Job, quietly
from secateur.kernels.memory import aligned

TRIAL_SECONDS = 0.1
"""Of measurement for each way of a competitor; the fastest competes."""
MOST_CALLS = 50
SET_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


class Answering(Protocol):
    """What a worker is asked: one JSON object in, what becomes one JSON value out."""

    def answer(self, asked: dict[str, Any]) -> Any:
        """A question's answer."""
        ...


def burst(form: Form, seconds: float) -> tuple[list[float], float]:
    """Seconds of single calls, at least two, for about so long, and processor seconds a call of all threads together;
    the calls of the first fifth do not count."""
    times: list[float] = []
    start = perf_counter()
    form.run()
    while perf_counter() - start < seconds / 5:
        form.run()
    processor = process_time()
    start = before = perf_counter()
    while len(times) < 2 or (before - start < seconds and len(times) < MOST_CALLS):
        form.run()
        after = perf_counter()
        times.append(after - before)
        before = after
    return times, (process_time() - processor) / len(times)


def error_of(form: Form, wanted: np.ndarray) -> float:
    """max|y - y64| / max|y64|, image by image to save memory."""
    form.run()
    pairs = zip(form.result(), wanted, strict=True)
    worst = max(float(np.abs(y - y64).max()) for y, y64 in pairs)
    return worst / max(float(np.abs(y64).max()) for y64 in wanted)


class Worker:
    """What is prepared, and how it answers."""

    def __init__(self, engine: str, threads: int) -> None:
        self.engine, self.threads = ENGINES[engine], threads
        self.cores = sorted(os.sched_getaffinity(0))
        self.forms: dict[str, Form] = {}

    def answer(self, asked: dict[str, Any]) -> Any:
        """`prepare` a layer, `run` a competitor, or the `versions`."""
        if "prepare" in asked:
            return self._prepare(asked["prepare"], Path(asked["folder"]))
        if "run" in asked:
            return burst(self.forms[asked["run"]], asked["seconds"])
        return self.engine.versions()

    def _prepare(self, name: str, folder: Path) -> dict[str, dict[str, Any]]:
        """Every competitor's fastest way and its error."""
        self.forms.clear()
        with np.load(folder / "arrays.npz") as kept:
            x = aligned(kept["x"].shape)
            x[:] = kept["x"]
            job = Job((LAYERS | PRUNED_LAYERS)[name], self.threads, x, kept["weight"], kept["bias"], folder)
        found: dict[str, dict[str, Any]] = {}
        for form in self.engine.forms(job):
            form.run()
            self._bind()
            fastest = min(burst(form, TRIAL_SECONDS)[0])
            if form.competitor not in found or fastest < found[form.competitor]["seconds"]:
                self.forms[form.competitor] = form
                found[form.competitor] = {"form": form.variant, "seconds": fastest}
        self._bind()  # some threads start late
        for competitor, form in self.forms.items():
            found[competitor]["error"] = error_of(form, np.load(folder / form.wanted, mmap_mode="r"))
        return found

    def _bind(self) -> None:
        """This thread to the first core, all others to the rest, where nobody else does so."""
        if self.engine.binding == "worker" and self.threads > 1:
            others = sorted({int(name) for name in os.listdir("/proc/self/task")} - {os.getpid()})
            for number, thread in enumerate([os.getpid(), *others]):
                place = 0 if number == 0 else 1 + (number - 1) % (self.threads - 1)
                os.sched_setaffinity(thread, {self.cores[place]})


def serve(make: Callable[[str, int], Answering], engine: str, threads: str, cores: str) -> None:
    """Be the worker that `make` gives for an engine, on these cores, until the questions end."""
    ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asks the questions ends this process
    os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    worker = make(engine, int(threads))
    with os.fdopen(quietly(), "w") as answers:
        for line in sys.stdin:
            answers.write(json.dumps(worker.answer(json.loads(line))) + "\n")
            answers.flush()


if __name__ == "__main__":
    serve(Worker, *sys.argv[1:])
