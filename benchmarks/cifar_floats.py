"""Float networks for CIFAR-10 that benchmarks start from: one a network and seed, trained once and kept in floats/."""

from __future__ import annotations

import torch
from torch import nn

from cifar_networks import CIFAR_NETWORKS
from float_training import FloatCourse, float_network
from image_data import Images
from record import HERE

FLOATS = HERE / "floats"
RUNS = HERE.parent / ".runs" / "cifar"
EPOCHS = 30


def cifar_float(name: str, seed: int, data: Images, *, epochs: int = EPOCHS, precision: str = "bfloat16") -> nn.Module:
    """The network as it is in floats/; where it is not, trained, in this precision, and put there."""
    build, lr = CIFAR_NETWORKS[name]
    torch.manual_seed(seed)
    model, kept = build(), FLOATS / f"{name}-{epochs}-{seed}.pt"
    if kept.exists():
        model.load_state_dict(torch.load(kept, weights_only=True))
        return model.to(memory_format=torch.channels_last)
    RUNS.mkdir(parents=True, exist_ok=True)
    float_network(model, data, RUNS / f"{name}-float-{epochs}-{seed}.pt", FloatCourse(epochs, lr, seed, precision))
    FLOATS.mkdir(exist_ok=True)
    torch.save(model.state_dict(), kept)
    return model
