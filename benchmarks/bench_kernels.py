"""How close generated kernels come to what the machine can do: FMA peak, register tile, stages of a fast convolution.

python benchmarks/bench_kernels.py [--target avx2]

The peak is a loop of independent FMAs that touches no memory, emitted by the same generator. Peak and candidate take
turns in random order, one pinned thread, bursts of about half a millisecond; a share is the ratio of the times at the
same quantile, so that a busy machine slows both alike. Every layer is compared with the float64 sum first. Also
measured: how long the first call of a layer takes with nothing cached, and with everything cached.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from record import record
from secateur.kernels.algorithms import Tiling
from secateur.kernels.build import CodeUnit, built
from secateur.kernels.code import FLOAT, I64, PTR, Module, vector
from secateur.kernels.conv import Conv2dKernel, ConvOptions
from secateur.kernels.fast import tiles_of
from secateur.kernels.layout import LAYER, STAGES
from secateur.kernels.memory import aligned
from secateur.kernels.register_tile import Tile, emit_block_tile
from secateur.kernels.shape import ConvShape, convolve
from secateur.kernels.target import Target, host_target

BURST_FMAS = 3_000_000
"""Vector FMAs of a burst."""
QUANTILES = (0.01, 0.25, 0.5)
FRESH_PROCESSES = 21
"""In each the first kernel is loaded from the cache once."""
LAYERS = {
    "64@56": (56, 64),
    "128@28": (28, 128),
    "96@40": (40, 96),
    "256@14": (14, 256),
}
"""Name -> side of the map and channels, in and out; 3x3, padding 1, batch 1."""


@dataclass(frozen=True)
class Burst:
    """Work that is timed, the float32 operations it does, and what must stay alive."""

    run: Callable[[], None]
    operations: float
    keep: tuple[object, ...] = ()


def chains(target: Target) -> int:
    """Independent sums of the peak loop: all registers but two."""
    return target.rows * target.columns + target.columns


def peak_burst(target: Target) -> Burst:
    """FMAs on all registers."""

    def emit() -> str:
        module = Module()
        f = module.function("peak", {"n": I64, "x": PTR})
        kind = vector(target.lanes)
        factor, term = (f.splat(f.load(FLOAT, f["x"] + 4 * i), target.lanes) for i in (0, 1))
        sums = [f.variable(kind, f.splat(float(i), target.lanes)) for i in range(chains(target))]
        with f.loop(0, f["n"]):
            for total in sums:
                total.set(f.fma(total.get(), factor, term))
        for number, total in enumerate(sums):
            f.store(total.get(), f["x"] + number * target.vector_bytes)
        f.give()
        return module.text()

    library = built(CodeUnit("peak", ("peak",), "", emit), target)
    function = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)(library.addresses["peak"])
    width = chains(target)
    x = aligned(width * target.lanes)
    turns = BURST_FMAS // width

    def run() -> None:
        x[:2] = 0.5
        function(turns, x.ctypes.data)

    return Burst(run, 2.0 * turns * width * target.lanes, (library,))


def tile_burst(target: Target, channels: int) -> Burst:
    """The register tile on operands in the first-level cache, `channels` deep, with what a call takes."""
    tile = Tile(target, target.rows, target.columns, target.vector_bytes)
    given = {"a": PTR, "b": PTR, "c": PTR, "blocks": I64, "block_bytes": I64}

    def emit() -> str:
        module = Module()
        f = module.function("tile", given, inner=True)
        size = target.vector_bytes
        emit_block_tile(f, tile, lambda row, column, v: f.store(v, f["c"] + (column * tile.rows + row) * size))
        f.give()
        f = module.function("tiles", {"turns": I64, **given})
        with f.loop(0, f["turns"]):
            f.call("tile", [f[name] for name in given])
        f.give()
        return module.text()

    library = built(CodeUnit("tile", ("tiles",), repr(tile), emit), target)
    numbers, pointers = [ctypes.c_int64], [ctypes.c_void_p] * 3
    function = ctypes.CFUNCTYPE(None, *numbers, *pointers, *numbers * 2)(library.addresses["tiles"])
    blocks, lanes = channels // target.lanes, target.lanes
    a, b, c = map(aligned, ((blocks, target.rows, lanes), (channels, target.panel), (target.rows, target.panel)))
    a[:], b[:] = 1, 1
    turns = max(1, BURST_FMAS // (channels * target.rows * target.columns))
    arguments = (turns, a.ctypes.data, b.ctypes.data, c.ctypes.data, blocks, 4 * target.rows * lanes)
    operations = 2.0 * turns * channels * target.rows * target.panel
    return Burst(lambda: function(*arguments), operations, (library, a, b, c))


def layer_bursts(target: Target, name: str, outputs: int) -> dict[str, Burst]:
    """A layer by F(outputs, 3), whole and stage by stage; operations of the products only."""
    side, channels = LAYERS[name]
    shape = ConvShape(1, side, side, channels, channels, (3, 3), padding=(1, 1, 1, 1))
    algorithm = Tiling((outputs, outputs), (3, 3))
    draw = np.random.default_rng(0)
    x, y = aligned(shape.input_shape), aligned(shape.output_shape)
    x[:] = draw.standard_normal(x.shape)
    weight = (draw.standard_normal(shape.weight_shape) / np.sqrt(9 * channels)).astype(np.float32)
    kernel = Conv2dKernel(
        shape, weight, options=ConvOptions(algorithm=algorithm.name, target=target.name, accuracy="fast")
    )
    wanted = convolve(shape, x, weight)
    if not np.abs(kernel(x) - wanted).max() < 1e-4 * np.abs(wanted).max():
        raise SystemExit(f"{name} by {algorithm.name} is wrong")
    layer, place = kernel._runnable.layer, LAYER.names.index("stages")
    operations = 2.0 * algorithm.products * prod(tiles_of(shape, algorithm)) * channels * channels

    def part(stages: int) -> Burst:
        def run() -> None:
            layer[place] = stages
            kernel.run(x.ctypes.data, y.ctypes.data)

        return Burst(run, operations if stages & STAGES["products"] else 0.0, (kernel, x, y))

    return {"whole": part(sum(STAGES.values())), **{stage: part(bit) for stage, bit in STAGES.items()}}


def measure(bursts: dict[str, Burst], seconds: float) -> dict[str, list[float]]:
    """Seconds at the QUANTILES of every burst, taken in turns in random order."""
    times: dict[str, list[float]] = {name: [] for name in bursts}
    order, stop = list(bursts), time.perf_counter() + seconds
    for burst in bursts.values():
        burst.run()
    while time.perf_counter() < stop or len(times[order[0]]) < 20:
        random.shuffle(order)
        for name in order:
            start = time.perf_counter()
            bursts[name].run()
            times[name].append(time.perf_counter() - start)
    return {name: [float(q) for q in np.quantile(values, QUANTILES)] for name, values in times.items()}


def shares(found: dict[str, list[float]], bursts: dict[str, Burst]) -> dict[str, list[float]]:
    """Operations a second over those of the peak, at every quantile."""
    rates = {name: [bursts[name].operations / t for t in times] for name, times in found.items()}
    return {
        name: [round(rate / peak, 3) for rate, peak in zip(values, rates["peak"], strict=True)]
        for name, values in rates.items()
        if name != "peak" and bursts[name].operations
    }


def first_calls(target: Target) -> dict[str, Any]:
    """Seconds to make a kernel for a layer in a fresh cache folder, and again from the cache in fresh processes: the
    first one of a process, the first one with its first call, and a second one of the same layer.

    Modules are imported and the processor is asked what it can do before the clock starts; the clock covers hashing
    the source that code was made from, reading and checking files, linking, packing weights. Input and weights lie
    in memory that has been written to; the output and the workspace of a first call do not.
    """
    script = (
        "import time, numpy as np\n"
        "from secateur.kernels.conv import *\nfrom secateur.kernels.shape import ConvShape\n"
        "from secateur.kernels.target import host_target; host_target()\n"
        "shape = ConvShape(1, 56, 56, 64, 64, (3, 3), padding=(1,) * 4)\n"
        "w, x = np.ones(shape.weight_shape, np.float32), np.ones(shape.input_shape, np.float32)\n"
        "start = time.perf_counter()\n"
        f"kernel = Conv2dKernel(shape, w, options=ConvOptions(target={target.name!r}))\n"
        "made = time.perf_counter() - start; kernel(x); called = time.perf_counter() - start\n"
        "start = time.perf_counter()\n"
        f"Conv2dKernel(shape, w, options=ConvOptions(target={target.name!r}))\n"
        "print(made, called, time.perf_counter() - start)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        first = _run(script, folder)
        kept = np.quantile([_run(script, folder) for _ in range(FRESH_PROCESSES)], (0.25, 0.5, 0.75), axis=0)
    names = ("first_from_cache_ms", "first_with_its_call_from_cache_ms", "next_from_cache_ms")
    quartiles = {name: [round(1e3 * value, 2) for value in kept[:, place]] for place, name in enumerate(names)}
    return {"first_seconds": round(first[0], 3), "fresh_processes": FRESH_PROCESSES, **quartiles}


def _run(script: str, folder: str) -> list[float]:
    environment = {**os.environ, "XDG_CACHE_HOME": folder, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", help="avx512, avx2 or neon; the best of this machine by default")
    parser.add_argument("--seconds", type=float, default=3.0, help="of measurement a row")
    parser.add_argument("--outputs", type=int, default=4, help="m of F(m, 3)")
    options = parser.parse_args()
    target = host_target(options.target)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    common: dict[str, Any] = {"target": target.name, "quantiles": QUANTILES}
    tiles = {"peak": peak_burst(target), **{f"tile {c}": tile_burst(target, c) for c in (64, 128, 256)}}
    found = measure(tiles, options.seconds)
    gflops = [round(tiles["peak"].operations / t / 1e9, 1) for t in found["peak"]]
    record(
        "kernels", benchmark="kernels", what="register tile", peak_gflops=gflops, share=shares(found, tiles), **common
    )
    for name in LAYERS:
        bursts = {"peak": tiles["peak"], **layer_bursts(target, name, options.outputs)}
        found = measure(bursts, options.seconds)
        times = {stage: [round(1e6 * t, 1) for t in found[stage]] for stage in ("whole", *STAGES)}
        row = {"layer": name, "algorithm": f"F({options.outputs}x{options.outputs},3x3)", "microseconds": times}
        record("kernels", benchmark="kernels", what="stages", share=shares(found, bursts), **row, **common)
    record("kernels", benchmark="kernels", what="first call", **first_calls(target), target=target.name)


if __name__ == "__main__":
    main()
