"""Networks for 224x224 images, written plainly, with random He weights: their speed does not depend on the values.

VGG-16: Simonyan and Zisserman, arXiv:1409.1556, configuration D. ResNet-18 and ResNet-50: He, Zhang, Ren, Sun,
arXiv:1512.03385, table 1, with the stride of a bottleneck in its 3x3 convolution, as everybody runs it. MobileNet-V2:
Sandler, Howard, Zhu, Zhmoginov, Chen, arXiv:1801.04381, table 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

VGG_WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))

MOBILENET = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Factor of the channels inside, channels, blocks, and the stride of the first."""


def vgg16() -> nn.Module:
    """13 convolutions, all 3x3, and three linear layers."""
    layers: list[nn.Module] = []
    channels = 3
    for stage in VGG_WIDTHS:
        for width in stage:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2))
    head = [nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000)]
    return _he(nn.Sequential(*layers, nn.Flatten(), *head))


class Residual(nn.Module):
    """Convolutions with batch norms around a shortcut: basic (3x3, 3x3) or bottleneck (1x1, 3x3, 1x1 to 4 times)."""

    def __init__(self, channels: int, width: int, stride: int, *, bottleneck: bool) -> None:
        super().__init__()
        out = 4 * width if bottleneck else width
        self.relu = nn.ReLU(inplace=True)
        if bottleneck:
            shape = [(channels, width, 1, 1), (width, width, 3, stride), (width, out, 1, 1)]
        else:
            shape = [(channels, width, 3, stride), (width, width, 3, 1)]
        path: list[nn.Module] = []
        for inputs, outputs, taps, step in shape:
            path += [nn.Conv2d(inputs, outputs, taps, step, taps // 2, bias=False), nn.BatchNorm2d(outputs), self.relu]
        self.path = nn.Sequential(*path[:-1])
        short = [nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)]
        self.short = nn.Sequential(*short) if stride > 1 or channels != out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, out, h / stride, w / stride)"""
        return self.relu(self.path(x) + self.short(x))


def resnet18() -> nn.Module:
    """Basic blocks 2, 2, 2, 2."""
    return _resnet((2, 2, 2, 2), bottleneck=False)


def resnet50() -> nn.Module:
    """Bottleneck blocks 3, 4, 6, 3."""
    return _resnet((3, 4, 6, 3), bottleneck=True)


def _resnet(counts: tuple[int, ...], *, bottleneck: bool) -> nn.Module:
    layers = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for stage, count in enumerate(counts):
        width = 64 << stage
        for block in range(count):
            stride = 2 if stage and not block else 1
            layers.append(Residual(channels, width, stride, bottleneck=bottleneck))
            channels = 4 * width if bottleneck else width
    return _he(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000)))


class Inverted(nn.Module):
    """1x1 to a multiple of the channels, 3x3 depthwise, 1x1 back; the input added where the shape allows."""

    def __init__(self, channels: int, out: int, stride: int, times: int) -> None:
        super().__init__()
        wide = channels * times
        path = _norm_relu6(channels, wide, 1, 1, groups=1) if times > 1 else []
        path += _norm_relu6(wide, wide, 3, stride, groups=wide)
        self.path = nn.Sequential(*path, nn.Conv2d(wide, out, 1, bias=False), nn.BatchNorm2d(out))
        self.added = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, out, h / stride, w / stride)"""
        return x + self.path(x) if self.added else self.path(x)


def _norm_relu6(channels: int, out: int, taps: int, stride: int, *, groups: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, out, taps, stride, taps // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(out), nn.ReLU6(inplace=True)]


def mobilenet_v2() -> nn.Module:
    """17 inverted bottlenecks."""
    layers, channels = _norm_relu6(3, 32, 3, 2, groups=1), 32
    for times, out, count, first in MOBILENET:
        for block in range(count):
            layers.append(Inverted(channels, out, 1 if block else first, times))
            channels = out
    layers += _norm_relu6(channels, 1280, 1, 1, groups=1)
    return _he(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000)))


def _he(model: nn.Module) -> nn.Module:
    """He, Zhang, Ren, Sun, arXiv:1502.01852, equation 10; statistics of the norms as after training."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_in" if isinstance(module, nn.Conv2d) else "fan_out")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.3, 0.7)
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


IMAGENET_NETWORKS = {"vgg16": vgg16, "resnet18": resnet18, "resnet50": resnet50, "mobilenet_v2": mobilenet_v2}


def image(size: int) -> Tensor:
    """A batch of one."""
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
