"""CIFAR-10 from two archives of JPEG files: in memory, normalised, split once and for all.

Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009. An archive is a .npz of three arrays:
blob (the JPEG files one after another), off (where each one starts, and the end), y (labels). Published accuracies are
those of the lossless images: only differences on the same archive count.
"""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from image_data import Images, Split, crop_and_flip, split_off

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
"""Of the training pixels in 0..1, by channel."""
VALIDATION = 5_000


def load_cifar(folder: Path) -> Images:
    """cifar10_train_jpeg.npz and cifar10_test_jpeg.npz of a folder: 45,000 + 5,000 + 10,000 images."""
    train, validation = split_off(*_read(folder / "cifar10_train_jpeg.npz"), VALIDATION)
    return Images(train, validation, Split(*_read(folder / "cifar10_test_jpeg.npz")), crop_and_flip)


def _read(path: Path) -> tuple[Tensor, Tensor]:
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: give the folder that holds the two archives")
    with np.load(path) as archive:
        blob, offsets, labels = archive["blob"].tobytes(), archive["off"].tolist(), archive["y"]
    pixels = np.stack([_decode(blob[a:b]) for a, b in itertools.pairwise(offsets)])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255)
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (MEAN, STD))
    return images.sub_(mean).div_(std), torch.from_numpy(labels).long()


def _decode(jpeg: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
        return np.asarray(image.convert("RGB"))
