"""Makes the images of `secateur demo` from the official Fashion-MNIST files (four .gz files in IDX format).

Usage: python tools/make_demo_data.py FOLDER [OUTPUT]. Prints the SHA-256 that secateur/cli/demo_data.py must name.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from pathlib import Path

import numpy as np
import zstandard
from jaxtyping import UInt8

from secateur.cli.demo_data import CLASSES, SIDE, TEST_PER_CLASS, TRAIN_PER_CLASS, paeth

OUTPUT = Path(__file__).parents[1] / "src/secateur/cli/data/fashion_mnist.zst"
IMAGES, LABELS = 0x0803, 0x0801


def read_idx(path: Path, kind: int) -> np.ndarray:
    """An IDX file of bytes: a magic number with the number of axes, big-endian sizes, the data."""
    content = gzip.decompress(path.read_bytes())
    axes = kind & 0xFF
    header = np.frombuffer(content[: 4 + 4 * axes].ljust(4 + 4 * axes, b"\0"), ">u4")
    data = np.frombuffer(content[4 + 4 * axes :], np.uint8)
    if header[0] != kind or data.size != header[1:].prod():
        raise SystemExit(f"{path} is not an IDX file with magic {kind:#06x}; give the folder of the official files")
    return data.reshape(header[1:])


def first_of_each_class(labels: UInt8[np.ndarray, " n"], count: int) -> np.ndarray:
    """The indices, ascending, of the first `count` examples of each class."""
    chosen = [np.flatnonzero(labels == number)[:count] for number in range(CLASSES)]
    return np.sort(np.concatenate(chosen))


def split(folder: Path, name: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of one official split, `count` a class."""
    images = read_idx(folder / f"{name}-images-idx3-ubyte.gz", IMAGES)
    labels = read_idx(folder / f"{name}-labels-idx1-ubyte.gz", LABELS)
    chosen = first_of_each_class(labels, count)
    if len(chosen) != CLASSES * count or images.shape[1:] != (SIDE, SIDE):
        raise SystemExit(f"{folder}: {name} does not hold {count} images of {SIDE} x {SIDE} for each class")
    return images[chosen], labels[chosen]


def filtered(images: UInt8[np.ndarray, "n h w"]) -> UInt8[np.ndarray, "n h w"]:
    """Paeth residuals modulo 256, which compress better than the pixels; secateur.cli.demo_data.unfilter undoes it."""
    padded = np.pad(images.astype(np.int16), ((0, 0), (1, 0), (1, 0)))
    guess = paeth(padded[:, 1:, :-1], padded[:, :-1, 1:], padded[:, :-1, :-1])
    return ((images - guess) & 255).astype(np.uint8)


def pack(folder: Path) -> bytes:
    """The whole content of fashion_mnist.zst."""
    train_images, train_labels = split(folder, "train", TRAIN_PER_CLASS)
    test_images, test_labels = split(folder, "t10k", TEST_PER_CLASS)
    residuals = filtered(np.concatenate([train_images, test_images]))
    raw = residuals.tobytes() + train_labels.tobytes() + test_labels.tobytes()
    return zstandard.ZstdCompressor(level=22).compress(raw)


def main(arguments: list[str]) -> int:
    """Write the file and say how large it is."""
    if not 1 <= len(arguments) <= 2:
        print(__doc__, file=sys.stderr)
        return 2
    packed = pack(Path(arguments[0]))
    output = Path(arguments[1]) if len(arguments) == 2 else OUTPUT
    output.write_bytes(packed)
    print(f"{output}: {len(packed)} bytes, SHA-256 {hashlib.sha256(packed).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
