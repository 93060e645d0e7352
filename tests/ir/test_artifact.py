"""An Artifact comes back from its file whole, or not at all with an ArtifactError, whatever happened to the bytes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
from sample_artifacts import codes_of_all_ways, entropy_bytes, pruned, quantized, tiny
from sample_graphs import small_net

from secateur.errors import ArtifactError
from secateur.ir.artifact import Artifact, encoded_bytes
from secateur.ir.coding.codes import WAYS
from secateur.ir.coding.squeeze import squeeze
from secateur.ir.coding.varint import Reader, varint
from secateur.ir.container import CHECKSUM_BYTES, MAGIC, VERSION, build, open_container
from secateur.ir.execute import interpret
from secateur.ir.formats import Dense, Quantized, Sparse, from_dense
from secateur.ir.graph import Graph
from secateur.ir.records import UnitGroup

GOLDEN = Path(__file__).parents[1] / "golden"
FILE = tiny().to_bytes()


def weights(**tensors: np.ndarray) -> Artifact:
    return Artifact(None, {name: from_dense(array) for name, array in tensors.items()})


@pytest.mark.parametrize(
    "artifact",
    [
        tiny(),
        tiny(graph=None, meta={"weights_only": "because"}),
        Artifact(None, {}),
        weights(scalar=np.float32(3).reshape(()), none=np.zeros((0, 4), dtype=np.float32)),
        weights(a=np.zeros((3, 4), dtype=np.float32), é=np.full(7, np.nan, dtype=np.float16)),
        replace(tiny(), tensors=dict(reversed(tiny().tensors.items()))),
        quantized(),
    ],
    ids=["all kinds", "weights only", "empty", "odd shapes", "odd values", "another order", "codes"],
)
def test_an_artifact_comes_back(artifact: Artifact, tmp_path: Path):
    path = tmp_path / "model.secat"
    artifact.save(path)
    found = Artifact.load(path)
    assert found == artifact
    assert list(found.tensors) == list(artifact.tensors)
    assert path.read_bytes() == artifact.to_bytes() == found.to_bytes()
    assert artifact.bytes_by_stream().total == path.stat().st_size
    loaded, encoded = found.bytes_by_stream(), replace(found).bytes_by_stream()
    assert loaded == encoded == artifact.bytes_by_stream()


def test_bytes_by_stream_add_up():
    sizes = tiny().bytes_by_stream()
    assert sizes.total == len(FILE)
    for name, tensor in tiny().tensors.items():
        assert sizes.tensors[name].total == encoded_bytes(tensor)
    assert sizes.units > 2
    assert sizes.framing >= len(MAGIC) + 1 + 3 + 3 * CHECKSUM_BYTES


@pytest.mark.parametrize(("name", "artifact"), [("tiny-v1", tiny()), ("quantized-v1", quantized())])
def test_the_file_format_is_stable(name: str, artifact: Artifact):
    """A change here breaks the files people have: keep the old reader, count VERSION up, add a golden file."""
    golden = bytes.fromhex((GOLDEN / f"{name}.secat.hex").read_text(encoding="ascii"))
    assert Artifact.from_bytes(golden) == artifact
    assert golden == artifact.to_bytes()


def test_the_quantized_golden_file_goes_every_way():
    sizes = quantized().bytes_by_stream().tensors
    for name in codes_of_all_ways():
        assert sizes[name].values_code == name
    assert {way.name for way in WAYS} == set(codes_of_all_ways())
    assert sizes["pruned"].positions
    codes = [tensor for tensor in quantized().tensors.values() if isinstance(tensor, Quantized)]
    assert {tensor.dtype for tensor in codes} == {"int3", "int4", "int5", "int8"}
    assert {tensor.grid.by_channel for tensor in codes} == {True, False}


def test_original_shapes():
    artifact = tiny()
    assert artifact.original_shape("conv.weight") == (5, 1, 3, 3)
    assert artifact.original_shape("fc.weight") == (3, 20)
    assert artifact.original_shape("conv.bias") == (2,)


def test_an_artifact_prints_as_one_line():
    assert repr(weights(a=np.eye(3, dtype=np.float32))) == "Artifact(1 tensors, 3 non-zeros, weights only)"
    assert repr(tiny()).endswith("5 operations)")


def graph_with(**changes: Any) -> Graph:
    return replace(small_net()[0], **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axes": {"nothing": {0: (0, 1)}}}, "name a tensor 'nothing'"),
        ({"axes": {"conv.weight": {0: (1, 1)}}}, "out of range"),
        ({"axes": {"conv.weight": {4: (0, 1)}}}, "out of range"),
        ({"axes": {"conv.weight": {-1: (0, 1)}}}, "out of range"),
        ({"axes": {"conv.weight": {0: (0, 0)}}}, "out of range"),
        ({"axes": {"conv.weight": {0: (0, 2)}}}, "has 2 elements, its unit group keeps 2 x 2"),
        ({"tensors": {}, "axes": {}}, "does not hold"),
        ({"tensors": {"w": np.zeros(3)}, "axes": {}}, "from_dense"),
        ({"tensors": {3: Dense(np.zeros(3, dtype=np.float32))}, "axes": {}}, "tensor 3"),
        ({"graph": graph_with(types={})}, "no type"),
        (
            {"tensors": {**tiny().tensors, "conv.bias": Dense(np.zeros(3, dtype=np.float32))}},
            r"float32 \(3,\), the graph",
        ),
        ({"tensors": {**tiny().tensors, "conv.bias": Dense(np.zeros(2, dtype=np.int64))}}, "is int64"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, Any], message: str):
    with pytest.raises(ArtifactError, match=message):
        tiny(**changes)


def test_what_cannot_be_stored_leaves_no_file(tmp_path: Path):
    for bad in (tiny(meta={"a": float("nan")}), tiny(graph=graph_with(outputs=("nowhere",)))):
        with pytest.raises(ArtifactError):
            bad.save(tmp_path / "model.secat")
    assert not list(tmp_path.iterdir())


def test_files_that_are_not_there_or_no_files(tmp_path: Path):
    with pytest.raises(ArtifactError, match=r"cannot read .*No such file"):
        Artifact.load(tmp_path / "model.secat")
    with pytest.raises(ArtifactError, match="cannot read"):
        Artifact.load(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"\x08\x08\x12\x07pytorch")
    with pytest.raises(ArtifactError, match="no secateur artifact"):
        Artifact.load(tmp_path / "model.onnx")


def test_a_newer_file_says_what_to_do():
    newer = MAGIC + bytes([VERSION + 1]) + FILE[7:]
    with pytest.raises(ArtifactError, match="update it"):
        Artifact.from_bytes(newer)


def test_limits_hold_for_the_file_its_tensors_and_their_original_shapes():
    with pytest.raises(ArtifactError, match=f"{len(FILE)} bytes, 100 are allowed"):
        Artifact.from_bytes(FILE, max_bytes=100)
    zeros = Artifact(None, {"w": Sparse((1000, 1000), np.zeros(0, np.int64), np.zeros(0, np.float32))})
    with pytest.raises(ArtifactError, match="announces 4000000 bytes"):
        Artifact.from_bytes(zeros.to_bytes(), max_bytes=3_999_999)
    assert Artifact.from_bytes(zeros.to_bytes(), max_bytes=4_000_000) == zeros
    empty = Dense(np.zeros((0, 1000), dtype=np.float32))
    cut = Artifact(None, {"w": empty}, units=(UnitGroup(5, np.zeros(5, np.bool_)),), axes={"w": {0: (0, 10**6)}})
    with pytest.raises(ArtifactError, match="announces 20000000000 bytes"):
        Artifact.from_bytes(cut.to_bytes())


def test_a_lack_of_memory_is_an_artifact_error(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("secateur.ir.artifact.decode_body", fail)
    with pytest.raises(ArtifactError, match="not enough memory"):
        Artifact.from_bytes(FILE)


def peak_of(work: Callable[[], object], *, refused: bool = False) -> int:
    """The most bytes that were allocated at a time."""
    tracemalloc.start()
    try:
        if refused:
            with pytest.raises(ArtifactError):
                work()
        else:
            work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["noise", "half", "few"])
def test_loading_takes_little_more_memory_than_what_it_loads(kind: str, tmp_path: Path):
    rng = np.random.default_rng(0)
    array = rng.standard_normal((2000, 2000)).astype(np.float32)
    if kind == "noise":
        array = rng.integers(0, 2**32, array.shape, dtype=np.uint32).view(np.float32)
    else:
        array *= rng.random(array.shape) < {"half": 0.5, "few": 0.06}[kind]
    path = tmp_path / "large.secat"
    artifact = Artifact(None, {"w": Dense(array) if kind == "noise" else from_dense(array)})
    artifact.save(path)
    tensor = artifact.tensors["w"]
    decoded = tensor.array.nbytes if isinstance(tensor, Dense) else tensor.positions.nbytes + tensor.values.nbytes
    assert peak_of(lambda: Artifact.load(path)) <= 2 * decoded + 16 * 2**20


def test_bombs_are_refused_before_they_unfold():
    """Headers and sections that announce gigabytes, in files of a hundred bytes."""
    million = b'{"tensors":[' + b",".join(b'["%d",[1073741824]]' % index for index in range(9)) + b"]}"
    deep = b'{"tensors":' + b"[" * 40_000
    for header in (million, deep, b'{"meta":"' + bytes(10) + b'"}'):
        bomb = build(header, [])
        assert peak_of(lambda bomb=bomb: Artifact.from_bytes(bomb), refused=True) < 16 * 2**20
    planes = varint(len(squeeze(bytes(2**20)))) + squeeze(bytes(2**20))
    record = bytes([3, 1]) + planes * 40  # a float32 tensor of 10 M zeros, in a file that allows 1 M
    bomb = build(b'{"tensors":[["w",[10485760]]]}', [varint(len(record)) + record])
    assert Artifact.from_bytes(bomb).tensors["w"].nonzeros == 0
    assert peak_of(lambda: Artifact.from_bytes(bomb, max_bytes=4 * 2**20), refused=True) < 2**20


def sealed(data: bytes) -> bytes:
    """The bytes with checksums made right again, as far as their announced lengths can be followed."""
    out = bytearray(data)
    try:
        reader = Reader(data)
        reader.take(len(MAGIC) + 1)
        _, packed, count = reader.varint(), reader.varint(), reader.varint()
        ends, place = [], 0
        lengths = [packed, *(reader.varint() for _ in range(min(count, 100)))]
        place = len(data) - reader.left
        for length in lengths:
            ends.append((place, place + length))
            place += length + CHECKSUM_BYTES
    except ArtifactError:
        return data
    for start, end in ends:
        begin = 0 if (start, end) == ends[0] else start
        out[end : end + CHECKSUM_BYTES] = google_crc32c.value(bytes(out[begin:end])).to_bytes(CHECKSUM_BYTES, "little")
    out[-CHECKSUM_BYTES:] = google_crc32c.value(bytes(out[:-CHECKSUM_BYTES])).to_bytes(CHECKSUM_BYTES, "little")
    return bytes(out)


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three flips, cuts, insertions, repetitions or zeroed runs."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        place, kind = int(rng.integers(len(out) + 1)), rng.integers(5)
        if kind == 0 and place < len(out):
            out[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del out[place : place + int(rng.integers(1, 5))]
        elif kind == 2:
            out[place:place] = rng.bytes(int(rng.integers(1, 5)))
        elif kind == 3:
            out[place:place] = out[place : place + 8]
        elif place < len(out):
            out[place : place + 4] = bytes(len(out[place : place + 4]))
    return bytes(out)


def test_a_sealed_file_is_the_file():
    assert sealed(FILE) == FILE
    hurt = FILE[:-10] + bytes([FILE[-10] ^ 1]) + FILE[-9:]
    assert sealed(hurt) != hurt


@pytest.mark.parametrize("seal", [False, True], ids=["as it is", "checksums made right again"])
def test_thousands_of_damaged_files_give_artifact_errors(seal: bool):
    """What still loads, because its checksums were made right, is a whole artifact: it can run and be saved again."""
    rng, loaded = np.random.default_rng(0), 0
    for _ in range(2500):
        data = damaged(FILE, rng)
        if data == FILE:
            continue
        try:
            found = Artifact.from_bytes(sealed(data) if seal else data, max_bytes=2**22)
        except ArtifactError:
            continue
        loaded += 1
        assert Artifact.from_bytes(found.to_bytes()) == found
        assert all(tensor.to_dense().shape == tensor.shape for tensor in found.tensors.values())
    assert (loaded > 20) == seal


def test_damaged_headers_give_artifact_errors():
    """Changed before they are compressed, so that the damage reaches the JSON and the graph."""
    rng, outcomes = np.random.default_rng(1), set()
    opened = open_container(BytesIO(FILE), len(FILE))
    sections = list(opened.sections)
    for _ in range(1000):
        try:
            Artifact.from_bytes(build(damaged(opened.header, rng), sections), max_bytes=2**22)
        except ArtifactError as error:
            outcomes.add(str(error)[:40])
        else:
            outcomes.add("loaded")
    assert "loaded" in outcomes
    assert len(outcomes) > 12


def test_header_framing_and_masks_cost_less_than_coding_values_saves():
    """A LeNet-5 of which 0.8 % stay: the file is smaller than entropy of the positions plus plain float16 values."""
    rng = np.random.default_rng(0)
    tensors: dict[str, Dense | Sparse] = {}
    expected = 0.0
    for name, rows, columns, kept in [("conv1", 20, 25, 200), ("conv2", 48, 500, 700), ("fc1", 170, 768, 2200)]:
        mask = pruned(rows, columns, kept, even=True)
        values = np.where(rng.random(mask.shape) < 0.5, -1, 1) * (0.1 + rng.exponential(0.08, mask.shape))
        tensors[f"{name}.weight"] = from_dense((mask * values).astype(np.float32), "float16")
        tensors[f"{name}.bias"] = from_dense((0.05 * rng.standard_normal(rows)).astype(np.float32), "float16")
        expected += entropy_bytes(mask) + 2 * kept + 2 * rows
    units = (UnitGroup(50, np.arange(50) < 48), UnitGroup(500, rng.permutation(500) < 170))
    axes = {"fc1.weight": {0: (1, 1), 1: (0, 16)}, "fc1.bias": {0: (1, 1)}}
    sizes = Artifact(None, tensors, {"values": "float16"}, units, axes).bytes_by_stream()
    assert sizes.total < expected
    assert sizes.header + sizes.framing < 120


def test_loaded_artifacts_run():
    found = Artifact.from_bytes(FILE)
    x = np.random.default_rng(0).standard_normal((4, 1, 6, 6)).astype(np.float32)
    outputs = interpret(found, x)
    assert isinstance(outputs, np.ndarray)
    assert outputs.shape == (4, 3)


def test_a_name_no_system_takes_is_refused():
    with pytest.raises(ArtifactError, match="cannot read"):
        Artifact.load("model\0.secat")
