"""The networks of the CIFAR-10 benchmark, from small to deep, and how their float form is trained."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from resnet import resnet20


def lenet5_cifar() -> nn.Module:
    """LeNet-5 with a ReLU after every layer, as networks for CIFAR-10 usually have it: 62 thousand parameters."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def vgg_like() -> nn.Module:
    """Six 3x3 convolutions with batch norm in three pairs of 32, 64 and 128 channels, then one linear layer: VGG's plan
    (Simonyan and Zisserman, arXiv 1409.1556) in the size of ResNet-20's work, 0.3 million parameters."""
    layers: list[nn.Module] = []
    channels = 3
    for width in (32, 64, 128):
        for _ in range(2):
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * 16, 10))


CIFAR_NETWORKS: dict[str, tuple[Callable[[], nn.Module], float]] = {
    "lenet5_cifar": (lenet5_cifar, 0.02),
    "vgg_like": (vgg_like, 0.1),
    "resnet20": (resnet20, 0.1),
}
"""Name -> (builder, peak rate of the float network's training by SGD with momentum 0.9)."""
