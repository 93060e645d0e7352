"""MNIST, or Fashion-MNIST, from the raw IDX files: in memory, normalised, split once and for all.

Source of the format: LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import gzip
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

MEAN, STD = 0.1307, 0.3081
"""Of MNIST's training pixels in 0..1; used for Fashion-MNIST too, so that one network file fits both."""
VALIDATION = 5_000
SPLIT_SEED = 1


@dataclass(frozen=True)
class Split:
    """images: float32 (n, 1, 28, 28), normalised; labels: int64 (n,)."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Mnist:
    """55,000 images to train on, 5,000 to select by, 10,000 that are read once, at the end."""

    train: Split
    validation: Split
    test: Split


def load_mnist(folder: Path) -> Mnist:
    """The four IDX files of a folder, plain or .gz; the same split whatever the run's seed."""
    images, labels = _pair(folder, "train")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT_SEED))
    kept, held = order[:-VALIDATION], order[-VALIDATION:]
    return Mnist(Split(images[kept], labels[kept]), Split(images[held], labels[held]), Split(*_pair(folder, "t10k")))


class Batches:
    """Shuffled full batches of a split, channels-last, one pass a call of `epoch`; shifted by at most one pixel if
    wanted. Everything random comes from the generator, so that its state is all there is to resume."""

    def __init__(self, split: Split, size: int, generator: torch.Generator, *, shifted: bool) -> None:
        self.split, self.size, self.generator, self.shifted = split, size, generator, shifted

    def __len__(self) -> int:
        return len(self.split.labels) // self.size

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(images, labels) of every full batch."""
        order = torch.randperm(len(self.split.labels), generator=self.generator)
        for start in range(0, len(self) * self.size, self.size):
            chosen = order[start : start + self.size]
            images = self.split.images[chosen]
            if self.shifted:
                images = shift(images, self.generator)
            yield images.contiguous(memory_format=torch.channels_last), self.split.labels[chosen]


def shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """Every image moved by -1, 0 or 1 pixel in each direction, all nine alike; background comes in from outside."""
    n, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1), value=-MEAN / STD).reshape(n, -1)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    origin = (rows * (width + 2) + columns).reshape(1, -1)
    offsets = torch.tensor([[y * (width + 2) + x] for y in range(3) for x in range(3)])
    drawn = torch.randint(9, (n,), generator=generator)
    return padded.gather(1, (origin + offsets)[drawn]).reshape(images.shape)


@torch.no_grad()
def error(model: torch.nn.Module, split: Split) -> float:
    """Per cent of a split that the model gets wrong, in evaluation mode and float32."""
    model.eval()
    wrong = 0
    for start in range(0, len(split.labels), 1000):
        images = split.images[start : start + 1000].contiguous(memory_format=torch.channels_last)
        wrong += int((model(images).argmax(1) != split.labels[start : start + 1000]).sum())
    model.train()
    return 100 * wrong / len(split.labels)


@torch.no_grad()
def mean_loss(model: torch.nn.Module, split: Split) -> float:
    """Mean cross-entropy of a split in nats: tells models apart where 5,000 images' errors are too coarse."""
    model.eval()
    loss = float(torch.nn.functional.cross_entropy(model(split.images), split.labels))
    model.train()
    return loss


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
