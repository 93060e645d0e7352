"""Small prepared models the tests of nn and train share."""

import torch
from torch import nn

from secateur.ir.rules import Prune, Quantize
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 3)
    )


EXAMPLE = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def prepared(rule: Prune | None = None, quantize: Quantize | None = None) -> nn.Sequential:
    model = small_net()
    return prepare_(model, plan(model, EXAMPLE, prune=rule or Prune(), quantize=quantize))


def quantized(rule: Quantize) -> nn.Sequential:
    """Quantized alone, not pruned."""
    model = small_net()
    return prepare_(model, plan(model, EXAMPLE, quantize=rule))


class Tied(nn.Module):
    """An embedding whose matrix is also the output layer's, as in language models."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids):
        return self.head(self.embed(ids))
