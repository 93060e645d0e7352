"""Hostile files at the other doors: plans, algorithms, checkpoints and input arrays.

    python benchmarks/fuzz_doors.py --files 1000

For each row of DOORS that many mutations of honest files: bits, bytes and pieces (fuzz_mutations.py), JSON values and
keys (fuzz_headers.py), and archives packed again so that their checksums are right. Each is read in a process of
its own, as in fuzz_artifacts.py, and must be read or refused with a SecateurError, in the same bounds.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import nn

import secateur as sct
from fuzz_file import Honest
from fuzz_headers import HOSTILE, places
from fuzz_mutations import KINDS
from fuzz_trial import SPARE_BYTES, trial
from record import record
from secateur.cli.arrays import read_arrays
from secateur.cli.checkpoint import load_into, state_of
from secateur.cli.demo_network import LeNet5
from secateur.errors import SecateurError
from secateur.ir.graph import Graph, Node, ValueType

FILE = Path("input")
MAX_BYTES = 2**23
TYPES = {"a": ValueType((-1, 3)), "b": ValueType((-1, 2, 4), "int64")}
ONE = Graph(("a",), ("y",), (), (Node("relu", ("a",), "y"),), TYPES)
TWO = Graph(("a", "b"), ("y",), (), (Node("relu", ("a",), "y"),), TYPES)
NAMES = ("a.npy", "b.npy", "../a.npy", "a", "archive/data.pkl", "archive/data/0", "data.pkl", "x\0", "a.npy\0")


@dataclass(frozen=True)
class Door:
    """Honest files, what reads one (raising a SecateurError where it refuses), and what they are."""

    honest: Callable[[], list[bytes]]
    read: Callable[[bytes], Any]
    form: str


def plans() -> list[bytes]:
    plan = sct.plan(LeNet5(), torch.zeros(1, 1, 28, 28), prune=sct.Prune())
    return [plan.to_json().encode(), plan.replace("conv1.*", prune=None).to_json().encode()]


def algorithms() -> list[bytes]:
    found = [sct.convolution(outputs=2, taps=3), sct.convolution(outputs=(2, 2), taps=(3, 3))]
    return [one.to_json().encode() for one in found]


def checkpoints() -> list[bytes]:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    kept = [net.state_dict(), {"epoch": 3, "model": net.state_dict(), "optimizer": optimizer.state_dict()}]
    streams = [io.BytesIO() for _ in range(3)]
    for stream, value, new in zip(streams, [*kept, kept[0]], (True, True, False), strict=True):
        torch.save(value, stream, _use_new_zipfile_serialization=new)
    return [stream.getvalue() for stream in streams]


def arrays() -> list[bytes]:
    streams = [io.BytesIO() for _ in range(2)]
    np.save(streams[0], np.ones((4, 3), np.float32))
    np.save(streams[1], np.asfortranarray(np.ones((5, 3), np.float32)))
    return [stream.getvalue() for stream in streams]


def archives() -> list[bytes]:
    found = []
    for save in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        save(stream, a=np.ones((4, 3), np.float32), b=np.ones((4, 2, 4), np.int64))
        found.append(stream.getvalue())
    return found


def read_plan(data: bytes) -> None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise sct.PlanError("no text") from None
    plan = sct.Plan.from_json(text)
    assert sct.Plan.from_json(plan.to_json()) == plan
    str(plan)


def read_algorithm(data: bytes) -> None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise sct.AlgorithmError("no text") from None
    found = sct.Bilinear.from_json(text)
    assert sct.Bilinear.from_json(found.to_json()) == found


def read_checkpoint(data: bytes) -> None:
    FILE.write_bytes(data)
    load_into(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), state_of(FILE), FILE)


def read_inputs(data: bytes) -> None:
    FILE.write_bytes(data)
    read_arrays(FILE, TWO if data[:2] == b"PK" else ONE, max_bytes=MAX_BYTES)


DOORS: Mapping[str, Door] = {
    "Plan.from_json": Door(plans, read_plan, "json"),
    "Bilinear.from_json": Door(algorithms, read_algorithm, "json"),
    "checkpoint": Door(checkpoints, read_checkpoint, "archive"),
    "npy": Door(arrays, read_inputs, "array"),
    "npz": Door(archives, read_inputs, "archive"),
}
UNSEALED = [kind for kind in KINDS.values() if not kind.sealed]


def mutated(rng: Random, form: str, honest: Honest, other: Honest) -> bytes:
    """One mutation of a file; half of those of archives and JSON keep their form."""
    if form == "array" and rng.random() < 0.7:
        return announced_otherwise(rng, honest.data)
    if form == "json" and rng.random() < 0.7:
        value = json.loads(honest.data)
        for _ in range(rng.choice((1, 1, 2, 4))):
            holder, key = rng.choice(list(places(value)))
            if rng.random() < 0.2:
                del holder[key]
                if not value:
                    break
            else:
                holder[key] = rng.choice((*HOSTILE, [2**30, 2**30], "1/0", "9" * 5000, [[1]], 64, [64, 64, 64]))
        with_twice = '{"tensors": 3,' if rng.random() < 0.05 else "{"
        return json.dumps(value).replace("{", with_twice, 1).encode()
    if form == "archive" and honest.data[:2] == b"PK" and rng.random() < 0.7:
        return repacked(rng, honest, other)
    return rng.choice(UNSEALED).mutate(rng, honest, other)


def announced_otherwise(rng: Random, data: bytes) -> bytes:
    """A .npy with another shape, dtype, order or literal in its header, whose length is right, or not."""
    shape = rng.choice(
        ("(4, 3)", "(-4, 3)", "(2**40, 3)", f"({2**40}, 3)", f"({2**62}, {2**62}, 3)", "(0, 3)", "4", "()")
    )
    descr = rng.choice(("'<f4'", "'>f4'", "'|O'", "'|V2147483647'", "[('a', '<f4')]", "'<U99999999'", "None", "'<i8'"))
    order = rng.choice(("False", "True", "2", "[]"))
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    odd = (
        "{[]: 1}",
        "(" * 3000,
        "'",
        "{'a'",
        "{1: 2, **3}",
        "-" * 5000 + "1",
        "9" * 6000,
        "\0",
        "  x\n y\n",
        "1L",
        "{}{",
    )
    header = (rng.choice(odd) if rng.random() < 0.3 else text).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    length = len(header) if rng.random() < 0.9 else rng.randrange(2**16)
    version = rng.choice(((1, 0), (1, 0), (2, 0), (3, 0), (9, 9)))
    size = 2 if version == (1, 0) else 4
    return b"\x93NUMPY" + bytes(version) + length.to_bytes(size, "little") + header + data[-rng.choice((48, 47, 0)) :]


def repacked(rng: Random, honest: Honest, other: Honest) -> bytes:
    """An archive with a member changed, renamed, repeated, dropped or blown up; its checksums are right."""
    with zipfile.ZipFile(io.BytesIO(honest.data)) as archive:
        members = [[name, archive.read(name)] for name in archive.namelist()]
    place, what = rng.randrange(len(members)), rng.randrange(7)
    name, content = members[place]
    if what == 0:
        members[place][1] = rng.choice(UNSEALED).mutate(rng, Honest("", content or b"\0"), other)
    elif what == 1:
        members[place][1] = announced_otherwise(rng, content)
    elif what == 2:
        members[place][0] = rng.choice(NAMES)
    elif what == 3:
        members.append(members[place])
    elif what == 4:
        del members[place]
    elif what == 5:
        members[place][1] = content + bytes(rng.choice((1, 1000, 1000, 2**25)))
    elif name.endswith(".pkl"):
        members[place][1] = pickle.dumps(
            rng.choice((HOSTILE, {"a": 1}, {1: 2}, {"model": {None: 3}}, [], 3)), protocol=2
        )
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
        warnings.simplefilter("ignore")  # of names that stand twice
        for name, content in members:
            archive.writestr(name, content, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)))
    return stream.getvalue()


def attack(door: Door, files: int, seed: str) -> dict[str, Any]:
    """How the files at one door ended, and the faults."""
    honest = [Honest(str(place), data) for place, data in enumerate(door.honest())]

    def use(data: bytes, loaded: Callable[[], None]) -> str:
        warnings.simplefilter("ignore")
        try:
            door.read(data)
        except SecateurError:
            return "refused"
        finally:
            loaded()
        return "read"

    usual = {one.name: trial(lambda loaded, one=one: use(one.data, loaded)) for one in honest}
    if any(outcome.verdict != "read" for outcome in usual.values()):
        raise SystemExit(f"honest files that are not read: {usual}")
    verdicts, faults, over, slowest = Counter[str](), [], 0.0, 0.0
    for number in range(files):
        rng = Random(f"{seed} {number}")
        one, other = rng.choice(honest), rng.choice(honest)
        data = mutated(rng, door.form, one, other)
        outcome = trial(lambda loaded, data=data: use(data, loaded))
        excess = outcome.load_bytes - 2 * usual[one.name].load_bytes
        fault = outcome.fault or ("takes too much memory" if excess > SPARE_BYTES else "")
        verdicts["fault" if fault else outcome.verdict] += 1
        over, slowest = max(over, excess / 2**20), max(slowest, outcome.seconds)
        if fault:
            faults.append({"number": number, "fault": fault})
            print(seed, faults[-1], file=sys.stderr)
    figures = {"largest_peak_beyond_twice_honest_mib": round(over, 2), "slowest_s": round(slowest, 2)}
    return {"files": files, "verdicts": dict(verdicts), **figures, "faults": faults}


def main() -> None:
    """Try all doors and record what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--doors", nargs="*", default=list(DOORS), choices=list(DOORS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        found = {name: attack(DOORS[name], options.files, f"{options.seed} {name}") for name in options.doors}
        os.chdir(Path(__file__).parent)
    record("fuzz_doors", seed=options.seed, doors=found)
    if any(door["faults"] for door in found.values()):
        raise SystemExit("faults")


if __name__ == "__main__":
    main()
