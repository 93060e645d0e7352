"""A residual network with batch norms that have seen data, for the tests of norms."""

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions beside a shortcut, a norm after each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.Conv2d(6, 6, 3, padding=1)
        self.norm1, self.norm2 = nn.BatchNorm2d(6), nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(self.conv1(x)).relu()
        return (x + self.norm2(self.conv2(y))).relu()


def inputs(count: int = 4, seed: int = 1) -> Tensor:
    """Images that are not centred."""
    return 2 * torch.randn(count, 3, 9, 9, generator=torch.Generator().manual_seed(seed)) + 0.5


def batch_normed(norm: nn.Module | None = None) -> nn.Sequential:
    """Its norms have statistics, gains and shifts of their own; `norm` takes the first one's place."""
    torch.manual_seed(0)
    stem = [nn.Conv2d(3, 6, 3, bias=False), norm or nn.BatchNorm2d(6), nn.ReLU()]
    model = nn.Sequential(*stem, Block(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 5), nn.BatchNorm1d(5))
    for seed in range(5):
        model(inputs(32, seed))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.2)
            nn.init.normal_(module.bias)
    return model.eval()
