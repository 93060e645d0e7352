"""Does a tiling that a class of accuracy admits keep to it? Errors of whole layers against what was measured before.

python benchmarks/bench_accuracy.py [--set 0] [--summary]

Layers are drawn by a generator of random numbers from the number of their set, so they were fixed before anything was
seen: set 0 is for choosing the margins of `kernels/accuracy.py`, set 1 for trying them; set 2 has the layers of
bench_conv.py. For every class the tilings
that cost least and whose bare sample allows them are taken: all that any margin above 1 could admit. Each is then
run on whole layers with weights and input drawn anew, SEEDS times, and compared with the direct sum in float64.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass
from itertools import product
from math import exp, log, prod, sqrt
from typing import Any

import numpy as np

from conv_layers import LAYERS
from record import RESULTS, circumstances, record
from secateur.kernels.accuracy import ACCURACY, SAMPLE_MARGIN, WHOLE_MARGIN, sample_error, whole_error
from secateur.kernels.algorithms import Tiling
from secateur.kernels.choice import ranked
from secateur.kernels.conv import Conv2dKernel, ConvOptions
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.memory import aligned
from secateur.kernels.runnable import Setting
from secateur.kernels.shape import ConvShape, convolve
from secateur.kernels.target import host_target

SETS, COUNT, SEEDS = 3, 30, 5
TILINGS = 4
"""Of a layer and class: one more than are measured when a layer is made."""
TAPS = [(3, 3)] * 10 + [(5, 5)] * 4 + [(7, 7)] * 3 + [(3, 1), (1, 3), (4, 4)]
SIDES, CHANNELS, MACS = (6, 100), (8, 512), (2e6, 4e8)
"""Least and most: sides of the map and channels are drawn evenly by their logarithms."""
MARGINS = [round(1 + 0.05 * step, 2) for step in range(41)]


def drawn_layers(number: int) -> list[ConvShape]:
    """The layers of a set."""
    if number == SETS - 1:
        return [layer.shape(1) for layer in LAYERS.values()]
    draw, found = np.random.default_rng([20261130, number]), []

    def size(least: int, most: int) -> int:
        return round(exp(draw.uniform(log(least), log(most))))

    while len(found) < COUNT:
        taps = TAPS[draw.integers(len(TAPS))]
        height, width = size(*SIDES), size(*SIDES)
        width = height if draw.random() < 0.5 else width
        channels = (size(*CHANNELS), size(*CHANNELS))
        batch = 4 if draw.random() < 0.2 else 1
        around = (taps[0] // 2, taps[0] // 2, taps[1] // 2, taps[1] // 2)
        shape = ConvShape(batch, height, width, *channels, taps, padding=around)
        if MACS[0] <= shape.macs <= MACS[1]:
            found.append(shape)
    return found


def layer_name(shape: ConvShape) -> str:
    """As in 3x3 64-128@56x56, batch 1."""
    rows, columns = shape.taps
    channels = f"{shape.in_channels}-{shape.out_channels}"
    return f"{rows}x{columns} {channels}@{shape.height}x{shape.width}, batch {shape.batch}"


def near(setting: Setting) -> dict[Tiling, float]:
    """Tilings that a class could admit, with the bare error of the sample."""
    found: dict[Tiling, float] = {}
    errors: dict[Tiling, float] = {}
    for limit in ACCURACY.values():
        admitted = 0
        for _, tiling, _ in ranked(setting, limit):
            if tiling not in errors:
                errors[tiling] = sample_error(setting, tiling)
            if errors[tiling] <= limit:
                found[tiling] = errors[tiling]
                admitted += 1
            if admitted == TILINGS:
                break
    return found


def real_errors(shape: ConvShape, tilings: list[Tiling], place: tuple[int, int]) -> dict[Tiling, list[float]]:
    """max|y - y64| / max|y64| over all outputs, a number a seed; data the product never draws."""
    found: dict[Tiling, list[float]] = {tiling: [] for tiling in tilings}
    for seed in range(SEEDS):
        draw = np.random.default_rng([*place, 1 + seed, 77])
        x = aligned(shape.input_shape)
        x[:] = draw.standard_normal(shape.input_shape, np.float32)
        spread = np.float32(sqrt(2 / prod(shape.weight_shape[1:])))
        weight = spread * draw.standard_normal(shape.weight_shape, np.float32)
        wanted = convolve(shape, x, weight)
        scale = np.abs(wanted).max()
        for tiling in tilings:
            kernel = Conv2dKernel(shape, weight, options=ConvOptions(algorithm=tiling.name, accuracy="fast"))
            found[tiling].append(float(np.abs(kernel(x) - wanted).max() / scale))
    return found


def measure(number: int) -> None:
    """A line a layer that is not there yet."""
    done = {(row["set"], row["place"]) for row in rows()}
    for place, shape in enumerate(drawn_layers(number)):
        if (number, place) in done:
            continue
        setting = Setting(shape, Epilogue(), host_target(), 1)
        samples = near(setting)
        real = real_errors(shape, list(samples), (number, place))
        whole = {tiling: whole_error(setting, tiling) for tiling in samples}
        tilings = {
            tiling.name: {
                "sample": _short(samples[tiling]),
                "whole": _short(whole[tiling]) if np.isfinite(whole[tiling]) else None,
                "real": [_short(error) for error in real[tiling]],
            }
            for tiling in samples
        }
        about = {"set": number, "place": place, "layer": layer_name(shape), "tilings": tilings}
        record("accuracy", benchmark="accuracy", target=setting.target.name, **about)


def _short(error: float) -> float:
    return float(f"{error:.3e}")


def rows() -> list[dict[str, Any]]:
    """The last row of this machine for every layer."""
    path, machine = RESULTS / "accuracy.jsonl", circumstances()["machine"]
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return list({(row["set"], row["place"]): row for row in found if row["machine"] == machine}.values())


@dataclass(frozen=True)
class Case:
    """A tiling on a layer: bare errors of the sample and of whole layers (None: not measured), real ones."""

    layer: str
    tiling: str
    sample: float
    whole: float | None
    real: tuple[float, ...]

    def admitted(self, limit: float, margins: tuple[float, float]) -> bool:
        """As `choice` does it."""
        by_whole = self.whole is not None and margins[1] * max(self.sample, self.whole) <= limit
        return margins[0] * self.sample <= limit or by_whole


def cases(number: int) -> list[Case]:
    """All of a set."""
    return [
        Case(row["layer"], name, one["sample"], one["whole"], tuple(one["real"]))
        for row in rows()
        if row["set"] == number
        for name, one in row["tilings"].items()
    ]


def beyond(found: list[Case], margins: tuple[float, float]) -> list[tuple[str, Case, float]]:
    """Admitted by a class and left it on some draw: class, case, and the largest error over the limit."""
    return [
        (name, case, max(case.real) / limit)
        for name, limit in ACCURACY.items()
        for case in found
        if case.admitted(limit, margins) and max(case.real) > limit
    ]


def summary(number: int) -> str:
    """What the margins of the product admit, and the least that would have let nothing leave its class."""
    found = cases(number)
    draws = [error / case.sample for case in found for error in case.real]
    wholes = [error / max(case.sample, case.whole) for case in found if case.whole for error in case.real]
    margins = (SAMPLE_MARGIN, WHOLE_MARGIN)
    lines = [f"set {number}: {len({case.layer for case in found})} layers, {len(found)} tilings, {len(draws)} draws"]
    for name, values in (("sample", draws), ("the larger of sample and whole", wholes)):
        quantiles = ", ".join(f"{q:.2f}" for q in np.quantile(values, (0.5, 0.9, 0.99, 1)))
        lines.append(f"real over {name}: median, 9 of 10, 99 of 100, largest {quantiles}")
    for name, limit in ACCURACY.items():
        admitted = [case for case in found if case.admitted(limit, margins)]
        worst = max((max(case.real) / limit for case in admitted), default=0.0)
        lines.append(f"{name}: {len(admitted)} admitted with margins {margins}, largest error {worst:.2f} of the limit")
    lines += [f"LEFT {name}: {case.layer} {case.tiling} {over:.2f}" for name, case, over in beyond(found, margins)]
    enough = [pair for pair in product(MARGINS, MARGINS) if not beyond(found, pair)]
    for place, name in enumerate(("sample", "whole")):
        lines.append(f"least {name} margin that lets none leave: {min(pair[place] for pair in enough)}")
    return "\n".join(lines)


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=int, nargs="+", default=list(range(SETS)))
    parser.add_argument("--summary", action="store_true", help="nothing is measured")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for number in options.set:
        if not options.summary:
            measure(number)
        print(summary(number))


if __name__ == "__main__":
    main()
