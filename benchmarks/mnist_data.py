"""MNIST, or Fashion-MNIST, from the raw IDX files: in memory, normalised, split once and for all.

Source of the format: LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from image_data import Images, Split, split_off

MEAN, STD = 0.1307, 0.3081
"""Of MNIST's training pixels in 0..1; used for Fashion-MNIST too, so that one network file fits both."""
VALIDATION = 5_000


def load_mnist(folder: Path) -> Images:
    """The four IDX files of a folder, plain or .gz: 55,000 + 5,000 + 10,000 images."""
    train, validation = split_off(*_pair(folder, "train"), VALIDATION)
    return Images(train, validation, Split(*_pair(folder, "t10k")), shift)


def shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """Every image moved by -1, 0 or 1 pixel in each direction, all nine alike; background comes in from outside."""
    n, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1), value=-MEAN / STD).reshape(n, -1)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    origin = (rows * (width + 2) + columns).reshape(1, -1)
    offsets = torch.tensor([[y * (width + 2) + x] for y in range(3) for x in range(3)])
    drawn = torch.randint(9, (n,), generator=generator)
    return padded.gather(1, (origin + offsets)[drawn]).reshape(images.shape)


def _pair(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    pixels = torch.from_numpy(_read_idx(folder, f"{part}-images-idx3-ubyte")).float().div_(255)
    labels = torch.from_numpy(_read_idx(folder, f"{part}-labels-idx1-ubyte")).long()
    if len(pixels) != len(labels):
        raise ValueError(f"{folder}: {len(pixels)} images but {len(labels)} labels in {part}")
    return pixels.sub_(MEAN).div_(STD).unsqueeze(1), labels


def _read_idx(folder: Path, name: str) -> np.ndarray:
    plain, packed = folder / name, folder / f"{name}.gz"
    if not plain.exists() and not packed.exists():
        raise FileNotFoundError(f"neither {plain} nor {packed.name} beside it: give the folder of the raw IDX files")
    data = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    zeros, kind, dimensions = struct.unpack_from(">HBB", data)
    shape = struct.unpack_from(f">{dimensions}I", data, 4)
    if zeros or kind != 8 or len(data) != 4 + 4 * dimensions + math.prod(shape):
        raise ValueError(f"{plain} is not an IDX file of bytes")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape).copy()
