"""The whole line for layers beyond linear and plain convolution: planned, trained, hardened, packed, run, restored."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import secateur as sct
from secateur.nn.transform import transforms_of

STEPS, DENSITY = 60, 0.2


class Classifier(nn.Module):
    """Embedding, two recurrent layers in both directions, the last states of the last layer."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.words = nn.Embedding(12, 16, padding_idx=0)
        self.layers = kind(16, 16, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(32, 3)

    def forward(self, ids: Tensor) -> Tensor:
        outputs, _ = self.layers(self.words(ids))
        return self.head(outputs.mean(1))


def texts(count: int) -> tuple[Tensor, Tensor]:
    """Sequences of 8 symbols; the class is whether 3 stands before 7, behind it, or one is missing."""
    ids = torch.randint(1, 12, (count, 8))
    first, second = (ids == 3).int(), (ids == 7).int()
    both = (first.sum(1) > 0) & (second.sum(1) > 0)
    return ids, torch.where(both, 1 + (first.argmax(1) > second.argmax(1)).long(), 0)


class Bag(nn.Module):
    """Which of two symbols a sequence holds does not depend on where they stand."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(12, 16, padding_idx=0)
        self.head = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3))

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.words(ids))


def holding(count: int) -> tuple[Tensor, Tensor]:
    """Up to 8 symbols, filled up with 0; the class says which of 3 and 7 there are: neither or both, 3, or 7."""
    ids = torch.randint(1, 12, (count, 8)) * (torch.arange(8) < torch.randint(4, 9, (count, 1)))
    first, second = (ids == 3).any(1), (ids == 7).any(1)
    return ids, torch.where(first ^ second, 1 + second.long(), 0)


def autoencoder() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 16, 3, stride=2, padding=1, output_padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 4, stride=2, padding=1),
    )


def bars(count: int) -> tuple[Tensor, Tensor]:
    """12 x 12 images with one bright row and one bright column: input and target alike."""
    images = torch.zeros(count, 1, 12, 12)
    rows, columns = torch.randint(12, (2, count))
    images[torch.arange(count), 0, rows] = 1
    images[torch.arange(count), 0, :, columns] = 1
    return images, images


def volumes() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2), nn.ConvTranspose3d(8, 1, 2, stride=2), nn.Flatten(2)
    )


def blobs(count: int) -> tuple[Tensor, Tensor]:
    """4 x 4 x 4 noise, whose neighbouring sums are the target."""
    x = torch.rand(count, 1, 4, 4, 4)
    return x, F.avg_pool3d(x, 2).repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4).flatten(2)


Data = Callable[[int], tuple[Tensor, Tensor]]
CASES: dict[str, tuple[Callable[[], nn.Module], Data, Callable[[Tensor, Tensor], Tensor]]] = {
    "lstm": (lambda: Classifier(nn.LSTM), texts, F.cross_entropy),
    "gru": (lambda: Classifier(nn.GRU), texts, F.cross_entropy),
    "rnn": (lambda: Classifier(nn.RNN), texts, F.cross_entropy),
    "bag": (Bag, holding, F.cross_entropy),
    "autoencoder": (autoencoder, bars, F.mse_loss),
    "volumes": (volumes, blobs, F.mse_loss),
}


@pytest.mark.parametrize(
    ("name", "granularity"), [*((name, "tensor") for name in CASES), ("lstm", "channel"), ("autoencoder", "channel")]
)
def test_the_whole_line(name: str, granularity: str, tmp_path) -> None:
    build, data, loss_of = CASES[name]
    torch.manual_seed(0)
    model, (example, wanted) = build(), data(64)
    keys = list(model.state_dict())
    plan = sct.plan(model, example, prune=sct.Prune(granularity=granularity))
    assert {row.name for row in plan.pruned} == {key for key, p in model.named_parameters() if p.dim() > 1}
    sct.prepare_(model, plan)
    target = sct.Target(density=DENSITY)
    optimizer = torch.optim.Adam(sct.param_groups(model), lr=5e-3)
    budget = sct.Budget(model, target, steps=STEPS)
    before = float(loss_of(model(example), wanted).detach())
    for _ in range(STEPS):
        x, y = data(64)
        loss = loss_of(model(x), y) + budget()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        budget.step()
    hardening = sct.harden_(model, target)
    assert hardening.density == pytest.approx(DENSITY, abs=1e-3)
    model.eval()
    with torch.no_grad():
        assert float(loss_of(model(example), wanted)) < before
    kept = {site.name: int(site.count()) for site in transforms_of(model)}

    artifact = sct.pack(model, example)
    assert artifact.graph is not None
    path = tmp_path / "model.secat"
    artifact.save(path)
    loaded = sct.Artifact.load(path)
    torch_says = model(example).detach().numpy()
    numpy_says = sct.interpret(loaded, example.numpy())
    assert isinstance(numpy_says, np.ndarray)
    np.testing.assert_allclose(numpy_says, torch_says, rtol=1e-4, atol=1e-5)
    result = sct.check(loaded, model, example)
    assert result.relative_difference < 1e-5
    assert result.agreement > 0.99

    fresh = sct.restore_(build().eval(), loaded)
    with torch.no_grad():
        torch.testing.assert_close(fresh(example), model(example), rtol=1e-4, atol=1e-5)
    assert all(int(fresh.get_parameter(name).count_nonzero()) <= count for name, count in kept.items())

    with torch.no_grad():
        expected = model(example)
        assert torch.equal(sct.strip_(model)(example), expected)
    assert list(model.state_dict()) == keys
    if isinstance(model, Classifier | Bag):
        assert not model.words.weight[0].any(), "the padding row has learned something"
