"""Six tasks of different kinds for `compress` with nothing but a density: networks that are trained already, real data.

Every builder takes a folder that holds what benchmarks/README.md lists and returns a Trial: the task as a user would
write it, the density to ask for, and test batches that compressing never sees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import mails
import minilm
import secateur as sct
from cifar_data import MEAN, STD, load_cifar
from float_training import FloatCourse, float_network
from image_data import Images, Split
from image_task import image_task, loader
from mnist_data import load_mnist
from networks import MnistNet, published_mnistnet
from published_networks import published_cifar_cnn, published_crepe_tiny
from record import HERE
from tones import bins, notes, within_50_cents

RUNS = HERE.parent / ".runs" / "defaults"
TOKENS = 64


@dataclass(frozen=True)
class Trial:
    """A task, what is asked of it, and how its result is judged: test batches like the task's own."""

    task: sct.Task
    test: Any
    density: float = 0.1
    allowed_drop: float = 0.01


def digits(_: Path) -> Trial:
    """1,797 scans of 8x8 pixels (scikit-learn), a small convolutional network trained here."""
    raw = load_digits()
    images, labels = torch.tensor(raw.images[:, None] / 8 - 1).float(), torch.tensor(raw.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    parts = [Split(images[part], labels[part]) for part in order.split([1197, 300, 300])]
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10)),
    )
    return _classifier(
        _trained(model, Images(*parts, _as_it_is), "digits", epochs=60, lr=0.05), Images(*parts, _as_it_is)
    )


def fashion(data: Path) -> Trial:
    """Fashion-MNIST, 55,000 images, two convolutions and two dense layers trained here."""
    images = load_mnist(data / "fashion-mnist")
    torch.manual_seed(0)
    return _classifier(_trained(MnistNet(), images, "fashion", epochs=8, lr=0.05), images)


def mnistnet(data: Path) -> Trial:
    """MNIST and the published MNISTNet."""
    return _classifier(published_mnistnet(data), load_mnist(data / "mnist"))


def cifar(data: Path) -> Trial:
    """CIFAR-10 and the published network of `cifar-10-model`, which wants raw pixels."""
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (MEAN, STD))
    found = load_cifar(data)
    parts = [Split((s.images * std + mean) * 255, s.labels) for s in (found.train, found.validation, found.test)]
    return _classifier(published_cifar_cnn(data), Images(*parts, _as_it_is))


def crepe(data: Path) -> Trial:
    """Pitch of synthetic notes and the published small CREPE network."""
    sets = [TensorDataset(*notes(count, seed)) for count, seed in ((16_000, 1), (2_000, 2), (2_000, 3))]

    def loss(output: Tensor, cents: Tensor) -> Tensor:
        return F.binary_cross_entropy(output, bins(cents))

    train, val, test = loader(sets[0], shuffled=True), loader(sets[1]), loader(sets[2])
    task = sct.Task(published_crepe_tiny(data), sets[0].tensors[0][:2], train, val, loss, within_50_cents)
    return Trial(task, test)


class Encoder(nn.Module):
    """A sentence encoder that takes token numbers alone: 0 fills up."""

    def __init__(self, model: minilm.MiniLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        """int64 (batch, tokens) -> (batch, width)."""
        return self.model(ids, ids != 0)


def encoder(data: Path) -> Trial:
    """all-MiniLM-L6-v2 on passages of mails; what it should say is what the dense model says."""
    published, tokenizer = minilm.load(data)
    model = Encoder(published)
    model.model.word.weight.requires_grad_(False)
    model.model.position.requires_grad_(False)
    text = mails.read(data)
    sets = [_with_embeddings(model, tokenizer, part) for part in (text.train, text.validation, text.held_out)]

    def similarity(output: Tensor, wanted: Tensor) -> Tensor:
        return F.cosine_similarity(output, wanted).mean()

    train, val, test = loader(sets[0], shuffled=True, size=32), loader(sets[1]), loader(sets[2])
    example = sets[0].tensors[0][:2]
    task = sct.Task(model, example, train, val, lambda o, w: 1 - similarity(o, w), lambda o, w: float(similarity(o, w)))
    return Trial(task, test, density=0.5, allowed_drop=0.03)


TRIALS: dict[str, Callable[[Path], Trial]] = {
    "digits": digits,
    "fashion": fashion,
    "mnistnet": mnistnet,
    "cifar": cifar,
    "crepe": crepe,
    "minilm": encoder,
}


@torch.no_grad()
def _with_embeddings(model: Encoder, tokenizer: Any, texts: tuple[str, ...]) -> TensorDataset:
    ids, mask = minilm.encoded(tokenizer, list(texts), TOKENS)
    ids = ids * mask
    return TensorDataset(ids, torch.cat([model(part) for part in ids.split(256)]))


def _as_it_is(images: Tensor, _: torch.Generator) -> Tensor:
    return images


def _trained(model: nn.Module, data: Images, name: str, *, epochs: int, lr: float) -> nn.Module:
    RUNS.mkdir(parents=True, exist_ok=True)
    float_network(model, data, RUNS / f"{name}-{epochs}.pt", FloatCourse(epochs, lr, 0))
    return model


def _classifier(model: nn.Module, data: Images) -> Trial:
    return Trial(*image_task(model, data))
