"""Hostile artifact files: each is refused with an ArtifactError or verified when it loads, in bounded memory and time.

    python benchmarks/fuzz_artifacts.py --files 12000

Files are mutated from honest ones (fuzz_seeds.py) by the kinds of one table (fuzz_mutations.py), in turn, half of them
with all checksums right again. A file is one process (fuzz_trial.py). `max_bytes` of the load is what a reader
who knows what he expects would give: twice the honest file's tensors once dense, plus 1 MiB. What loads is verified
again, described, counted, interpreted with batch 2 and 0, saved and loaded again.

Faults: any exception but a SecateurError, a signal, more than the time limit, or a peak of memory beyond twice what
the honest file's load takes plus 16 MiB. The run fails, and says by which seed it is repeated, where there is one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from fuzz_file import Honest
from fuzz_mutations import KINDS, mutate
from fuzz_trial import SPARE_BYTES, Outcome, dense_bytes, examine, trial

SPARE_LIMIT = 2**20
LARGEST = (
    "largest_peak_of_bound",
    "largest_peak_beyond_twice_honest_mib",
    "largest_peak_of_use_beyond_load_mib",
    "slowest_load_s",
)


def main() -> None:
    """Make the honest files with torch, then try mutations of them in a process without it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the files")
    parser.add_argument("--part", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--from", dest="folder", type=Path, help="folder of honest files (written by this script)")
    parser.add_argument("--keep", type=Path, help="folder for the files that show a fault")
    options = parser.parse_args()
    if options.folder:
        print(json.dumps(attack(options)))
        return
    from fuzz_seeds import honest_files
    from record import record

    with tempfile.TemporaryDirectory() as folder:
        for name, data in honest_files().items():
            (Path(folder) / name).write_bytes(data)
        command = [sys.executable, __file__, *sys.argv[1:], "--from", folder, "--part"]
        jobs = [
            subprocess.Popen([*command, str(part)], stdout=subprocess.PIPE, text=True) for part in range(options.jobs)
        ]
        outputs = [job.communicate()[0] for job in jobs]
        if any(job.returncode for job in jobs):
            raise SystemExit("a job failed")
        honest_files = len(list(Path(folder).iterdir()))
    kinds = {kind: KINDS[kind].sealed for kind in options.kinds}
    sealed = sum(kinds[kind] for kind in schedule(options.files, list(kinds)))
    totals = {"files": options.files, "sealed_files": sealed, "honest_files": honest_files, "kinds": len(kinds)}
    found = merged([json.loads(output) for output in outputs])
    record("fuzz", seed=options.seed, **totals, **found)
    if found["faults"]:
        raise SystemExit(f"{len(found['faults'])} faults")


def merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """What several jobs found, as if one had."""
    by_kind = {
        kind: dict(sum((Counter(part["by_kind"][kind]) for part in parts), Counter[str]()))
        for kind in parts[0]["by_kind"]
    }
    largest = {name: max(part["largest"][name] for part in parts) for name in parts[0]["largest"]}
    verdicts = dict(sum(map(Counter, by_kind.values()), Counter[str]()))
    return {
        "verdicts": verdicts,
        **largest,
        "faults": [fault for part in parts for fault in part["faults"]],
        "by_kind": by_kind,
    }


def attack(options: argparse.Namespace) -> dict[str, Any]:
    """Try one job's share of the files: how many ended how, by kind; the largest memory and time; the faults."""
    seed, kinds, keep = options.seed, options.kinds, options.keep
    honest = [Honest(path.name, path.read_bytes()) for path in sorted(options.folder.iterdir())]
    limits = {one.name: 2 * dense_bytes(one.data) + SPARE_LIMIT for one in honest}
    usual = {one.name: run(one.data, limits[one.name]) for one in honest}
    if wrong := {name: outcome for name, outcome in usual.items() if outcome.fault}:
        raise SystemExit(f"honest files with a fault: {wrong}")
    order = schedule(options.files, kinds)
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    faults, worst = [], dict.fromkeys(LARGEST, (0.0, ""))
    for number, kind in list(enumerate(order))[options.part :: options.jobs]:
        source, data = mutate(Random(f"{seed} {number}"), kind, honest)
        outcome = run(data, limits[source.name])
        bound = 2 * usual[source.name].load_bytes + SPARE_BYTES
        fault = outcome.fault or ("takes too much memory" if outcome.load_bytes > bound else "")
        where = f"{kind} of {source.name}, number {number}"
        counts[kind][(fault and "fault") or outcome.verdict] += 1
        values = (
            outcome.load_bytes / bound,
            (outcome.load_bytes - 2 * usual[source.name].load_bytes) / 2**20,
            outcome.more_bytes / 2**20,
            outcome.load_seconds,
        )
        for name, value in zip(LARGEST, values, strict=True):
            worst[name] = max(worst[name], (round(value, 3), where))
        if fault:
            faults.append({"file": where, "fault": fault, "load_bytes": outcome.load_bytes, "bytes": len(data)})
            print(faults[-1], file=sys.stderr)
            if keep:
                keep.mkdir(exist_ok=True)
                (keep / f"{number}-{kind}.secat").write_bytes(data)
    return {"by_kind": {kind: dict(found) for kind, found in counts.items()}, "largest": worst, "faults": faults}


def schedule(files: int, kinds: list[str]) -> list[str]:
    """Sealed and unsealed kinds in turn, each set one after another."""
    sets = [[kind for kind in kinds if KINDS[kind].sealed is sealed] for sealed in (True, False)]
    sets = [one for one in sets if one]
    return [sets[n % len(sets)][n // len(sets) % len(sets[n % len(sets)])] for n in range(files)]


def run(data: bytes, max_bytes: int) -> Outcome:
    """A file in a process of its own."""
    return trial(lambda loaded: examine(data, max_bytes, loaded))


if __name__ == "__main__":
    main()
