"""The maker of the demo's images takes the right ones from IDX files and refuses other files."""

import gzip
import runpy
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from secateur.cli.demo_data import unfilter

SCRIPT = Path(__file__).parents[2] / "tools" / "make_demo_data.py"
MAKER = runpy.run_path(str(SCRIPT))


def write_idx(path: Path, data: np.ndarray) -> None:
    sizes = b"".join(size.to_bytes(4, "big") for size in data.shape)
    path.write_bytes(gzip.compress((0x0800 + data.ndim).to_bytes(4, "big") + sizes + data.tobytes(), 1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """900 training and 210 test images a class, classes in turn; every pixel of image i is i modulo 256."""
    path = tmp_path_factory.mktemp("idx")
    for name, count in (("train", 9000), ("t10k", 2100)):
        images = np.broadcast_to(np.arange(count).astype(np.uint8)[:, None, None], (count, 28, 28))
        write_idx(path / f"{name}-images-idx3-ubyte.gz", images)
        write_idx(path / f"{name}-labels-idx1-ubyte.gz", (np.arange(count) % 10).astype(np.uint8))
    return path


def test_the_first_of_each_class_in_their_order(folder, tmp_path, capsys):
    output = tmp_path / "out.zst"
    assert MAKER["main"]([str(folder), str(output)]) == 0
    assert f"{output.stat().st_size} bytes" in capsys.readouterr().out
    raw = np.frombuffer(zstandard.ZstdDecompressor().decompress(output.read_bytes()), np.uint8)
    images, labels = unfilter(raw[:-10_000].reshape(10_000, 28, 28)), raw[-10_000:]
    wanted = np.concatenate([np.arange(8000), np.arange(2000)])
    np.testing.assert_array_equal(images[:, 0, 0], wanted % 256)
    np.testing.assert_array_equal(images[:, 27, 27], wanted % 256)
    np.testing.assert_array_equal(labels, wanted % 10)


def test_unbalanced_order():
    labels = np.array([3, *range(10), 3, *range(10)], np.uint8)
    np.testing.assert_array_equal(MAKER["first_of_each_class"](labels, 1), [0, 1, 2, 3, 5, 6, 7, 8, 9, 10])


@given(arrays.arrays(np.uint8, st.tuples(st.just(2), st.integers(1, 5), st.integers(1, 5))))
def test_filtering_is_undone(images):
    np.testing.assert_array_equal(unfilter(MAKER["filtered"](images)), images)


def test_other_files_are_refused(tmp_path):
    for data in (np.zeros(0, np.uint8), np.zeros(5, np.uint8), np.zeros((2, 3, 3), np.uint8)):
        write_idx(tmp_path / "some.gz", data)
        np.testing.assert_array_equal(MAKER["read_idx"](tmp_path / "some.gz", 0x0800 + data.ndim), data)
        with pytest.raises(SystemExit, match="not an IDX file"):
            MAKER["read_idx"](tmp_path / "some.gz", 0x0802)


def test_too_few_images_are_refused(folder):
    with pytest.raises(SystemExit, match="does not hold 901 images"):
        MAKER["split"](folder, "train", 901)


def test_usage(capsys):
    assert MAKER["main"]([]) == 2
    assert "Usage:" in capsys.readouterr().err
