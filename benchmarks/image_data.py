"""Labelled images in memory: three splits, shuffled batches, error. What the benchmarks on MNIST and CIFAR-10 share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SPLIT_SEED = 1
CHUNK = 1000
"""Images judged at once."""
MARGIN = 4
"""Pixels by which crop_and_flip moves an image at most."""


@dataclass(frozen=True)
class Split:
    """images: float32 (n, channels, height, width), normalised; labels: int64 (n,)."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Images:
    """Images to train on, images to select by, and a test set that is read once, at the end.

    augment  (images, generator) -> images of the same shape, what training may do to a batch
    """

    train: Split
    validation: Split
    test: Split
    augment: Callable[[Tensor, torch.Generator], Tensor]


def split_off(images: Tensor, labels: Tensor, validation: int) -> tuple[Split, Split]:
    """(train, validation), the same whatever the run's seed."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT_SEED))
    kept, held = order[:-validation], order[-validation:]
    return Split(images[kept], labels[kept]), Split(images[held], labels[held])


class Batches:
    """Shuffled full batches of the training images, channels-last, one pass a call of `epoch`; augmented if wanted.
    Everything random comes from the generator, so that its state is all there is to resume."""

    def __init__(self, data: Images, size: int, generator: torch.Generator, *, augmented: bool) -> None:
        self.data, self.size, self.generator, self.augmented = data, size, generator, augmented

    def __len__(self) -> int:
        return len(self.data.train.labels) // self.size

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(images, labels) of every full batch."""
        split = self.data.train
        order = torch.randperm(len(split.labels), generator=self.generator)
        for start in range(0, len(self) * self.size, self.size):
            chosen = order[start : start + self.size]
            images = split.images[chosen]
            if self.augmented:
                images = self.data.augment(images, self.generator)
            yield images.contiguous(memory_format=torch.channels_last), split.labels[chosen]


def crop_and_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Every image moved by at most MARGIN pixels in each direction, the mean coming in, half of them mirrored."""
    n, channels, height, width = images.shape
    padded = F.pad(images, (MARGIN,) * 4)
    tops, lefts = torch.randint(2 * MARGIN + 1, (2, n, 1), generator=generator)
    mirrored = torch.rand((n, 1), generator=generator) < 0.5
    rows = tops + torch.arange(height)
    columns = lefts + torch.where(mirrored, torch.arange(width).flip(0), torch.arange(width))
    wide = padded.gather(2, rows[:, None, :, None].expand(n, channels, height, padded.shape[3]))
    return wide.gather(3, columns[:, None, None, :].expand(n, channels, height, width))


def error(model: nn.Module, split: Split) -> float:
    """Per cent of a split that the model gets wrong, in evaluation mode and float32."""
    return 100 * int((guesses(model, split) != split.labels).sum()) / len(split.labels)


def guesses(model: nn.Module, split: Split) -> Tensor:
    """The class that the model decides for, image by image, in evaluation mode and float32."""
    return _logits(model, split).argmax(1)


def mean_loss(model: nn.Module, split: Split) -> float:
    """Mean cross-entropy of a split in nats: tells models apart where a few thousand images' errors are too coarse."""
    return float(F.cross_entropy(_logits(model, split), split.labels))


@torch.no_grad()
def _logits(model: nn.Module, split: Split) -> Tensor:
    model.eval()
    pieces = [model(part.contiguous(memory_format=torch.channels_last)) for part in split.images.split(CHUNK)]
    model.train()
    return torch.cat(pieces)
