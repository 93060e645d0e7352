"""Real images for `secateur demo`: 8,000 + 2,000 of Fashion-MNIST, in the package itself.

The first 800 (200) images of each class of the official training (test) split, in the official order; written by
tools/make_demo_data.py. One zstd frame holds the images as Paeth residuals (Portable Network Graphics specification,
section 9.4, over each whole image; outside of it everything is 0), then the labels.

Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms",
arXiv:1708.07747. Licence: MIT, data/LICENSE.fashion_mnist.txt.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import zstandard

from secateur.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Integer, UInt8

CLASSES = 10
TRAIN_PER_CLASS = 800
TEST_PER_CLASS = 200
SIDE = 28
SHA256 = "a91b1b1f82be99eca42475de8c86cc28314bffa3272cb0cdbdbe3ecbb6e3bda7"

COUNT = CLASSES * (TRAIN_PER_CLASS + TEST_PER_CLASS)
RAW_BYTES = COUNT * (SIDE * SIDE + 1)


@dataclass(frozen=True)
class DemoData:
    """Gray images, 0 (background) to 255, and class numbers 0 to 9; balanced by class in both halves."""

    train_images: UInt8[np.ndarray, "8000 28 28"]
    train_labels: UInt8[np.ndarray, " 8000"]
    test_images: UInt8[np.ndarray, "2000 28 28"]
    test_labels: UInt8[np.ndarray, " 2000"]


def load_demo_data() -> DemoData:
    """The images that ship with the package. DataError where the file is missing or damaged."""
    file = files("secateur.cli") / "data" / "fashion_mnist.zst"
    try:
        packed = file.read_bytes()
    except OSError as error:
        raise DataError(f"the demo's images are missing ({error}); install the package again") from error
    return decode(packed)


def decode(packed: bytes) -> DemoData:
    """The images in the bytes of fashion_mnist.zst. DataError for any other bytes."""
    found = hashlib.sha256(packed).hexdigest()
    if found != SHA256:
        raise DataError(
            f"the demo's images are damaged: {len(packed)} bytes with SHA-256 {found[:16]}..., "
            f"not {SHA256[:16]}...; install the package again"
        )
    raw = np.frombuffer(zstandard.ZstdDecompressor().decompress(packed, max_output_size=RAW_BYTES), np.uint8)
    images = unfilter(raw[:-COUNT].reshape(COUNT, SIDE, SIDE))
    labels = raw[-COUNT:].copy()
    train = CLASSES * TRAIN_PER_CLASS
    return DemoData(images[:train], labels[:train], images[train:], labels[train:])


def paeth(
    left: Integer[np.ndarray, "*n"], above: Integer[np.ndarray, "*n"], corner: Integer[np.ndarray, "*n"]
) -> Integer[np.ndarray, "*n"]:
    """Of the three neighbours, the one closest to left + above - corner; the first of equals. Signed integers."""
    to_left, to_above = np.abs(above - corner), np.abs(left - corner)
    to_corner = np.abs(left + above - 2 * corner)
    return np.where(
        (to_left <= to_above) & (to_left <= to_corner), left, np.where(to_above <= to_corner, above, corner)
    )


def unfilter(residuals: UInt8[np.ndarray, "n h w"]) -> UInt8[np.ndarray, "n h w"]:
    """Images from their Paeth residuals (modulo 256), pixel by pixel over all images at once."""
    count, height, width = residuals.shape
    pixels = np.zeros((height + 1, width + 1, count), np.int16)
    for row in range(height):
        for column in range(width):
            guess = paeth(pixels[row + 1, column], pixels[row, column + 1], pixels[row, column])
            pixels[row + 1, column + 1] = (residuals[:, row, column] + guess) & 255
    return np.ascontiguousarray(pixels[1:, 1:].transpose(2, 0, 1).astype(np.uint8))
