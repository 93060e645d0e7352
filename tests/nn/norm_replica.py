"""One process of a data-parallel run, for test_norms_parallel: python norm_replica.py FOLDER RANK."""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import secateur as sct

STEPS, PARTS = 3, 2


def network() -> nn.Sequential:
    """Two layers with constraints, multipliers that are not 0."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), sct.LagrangeNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 5), sct.LagrangeNorm1d(5)
    )
    for module in model.modules():
        if isinstance(module, sct.LagrangeNorm1d | sct.LagrangeNorm2d):
            nn.init.normal_(module.multipliers)
    return model


def part(step: int, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What a process sees in a step: images and targets."""
    generator = torch.Generator().manual_seed(10 * step + rank)
    return 2 * torch.randn(4, 3, 6, 6, generator=generator) + 0.5, torch.randn(4, 5, generator=generator)


def loss_of(model: nn.Module, step: int, rank: int) -> torch.Tensor:
    """Of one process."""
    x, y = part(step, rank)
    return (model(x) - y).square().mean() + sct.norm_penalty(model)


def optimizer_of(model: nn.Module) -> torch.optim.SGD:
    """Fast enough that multipliers move visibly."""
    return torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.5)


def main(folder: Path, rank: int) -> None:
    """Train; rank 0 keeps the weights."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=PARTS)
    model = network()
    replica, optimizer = DistributedDataParallel(model), optimizer_of(model)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss_of(replica, step, rank).backward()
        optimizer.step()
    torch.save(model.state_dict(), folder / f"weights{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
