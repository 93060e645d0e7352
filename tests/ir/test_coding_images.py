"""Images in columns: pixels know those before and after them, and squares are found where non-zeros show them."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.errors import ArtifactError
from secateur.ir.coding.images import ABOVE, LEFT, Image, best_image, matrix_shape
from secateur.ir.coding.varint import Reader


@pytest.mark.parametrize("image", [Image(), Image(3, 9), Image(5, 25), Image(4, 10), Image(2, 2)])
def test_after_is_the_other_way_round_of_before(image: Image):
    columns = range(60)
    pairs = {(after, column) for column in columns for _, after in image.after(column)}
    assert pairs == {(column, before) for column in range(120) for before in image.before(column) if before < 60}


def test_lines_and_images_end():
    image = Image(3, 9)
    assert image.after(0) == [(LEFT, 1), (ABOVE, 3)]
    assert image.after(2) == [(ABOVE, 5)]
    assert image.after(8) == []
    assert image.before(9) == []
    assert image.before(13) == [12, 10]


@pytest.mark.parametrize("image", [Image(), Image(3, 9), Image(28, 784)])
def test_images_come_back(image: Image):
    reader = Reader(image.to_bytes())
    assert Image.read(reader, 784) == image
    reader.end()


@pytest.mark.parametrize("data", [bytes([1, 4]), bytes([5, 4]), bytes([4, 40]), bytes([4])])
def test_images_that_do_not_fit_are_refused(data: bytes):
    with pytest.raises(ArtifactError):
        Image.read(Reader(data), 30)


@pytest.mark.parametrize("side", [4, 7, 14])
def test_squares_are_found(side: int):
    mask = np.random.default_rng(0).random((60, side * side)) < 0.05
    mask[:, side:] |= mask[:, :-side]
    assert best_image(np.flatnonzero(mask), mask.shape) == Image(side, side**2)


def test_noise_shows_no_image_and_kernels_are_known():
    noise = np.random.default_rng(3).random((300, 144)) < 0.02
    assert best_image(np.flatnonzero(noise), noise.shape) == Image()
    assert best_image(np.arange(3), (4, 3, 5, 7)) == Image(7, 35)
    assert best_image(np.arange(3), (4, 3, 1, 1)) == Image()


def test_a_tensor_as_a_matrix():
    assert [matrix_shape(shape) for shape in [(), (5,), (5, 3), (5, 3, 2, 2)]] == [(1, 1), (1, 5), (5, 3), (5, 12)]
