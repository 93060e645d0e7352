"""One engine of bench_linear.py in a process of its own: a line of JSON in, a line of JSON out, nothing in between."""

from __future__ import annotations

import sys
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from conv_peers import Form
from conv_worker import burst, serve
from linear_peers import ENGINES, LinearJob
from secateur.kernels.memory import aligned

COLD_BYTES = 192 << 20
"""Read before every cold call: several times what the caches of a core hold."""
COLD_CALLS = 2
"""A turn."""


class LinearWorker:
    """What is prepared, and how it answers."""

    def __init__(self, engine: str, threads: int) -> None:
        self.engine, self.threads = ENGINES[engine], threads
        self.forms: dict[str, Form] = {}
        self.job: LinearJob | None = None
        self.other = np.ones(0, np.float32)

    def answer(self, asked: dict[str, Any]) -> Any:
        """`prepare` the layer in a folder (gives errors), `run` a competitor, warm or `cold`, or the `versions`."""
        if "prepare" in asked:
            return self._prepare(Path(asked["prepare"]))
        if "cold" in asked:
            return self._cold(self.forms[asked["cold"]])
        if "run" in asked:
            return burst(self.forms[asked["run"]], asked["seconds"])
        return self.engine.versions()

    def _cold(self, form: Form) -> tuple[list[float], float]:
        """As `burst`, but nothing of the layer lies in a cache when a call begins."""
        if not self.other.size:
            self.other = np.ones(COLD_BYTES // 4, np.float32)
        times = []
        for _ in range(COLD_CALLS):
            self.other.max()
            before = process_time()
            form.run()
            times.append(process_time() - before)
        return times, sum(times) / len(times)

    def _prepare(self, folder: Path) -> dict[str, float]:
        with np.load(folder / "arrays.npz") as kept:
            x = aligned(kept["x"].shape)
            x[:] = kept["x"]
            job = LinearJob(x, kept["dense"], kept["sparse"], self.threads, folder)
            wanted = {name: kept[f"wanted_{name}"] for name in ("dense", "sparse")}
        self.job = job  # libraries that share its memory do not hold it
        self.forms = {form.competitor: form for form in self.engine.forms(job)}
        return {
            name: _error(form, wanted["sparse" if "4:16" in name else "dense"]) for name, form in self.forms.items()
        }


def _error(form: Form, wanted: np.ndarray) -> float:
    """max|y - y64| / max|y64|"""
    form.run()
    return float(np.abs(form.result() - wanted).max() / np.abs(wanted).max())


if __name__ == "__main__":
    serve(LinearWorker, *sys.argv[1:])
