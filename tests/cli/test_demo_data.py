"""The demo's images: complete, balanced, unchanged, and never taken from a damaged file."""

import hashlib
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.cli import demo_data
from secateur.cli.demo_data import decode, load_demo_data, paeth, unfilter
from secateur.errors import DataError

# Of the first 800 (200) images a class, read from the official files with nothing of this package.
CONTENT = {
    "train_images": "dcda5d31d243feac",
    "train_labels": "2e644148ef646934",
    "test_images": "96315b1732ab731e",
    "test_labels": "b2095bc797d1201e",
}


@pytest.fixture(scope="module")
def packed() -> bytes:
    return (files("secateur.cli") / "data" / "fashion_mnist.zst").read_bytes()


@pytest.fixture(scope="module")
def data(packed):
    return decode(packed)


def test_counts_types_and_balance(data):
    for images, labels, per_class in (
        (data.train_images, data.train_labels, 800),
        (data.test_images, data.test_labels, 200),
    ):
        assert images.shape == (10 * per_class, 28, 28)
        assert images.dtype == labels.dtype == np.uint8
        np.testing.assert_array_equal(np.bincount(labels), [per_class] * 10)


@pytest.mark.parametrize("name", CONTENT)
def test_every_byte_is_the_official_one(data, name):
    assert hashlib.sha256(getattr(data, name).tobytes()).hexdigest().startswith(CONTENT[name])


def test_the_file_is_small_and_its_licence_lies_beside_it(packed):
    assert len(packed) <= 4_000_000
    notice = (files("secateur.cli") / "data" / "LICENSE.fashion_mnist.txt").read_text(encoding="utf-8")
    assert "MIT License" in notice
    assert "Zalando SE" in notice


def test_loading_reads_that_file(data):
    np.testing.assert_array_equal(load_demo_data().train_images, data.train_images)


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b[:999] + b"!" + b[1000:], lambda b: b""]
)
def test_damaged_bytes_are_refused(packed, damage):
    with pytest.raises(DataError, match=r"damaged.*install the package again"):
        decode(damage(packed))


def test_a_missing_file_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(demo_data, "files", lambda _: tmp_path)
    with pytest.raises(DataError, match=r"missing.*fashion_mnist\.zst"):
        load_demo_data()


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_paeth_is_the_closest_neighbour(left, above, corner):
    guess = paeth(*(np.array([value], np.int16) for value in (left, above, corner)))[0]
    estimate = left + above - corner
    assert guess == min((left, above, corner), key=lambda value: abs(value - estimate))


def test_unfilter_follows_the_specification_pixel_by_pixel():
    residuals = np.random.default_rng(0).integers(0, 256, (3, 4, 5), np.uint8)
    found = unfilter(residuals).astype(int)
    for n, row, column in np.ndindex(found.shape):
        left = found[n, row, column - 1] if column else 0
        above = found[n, row - 1, column] if row else 0
        corner = found[n, row - 1, column - 1] if row and column else 0
        guess = min((left, above, corner), key=lambda value: abs(value - (left + above - corner)))
        assert found[n, row, column] == (int(residuals[n, row, column]) + guess) % 256
