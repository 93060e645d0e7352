"""Hostile files: a few hundred mutations of every kind, the corpus that guided fuzzing left, and an oracle that can
fail. `python benchmarks/fuzz_artifacts.py` runs thousands, each in a process of its own."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from random import Random

import numpy as np
import pytest

import fuzz_trial
from fuzz_artifacts import SPARE_LIMIT, schedule
from fuzz_atheris import file_of, input_of
from fuzz_doors import DOORS, mutated
from fuzz_file import Honest, joined, resealed, sealed, zeros_frame
from fuzz_mutations import KINDS, mutate
from fuzz_seeds import coded_tensors, residual, tiny
from fuzz_trial import SPARE_BYTES, dense_bytes, examine, trial
from secateur.errors import ArtifactError, DataError, GraphError, SecateurError
from secateur.ir import artifact as artifact_module
from secateur.ir import graph_json, sections
from secateur.ir.artifact import Artifact
from secateur.ir.coding.codes import WAYS
from secateur.ir.coding.positions import POSITION_CODES
from secateur.ir.coding.squeeze import unsqueeze
from secateur.ir.coding.tensors import FORMS, encode_tensor
from secateur.ir.coding.values import VALUE_CODES
from secateur.ir.container import HEADER_LIMIT

CORPUS = Path(__file__).parents[1] / "golden" / "fuzz-corpus.hex"
FILES_A_KIND = 8
HONEST = [
    Honest("tiny", tiny().to_bytes()),
    Honest("weights", tiny(graph=None, units=(), axes={}).to_bytes()),
    Honest("integers", Artifact(*residual()).to_bytes()),
]
LIMITS = {one.name: 2 * dense_bytes(one.data) + SPARE_LIMIT for one in HONEST}


def outcome(number: int, kind: str) -> str:
    source, data = mutate(Random(number), kind, HONEST)
    return examine(data, LIMITS[source.name])


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_files_are_refused_or_verified(kind: str):
    found = [outcome(number, kind) for number in range(FILES_A_KIND)]
    assert set(found) <= {"refused", "ran", "loaded, has no graph", "loaded, refused to run"}
    assert KINDS[kind].sealed or set(found) == {"refused"}


def test_mutations_are_the_same_each_time_and_differ_from_the_honest_file():
    for kind in KINDS:
        source, data = mutate(Random(3), kind, HONEST)
        assert data != source.data
        assert mutate(Random(3), kind, HONEST)[1] == data


def test_sealed_files_get_past_the_checksums():
    """Without the kinds that change the container itself, no refusal is about a checksum."""
    for honest in HONEST:
        assert sealed(honest.text, honest.body) == honest.data
        assert joined(honest.records()) == honest.body
        assert file_of(input_of(honest.data)) == honest.data
    kinds = [kind for kind, row in KINDS.items() if row.sealed and kind != "lengths_changed"]
    for number in range(60):
        source, data = mutate(Random(number), kinds[number % len(kinds)], HONEST)
        assert "checksum" not in refusal(data, LIMITS[source.name])


def refusal(data: bytes, max_bytes: int) -> str:
    """Why a file is refused; empty where it is not."""
    try:
        Artifact.from_bytes(data, max_bytes=max_bytes)
    except ArtifactError as error:
        return str(error)
    return ""


def test_half_of_the_files_are_sealed():
    order = schedule(1000, list(KINDS))
    assert sum(KINDS[kind].sealed for kind in order) == 500
    assert set(order) == set(KINDS)


def test_honest_files_hold_every_code():
    coded = [encode_tensor(tensor) for _, tensor in coded_tensors()]
    assert {streams.sizes().positions_code for streams in coded} == {code.name for code in POSITION_CODES} | {"dense"}
    names = {code.name for code in VALUE_CODES} | {way.name for way in WAYS} | {"none"}
    assert {streams.sizes().values_code for streams in coded} == names
    assert {streams.form for streams in coded} == set(range(len(FORMS)))


def test_corpus_is_refused_or_verified():
    files = [bytes.fromhex(line) for line in CORPUS.read_text().splitlines()]
    found = [examine(data, 2**20) for data in files]
    assert len(found) > 100
    assert {"refused", "ran"} <= set(found)
    assert CORPUS.stat().st_size < 100_000


def test_a_reader_that_raises_something_else_is_noticed(monkeypatch: pytest.MonkeyPatch):
    def careless(*_arguments: object) -> None:
        raise IndexError("list index out of range")

    monkeypatch.setattr(sections, "decode_tensor", careless)
    with pytest.raises(IndexError):
        examine(HONEST[0].data, 2**20)
    found = trial(lambda loaded: examine(HONEST[0].data, 2**20, loaded))
    assert found.fault == "IndexError: list index out of range"


def test_a_verifier_that_accepts_everything_is_noticed(monkeypatch: pytest.MonkeyPatch):
    """Graphs that break a rule are then loaded, and fail where they are verified again."""
    monkeypatch.setattr(graph_json, "_verify", lambda *_arguments: None)
    with pytest.raises(GraphError, match="never used"):
        [outcome(number, "reference_changed") for number in range(1000)]


def test_crashes_hangs_and_greed_are_noticed(monkeypatch: pytest.MonkeyPatch):
    def greedy(loaded):
        kept = np.ones(2 * SPARE_BYTES, np.uint8)
        loaded()
        return str(kept[0])

    assert trial(greedy).load_bytes > SPARE_BYTES
    assert trial(lambda loaded: os.kill(os.getpid(), signal.SIGKILL) or "").fault == "ended with status 9"
    monkeypatch.setattr(fuzz_trial, "LIMIT_S", 1)
    assert trial(lambda loaded: time.sleep(30) or "").fault == "took longer than 1 s"


def test_loading_a_hostile_file_takes_little_memory():
    """Two kilobytes of header that would become a hundred megabytes; windows and positions of gigabytes."""
    relus = b'{"tensors":[],"inputs":[["x",[-1]]],"outputs":[1],"nodes":[' + b'["relu",[1]],' * 76_000 + b"0]}"
    assert len(relus) < HEADER_LIMIT
    wide = zeros_frame(100, window_log=30)
    for data in (sealed(relus, b""), resealed([100, len(wide), 0], wide, [])):
        assert len(data) < 3000

        def refused(loaded, data=data):
            try:
                return examine(data, artifact_module.MAX_BYTES, loaded)
            finally:
                loaded()

        found = trial(refused)
        assert (found.verdict, found.fault) == ("refused", "")
        assert found.load_bytes < SPARE_BYTES


def test_a_wide_window_is_refused_by_name():
    assert unsqueeze(zeros_frame(100), 100) == bytes(100)
    with pytest.raises(ArtifactError, match="asks for 1073741824 of memory"):
        unsqueeze(zeros_frame(100, window_log=30), 100)


@pytest.mark.parametrize("door", DOORS)
def test_other_doors_refuse_or_read(door: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    honest = [Honest(str(place), data) for place, data in enumerate(DOORS[door].honest())]
    for one in honest:
        DOORS[door].read(one.data)
    refused = 0
    for number in range(30):
        rng = Random(number)
        try:
            DOORS[door].read(mutated(rng, DOORS[door].form, rng.choice(honest), rng.choice(honest)))
        except SecateurError:
            refused += 1
    assert refused > 15


def test_an_array_reader_that_trusts_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("secateur.cli.arrays.DAMAGE", (DataError,))
    honest = Honest("a", DOORS["npy"].honest()[0])

    def read(number: int) -> bool:
        try:
            DOORS["npy"].read(mutated(Random(number), "array", honest, honest))
        except DataError:
            return False
        return True

    with pytest.raises(ValueError):  # numpy's own
        [read(number) for number in range(100)]
