"""Small networks whose weights torch.nn.utils.prune, spectral_norm and weight_norm compute in every forward pass."""

import torch
from torch import nn
from torch.nn.utils import prune, spectral_norm, weight_norm

IGNORED = "ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning"
UTILITIES = {
    "prune": lambda layer: prune.l1_unstructured(layer, "weight", amount=0.5),
    "spectral_norm": spectral_norm,
    "weight_norm": weight_norm,
}
UNDO = {"prune": "prune.remove", "spectral_norm": "remove_spectral_norm", "weight_norm": "remove_weight_norm"}
INPUTS = {
    "convolutional": torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
    "linear": torch.randn(3, 12, generator=torch.Generator().manual_seed(0)),
}
BOTH = tuple(INPUTS)


def plain_net(kind):
    if kind == "linear":
        return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 5))
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)
    )


def layers_of(model):
    return [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def trained(kind, utility, *, first=0, seed=0):
    """With the utility at every layer from this one on, and what autograd has left behind after two training steps."""
    torch.manual_seed(seed)
    model = plain_net(kind)
    for layer in layers_of(model)[first:]:
        UTILITIES[utility](layer)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        model(INPUTS[kind]).square().sum().backward()
        optimizer.step()
    return model


class Block(nn.Module):
    """A matrix of its own, and a layer."""

    def __init__(self, utility):
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(16, 12) / 4)
        UTILITIES[utility](self)
        self.out = nn.Linear(16, 4)

    def forward(self, x):
        return self.out(nn.functional.linear(x, self.weight).relu())


class Attention(nn.Module):
    """MultiheadAttention reads the weight of its out_proj and never calls it, so that hooks of out_proj never run."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        prune.l1_unstructured(self.attention.out_proj, "weight", amount=0.5)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]
