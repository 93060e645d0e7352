"""Small models of every kind the graph can hold, with seeded weights and statistics, and inputs for each."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.ir.artifact import Artifact
from secateur.nn.pack import pack
from secateur.nn.trace import Traced, trace

torch.set_num_threads(1)


def lenet5() -> nn.Module:
    """LeNet-5-Caffe for 1 x 16 x 16 images, narrower."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 5),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.Conv2d(4, 6, 3),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 10),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(10, 10),
    )


class ResidualNet(nn.Module):
    """Batch norm, a residual, a projected residual, a depthwise convolution, a concatenation, adaptive pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(8)
        self.conv = nn.Conv2d(8, 8, 3, padding="same", padding_mode="reflect")
        self.norm = nn.BatchNorm2d(8, eps=1e-3)
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8, bias=False)
        self.down_norm = nn.BatchNorm2d(8)
        self.point = nn.Conv2d(8, 12, 1, bias=False)
        self.point_norm = nn.BatchNorm2d(12, affine=False)
        self.shortcut = nn.Conv2d(8, 12, 1, stride=2)
        self.input_norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu_(self.stem_norm(self.stem(self.input_norm(x))))
        x = F.relu(self.norm(self.conv(x)) + x)
        y = F.hardswish(self.down_norm(self.down(x)))
        y = F.relu6(self.point_norm(self.point(y)) + self.shortcut(x))
        y = torch.cat([y, F.avg_pool2d(x, 2)], 1)
        return self.head(F.adaptive_avg_pool2d(y, 1).flatten(1))


def waves() -> nn.Module:
    """A 1-D network: strides, an even kernel with padding "same", one slope a channel."""
    return nn.Sequential(
        nn.Conv1d(2, 6, 4, padding="valid", stride=2),
        nn.BatchNorm1d(6),
        nn.PReLU(6),
        nn.Conv1d(6, 4, 3, padding="same", dilation=2),
        nn.GELU(),
        nn.AdaptiveMaxPool1d(3),
        nn.Flatten(),
        nn.Linear(12, 4),
        nn.BatchNorm1d(4),
        nn.Softmax(-1),
    )


def pools() -> nn.Module:
    """Average pools with padding and ceil_mode, group norm, and an upsampling."""
    return nn.Sequential(
        nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        nn.Conv2d(2, 4, 3, padding=1),
        nn.GroupNorm(2, 4),
        nn.SiLU(),
        nn.Upsample(scale_factor=2),
        nn.AdaptiveAvgPool2d((3, 2)),
        nn.Flatten(),
        nn.Linear(24, 3),
    )


class SelfAttention(nn.Module):
    """nn.MultiheadAttention of a sequence with itself; gives the averaged weights too."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.attention(x, x, x, key_padding_mask=padding)


class Encoder(nn.Module):
    """nn.TransformerEncoder, with a padding mask."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        return self.encoder(x, src_key_padding_mask=padding)


class Sentence(nn.Module):
    """What a sentence encoder does: embeddings, attention with an additive mask, mean pooling; a tied head on top."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 8, padding_idx=0)
        self.places = nn.Embedding(16, 8)
        self.register_buffer("positions", torch.arange(16)[None])
        self.register_buffer("scales", torch.linspace(0.5, 1, 16)[:, None], persistent=False)
        self.norm = nn.LayerNorm(8)
        self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))
        self.out = nn.Linear(8, 8)
        self.head = nn.Linear(8, 20, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        length = ids.shape[1]
        x = self.words(ids) + self.places(self.positions[:, :length]) * self.scales[:length]
        x = self.norm(x)
        q, k, v = (
            layer(x).view(x.shape[0], length, 2, 4).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        added = (1.0 - mask[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
        attended = torch.softmax(q @ k.transpose(-1, -2) / 2 + added, -1) @ v
        x = x + self.out(attended.transpose(1, 2).reshape(x.shape[0], length, 8))
        weights = mask.unsqueeze(-1).expand(x.size()).float()
        pooled = (x * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
        return {"sentence": pooled, "words": self.head(x)}


class Reader(nn.Module):
    """A classifier of sequences: embedding, an LSTM in both directions, and the last states of both."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 6, padding_idx=0)
        self.lstm = nn.LSTM(6, 8, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, ids: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(self.words(ids))
        return self.head(torch.cat([hidden[-2], hidden[-1]], 1))


class Translator(nn.Module):
    """An encoder whose last states begin a decoder; one with time first, one without biases."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(8, 6)
        self.decoder = nn.LSTM(8, 6, batch_first=True, bias=False)
        self.smooth = nn.GRU(6, 3, batch_first=True, bidirectional=True)
        self.last = nn.RNN(6, 4, batch_first=True, nonlinearity="relu")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        _, states = self.encoder(x.transpose(0, 1))
        y, _ = self.decoder(x, states)
        return self.last(self.smooth(y)[0])


def autoencoder() -> nn.Module:
    """Down by strided convolutions, up by transposed ones: dense, depthwise, in groups, with norms between them."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(12, 8, 3, stride=2, padding=1, output_padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 8, 2, groups=8),
        nn.ConvTranspose2d(8, 4, 2, groups=2, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 1, 4, stride=2, padding=3, dilation=2),
    )


def volumes() -> nn.Module:
    """Three spatial axes."""
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm3d(4),
        nn.ReLU(),
        nn.MaxPool3d(2),
        nn.ConvTranspose3d(4, 3, 2, stride=2),
        nn.ReLU(),
        nn.ConvTranspose3d(3, 2, 1),
        nn.Flatten(2),
        nn.ConvTranspose1d(2, 2, 3),
    )


def _images(channels: int, size: int) -> Callable[[int], Tensor]:
    return lambda batch: torch.randn(batch, channels, size, size)


def _sequences(batch: int) -> Tensor:
    return torch.randn(batch, 5, 8)


def _padded_sequences(batch: int) -> tuple[Tensor, Tensor]:
    return _sequences(batch), torch.arange(5)[None] >= torch.randint(1, 6, (batch, 1))


def _texts(batch: int) -> tuple[Tensor, Tensor]:
    return torch.randint(0, 20, (batch, 5)), (torch.arange(5)[None] < torch.randint(1, 6, (batch, 1))).long()


ZOO: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Tensor | tuple[Tensor, ...]]]] = {
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)), lambda batch: torch.randn(batch, 6)),
    "lenet5": (lenet5, _images(1, 16)),
    "residual": (ResidualNet, _images(3, 8)),
    "waves": (waves, lambda batch: torch.randn(batch, 2, 13)),
    "pools": (pools, _images(2, 9)),
    "attention": (SelfAttention, _sequences),
    "masked attention": (SelfAttention, _padded_sequences),
    "encoder layer, norm first": (
        lambda: nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, norm_first=True, activation="gelu"),
        _sequences,
    ),
    "encoder": (Encoder, _padded_sequences),
    "sentence": (Sentence, _texts),
    "reader": (Reader, lambda batch: torch.randint(0, 20, (batch, 7))),
    "translator": (Translator, _sequences),
    "autoencoder": (autoencoder, _images(1, 12)),
    "volumes": (volumes, lambda batch: torch.randn(batch, 1, 4, 6, 4)),
}


@cache
def model_of(name: str) -> nn.Module:
    """The model, in evaluation mode, with statistics, gains and shifts that are not their defaults, half of the
    weights zero and some units dead. Shared: do not change it."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(7)
        model = ZOO[name][0]().eval()
        for key, tensor in model.state_dict().items():
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.is_floating_point() and tensor.ndim == 1:
                tensor.add_(0.3 * torch.randn_like(tensor))
            elif tensor.is_floating_point():
                tensor.mul_(torch.rand_like(tensor) < 0.5)
                tensor[1] = 0
                tensor[:, -1] = 0
    return model


def inputs_of(name: str, batch: int, seed: int = 0) -> tuple[Tensor, ...]:
    """Inputs of a batch size."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = ZOO[name][1](batch)
    return made if isinstance(made, tuple) else (made,)


@cache
def traced_of(name: str) -> Traced:
    """The model's graph, traced once."""
    return trace(model_of(name), inputs_of(name, 2))


@cache
def packed(name: str) -> Artifact:
    """The model as an artifact, packed once, from the one trace."""
    with mock.patch("secateur.nn.pack.trace", return_value=traced_of(name)):
        return pack(model_of(name), inputs_of(name, 2))


def another(name: str) -> nn.Module:
    """A new model of the same architecture with other weights: what an artifact is restored into."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        return ZOO[name][0]().eval()
