"""Arrays are read only where a file announces what the model expects, and holds as much."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from secateur.cli.arrays import read_arrays
from secateur.errors import DataError
from secateur.ir.graph import Graph, Node, ValueType

TYPES = {"a": ValueType((-1, 3)), "b": ValueType((-2, 4), "int64"), "y": ValueType((-1, 3))}
ONE = Graph(("a",), ("y",), (), (Node("relu", ("a",), "y"),), TYPES)
TWO = Graph(("b", "a"), ("y",), (), (Node("relu", ("a",), "y"),), TYPES)
A, B = np.arange(12, dtype=np.float32).reshape(4, 3), np.arange(32).reshape(8, 4)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


@pytest.mark.parametrize("array", [A, np.asfortranarray(A), A[:0], np.ones((1, 3), np.float32)])
def test_one_array(array: np.ndarray, tmp_path: Path):
    (found,) = read_arrays(written(tmp_path / "x.npy", npy(array)), ONE)
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_several_arrays_come_in_the_graphs_order(save, tmp_path: Path):
    save(tmp_path / "x.npz", a=A, b=B)
    found = read_arrays(tmp_path / "x.npz", TWO)
    np.testing.assert_array_equal(found[0], B)
    np.testing.assert_array_equal(found[1], A)


@pytest.mark.parametrize("array", [A.astype(np.float64), A.astype(">f4"), A[:, :2], A[0], B])
def test_what_the_model_does_not_expect_is_named(array: np.ndarray, tmp_path: Path):
    with pytest.raises(DataError, match=r"'a': expected float32 \(N, 3\), got"):
        read_arrays(written(tmp_path / "x.npy", npy(array)), ONE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"(4, 3)", b"(9, 3)"),
        (b"(4, 3)", b"(3, 3)"),
        (b"(4, 3), }" + b" " * 20, b"(99999999999999999999, 3), }"),
        (b"'shape'", b"[]     "),
        (b"{'descr'", b"((((((((("),
        (b"'<f4'", b"'|O' "),
        (b"NUMPY\x01", b"NUMPY\x09"),
    ],
)
def test_headers_that_lie_are_refused(old: bytes, new: bytes, tmp_path: Path):
    data = npy(A)
    assert old in data
    with pytest.raises(DataError, match="damaged"):
        read_arrays(written(tmp_path / "x.npy", data.replace(old, new, 1)), ONE)


def test_bombs_are_not_unfolded(tmp_path: Path):
    large = npy(np.zeros((2**20, 3), np.float32))
    bomb = archive(tmp_path / "x.npz", {"a.npy": large, "b.npy": npy(B)}, zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 2**15
    with pytest.raises(DataError, match="'a' takes 12,582,912 bytes, 1,048,320 are allowed"):
        read_arrays(bomb, TWO, max_bytes=2**20)
    odd = archive(tmp_path / "y.npz", {"a.npy": npy(A), "b.npy": npy(B)}, zipfile.ZIP_LZMA)
    with pytest.raises(DataError, match="damaged"):
        read_arrays(odd, TWO)


def test_other_names_are_listed(tmp_path: Path):
    with pytest.raises(DataError, match="holds a, c, the model's inputs are b, a"):
        read_arrays(archive(tmp_path / "x.npz", {"a.npy": npy(A), "c.npy": npy(B)}), TWO)
    with pytest.raises(DataError, match=r"expected 2 inputs \(b, a\), got one: name a .npz"):
        read_arrays(written(tmp_path / "x.npy", npy(A)), TWO)
    with pytest.raises(DataError, match="cannot read"):
        read_arrays(tmp_path / "none.npy", ONE)
