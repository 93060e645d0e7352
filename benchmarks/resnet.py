"""ResNet-20 for CIFAR-10: He, Zhang, Ren, Sun, arXiv:1512.03385, section 4.2, with identity shortcuts (option A)."""

from __future__ import annotations

import itertools

from torch import Tensor, nn
from torch.nn import functional as F

BLOCKS, WIDTHS = 3, (16, 32, 64)


class Block(nn.Module):
    """Two 3x3 convolutions; the shortcut drops every second pixel and adds empty channels where the size changes."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.stride, self.grown = width // channels, width - channels
        self.conv1 = nn.Conv2d(channels, width, 3, self.stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, width, h / stride, w / stride)"""
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if self.grown:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.grown // 2, self.grown // 2))
        return F.relu(x + y)


def resnet20(wider: int = 1) -> nn.Module:
    """270 thousand weights in 19 convolutions and a linear layer; (n, 3, 32, 32) -> (n, 10) logits. wider: so many
    times as many channels."""
    widths = [wider * width for width in WIDTHS]
    stem = [nn.Conv2d(3, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()]
    channels = [widths[0], *(width for width in widths for _ in range(BLOCKS))]
    blocks = [Block(before, width) for before, width in itertools.pairwise(channels)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10))
