"""One hostile file in a process of its own: what became of it, how long it took, how much memory it touched.

A trial is forked from a process that has imported what it needs. Peak memory is the growth of the resident set
(getrusage's ru_maxrss) from before the load, so it counts what numpy and zstd take as well as Python's objects. Address
space and time are limited: a file that wants more ends its process, not the machine.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path

import numpy as np

from secateur.errors import ArtifactError, SecateurError
from secateur.ir.artifact import Artifact
from secateur.ir.bit_count import count_bits
from secateur.ir.count import count
from secateur.ir.describe import describe
from secateur.ir.execute import integer_layers, interpret
from secateur.ir.graph import Graph
from secateur.ir.header import types_of
from secateur.ir.verify import verify

SPARE_BYTES = 16 * 2**20  # what a hostile file may take beyond twice what the honest one takes
SPACE_BYTES = 2 * 2**30  # of address space beyond what the process has already
LIMIT_S = 20
RUN_BYTES, RUN_SECONDS = 32 * 2**20, 1.0
KIB = 1024


@dataclass(frozen=True)
class Outcome:
    """What became of a file.

    verdict      refused (ArtifactError); loaded and refused to run (another SecateurError, or it has no graph); ran
    load_bytes   peak growth while loading; more_bytes: beyond that, while using what was loaded
    load_seconds, seconds: for the load, and for all of it, which is mostly saving again
    fault        "" or what must not happen: another exception, a signal, the time limit
    """

    verdict: str = ""
    load_bytes: int = 0
    more_bytes: int = 0
    load_seconds: float = 0.0
    seconds: float = 0.0
    fault: str = ""


def examine(data: bytes, max_bytes: int, loaded: Callable[[], None] = lambda: None) -> str:
    """Load a file and use it for everything that a reader would. The verdict; only faults are raised."""
    try:
        artifact = Artifact.from_bytes(data, max_bytes=max_bytes)
    except ArtifactError as error:
        if isinstance(error.__cause__, MemoryError):
            raise AssertionError("the reader ran out of memory before it refused") from error
        return "refused"
    finally:
        loaded()
    describe(artifact)
    if artifact.graph is None:
        _check_round_trip(artifact)
        return "loaded, has no graph"
    verify(artifact.graph, {n: k for n, k in types_of(artifact.tensors).items() if n in artifact.graph.constants})
    integer_layers(artifact)
    try:
        for batch, arithmetic in ((2, None), (0, None), (2, "float")):
            inputs = _inputs(artifact.graph, batch)
            interpret(artifact, *inputs, arithmetic=arithmetic, max_bytes=RUN_BYTES, max_seconds=RUN_SECONDS)
    except SecateurError:
        return "loaded, refused to run"
    finally:
        _check_round_trip(artifact)
    count_bits(artifact.graph, artifact.tensors, count(artifact.graph, artifact.constants))
    return "ran"


def _inputs(graph: Graph, batch: int) -> list[np.ndarray]:
    """Arrays of any announced size that take no memory: one number, repeated."""
    kinds = [graph.types[name] for name in graph.inputs]
    return [np.broadcast_to(np.ones((), kind.dtype), kind.bind(batch)) for kind in kinds]


def _check_round_trip(artifact: Artifact) -> None:
    """What was loaded can be saved, and is the same when it is loaded again."""
    again = Artifact.from_bytes(artifact.to_bytes())
    assert again == artifact, "an artifact that was loaded, saved and loaded again differs"


def dense_bytes(data: bytes) -> int:
    """Bytes of a file's tensors once they are dense."""
    return sum(4 * prod(tensor.shape) for tensor in Artifact.from_bytes(data).tensors.values())


def trial(work: Callable[[Callable[[], None]], str]) -> Outcome:
    """Run `work` in a forked process; it calls what it is given once the load is over."""
    gc.collect()
    gc.freeze()
    ctypes.CDLL(None).malloc_trim(0)
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads: the child never waits for one
        child = os.fork()
    if not child:
        os.close(reader)
        _in_child(work, writer)
    gc.unfreeze()
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    status = os.waitpid(child, 0)[1]
    if text:
        return Outcome(**json.loads(text))
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    what = f"took longer than {LIMIT_S} s" if number == signal.SIGALRM else f"ended with status {status}"
    return Outcome(fault=what, seconds=LIMIT_S)


def _in_child(work: Callable[[Callable[[], None]], str], writer: int) -> None:
    """Never returns."""
    space = resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[0]) + SPACE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    signal.alarm(LIMIT_S)
    before, start = _peak(), time.perf_counter()
    marks = list[tuple[int, float]]()

    def mark() -> None:
        marks.append((_peak(), time.perf_counter() - start))

    verdict = fault = ""
    try:
        verdict = work(mark)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is what this process is here to find
        fault = f"{type(error).__name__}: {error}"[:300]
        if os.environ.get("FUZZ_TRACE"):
            sys.excepthook(type(error), error, error.__traceback__)
    mark()
    (loaded, load_seconds), (peak, seconds) = marks[0], marks[-1]
    outcome = Outcome(verdict, loaded - before, peak - loaded, load_seconds, seconds, fault)
    os.write(writer, json.dumps(asdict(outcome)).encode())
    os._exit(0)


def _peak() -> int:
    return KIB * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
