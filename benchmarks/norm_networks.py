"""Networks whose normalization is a choice: a plain CNN of 12 convolutions without shortcuts, and a small ResNet."""

from __future__ import annotations

import functools
from collections.abc import Callable

from torch import Tensor, nn

Norm = Callable[[int], nn.Module]
Widths = tuple[int, int, int]
WIDE, NARROW = (16, 32, 48), (8, 16, 32)


def plain12(norm: Norm, *, widths: Widths = WIDE, stride: int = 1) -> nn.Module:
    """12 convolutions of 3x3 in three widths, strided where they change and, if wanted, at the first; nothing goes
    round them."""
    layers: list[nn.Module] = []
    channels = 1
    for width in widths:
        for depth in range(4):
            step = stride if channels == 1 else 2 if depth == 0 else 1
            layers += [nn.Conv2d(channels, width, 3, step, 1, bias=False), norm(width), nn.ReLU()]
            channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


class _Block(nn.Module):
    """He et al. 2015, figure 5 left; a strided 1x1 convolution where the shape changes."""

    def __init__(self, channels: int, width: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False), norm(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), norm(width)
        same = stride == 1 and channels == width
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels, width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(self.conv1(x)).relu()
        return (self.norm2(self.conv2(y)) + self.shortcut(x)).relu()


def small_resnet(norm: Norm, *, widths: Widths = WIDE, stride: int = 1) -> nn.Module:
    """Three blocks in three widths behind a convolution, which is strided if wanted."""
    first, second, third = widths
    stem = [nn.Conv2d(1, first, 3, stride, 1, bias=False), norm(first), nn.ReLU()]
    blocks = [_Block(first, first, 1, norm), _Block(first, second, 2, norm), _Block(second, third, 2, norm)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(third, 10))


NORM_NETWORKS: dict[str, Callable[[Norm], nn.Module]] = {
    "plain12": plain12,
    "small_resnet": small_resnet,
    "plain12_narrow": functools.partial(plain12, widths=NARROW, stride=2),
    "small_resnet_narrow": functools.partial(small_resnet, widths=NARROW, stride=2),
}
