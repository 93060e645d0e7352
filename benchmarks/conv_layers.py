"""The convolutional layers of bench_conv.py and bench_sparse_conv.py: padding of half a kernel, with a bias."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from zlib import crc32

import numpy as np

from secateur.kernels.memory import aligned
from secateur.kernels.shape import ConvShape, convolve


@dataclass(frozen=True)
class Layer:
    """Channels in and out, the map's height and width, the taps of a side, and the stride."""

    in_channels: int
    out_channels: int
    height: int
    width: int
    taps: int = 3
    stride: int = 1

    @property
    def name(self) -> str:
        """As in 3x3 64-128@112, or @45x37 where the map is no square, or @56/2 with a stride of 2."""
        size = str(self.height) if self.height == self.width else f"{self.height}x{self.width}"
        size += f"/{self.stride}" if self.stride > 1 else ""
        return f"{self.taps}x{self.taps} {self.in_channels}-{self.out_channels}@{size}"

    def shape(self, batch: int) -> ConvShape:
        """As kernels know it."""
        channels, half = (self.in_channels, self.out_channels), self.taps // 2
        taps, stride, padding = (self.taps, self.taps), (self.stride, self.stride), (half, half, half, half)
        return ConvShape(batch, self.height, self.width, *channels, taps, stride, padding)


def _square(channels: int, side: int, taps: int = 3) -> Layer:
    return Layer(channels, channels, side, side, taps)


NETWORKS: dict[str, dict[Layer, int]] = {
    "ResNet-18": {_square(64, 56): 4, _square(128, 28): 3, _square(256, 14): 3, _square(512, 7): 3},
    "ResNet-50": {_square(64, 56): 3, _square(128, 28): 3, _square(256, 14): 5, _square(512, 7): 2},
    "VGG-16": {
        Layer(3, 64, 224, 224): 1,
        _square(64, 224): 1,
        Layer(64, 128, 112, 112): 1,
        _square(128, 112): 1,
        Layer(128, 256, 56, 56): 1,
        _square(256, 56): 2,
        Layer(256, 512, 28, 28): 1,
        _square(512, 28): 2,
        _square(512, 14): 3,
    },
}
"""All 3x3 layers of stride 1 for images of 224 x 224, and how often each occurs. He et al. 2015 (ResNet-50 strides on
its 3x3 layers), Simonyan and Zisserman 2014."""
LARGE = (
    _square(64, 56, 5),
    Layer(64, 192, 27, 27, 5),
    Layer(48, 128, 14, 14, 5),
    _square(64, 56, 7),
    _square(32, 112, 7),
    _square(128, 28, 7),
)
"""5x5 (the second and third as in AlexNet and GoogLeNet) and 7x7."""
ODD = (Layer(17, 33, 45, 37), Layer(128, 3, 200, 200), _square(96, 40), Layer(100, 50, 31, 31))
"""Channels and sizes that fit no register; the second as at the end of image enlargers."""
LAYERS: dict[str, Layer] = {layer.name: layer for group in (*NETWORKS.values(), LARGE, ODD) for layer in group}
PRUNED = (
    *(_square(channels, side) for channels, side in ((64, 56), (128, 28), (256, 14), (512, 7))),
    *(Layer(channels, 2 * channels, side, side, 3, 2) for channels, side in ((64, 56), (128, 28), (256, 14))),
    *(Layer(channels, 4 * channels, side, side, 1) for channels, side in ((64, 56), (128, 28), (256, 14), (512, 7))),
    *(Layer(4 * channels, channels, side, side, 1) for channels, side in ((64, 56), (128, 28), (256, 14), (512, 7))),
    *(Layer(channels, 2 * channels, side, side, 1, 2) for channels, side in ((256, 56), (1024, 14))),
    *(_square(channels, side, 1) for channels, side in ((128, 56), (256, 28), (512, 14), (1024, 7))),
)
"""Layers of ResNet-18 and 50 with 3x3 and 1x1 taps, and the 1x1 layers of MobileNet (Howard et al. 2017)."""
PRUNED_LAYERS: dict[str, Layer] = {layer.name: layer for layer in PRUNED}


def arrays(layer: Layer, batch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Input N(0, 1), channels_last; weights (k, c, r, s) as He et al. 2015 draw them; bias N(0, 1)."""
    draw, shape = np.random.default_rng(crc32(layer.name.encode())), layer.shape(batch)
    x = aligned(shape.input_shape)
    x[:] = draw.standard_normal(shape.input_shape, np.float32)
    spread = np.float32(sqrt(2 / (layer.in_channels * layer.taps**2)))
    weight = spread * draw.standard_normal(shape.weight_shape, np.float32)
    return x, weight, draw.standard_normal(shape.out_channels, np.float32)


def pruned(weight: np.ndarray, zeros: float) -> np.ndarray:
    """The weight with its smallest entries zero, so large a part of all."""
    count = round(zeros * weight.size)
    edge = np.partition(np.abs(weight), count, axis=None)[count]
    return np.where(np.abs(weight) < edge, np.float32(0), weight)


def reference(layer: Layer, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The direct sum in float64, channels_last, image by image to save memory."""
    one = layer.shape(1)
    return np.concatenate([convolve(one, image[None], weight) + bias for image in x])
