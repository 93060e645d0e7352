"""nn.unused: data-parallel training, where every parameter needs a gradient in every step."""

from datetime import timedelta

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from prepared import small_net
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.harden import harden_
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.strip import strip_
from secateur.nn.unused import with_place_for
from secateur.train.budget import Budget

X = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(2))
LABELS = torch.arange(8) % 3
WIDTHS = Quantize(bits=(2, 8))
MADE = {
    "pruned": ({"prune": Prune()}, Target(density=0.3)),
    "balanced": ({"prune": Prune("balanced", n=2, m=4)}, Target(density=0.5)),
    "widths": ({"quantize": WIDTHS}, Target(average_bits=4)),
    "both": ({"prune": Prune(), "quantize": WIDTHS}, Target(density=0.3)),
    "maps": (
        {"prune": Prune(), "quantize": WIDTHS, "maps": Quantize(bits=(4, 8))},
        Target(density=0.3, average_bits=4),
    ),
    "dynamic maps": ({"quantize": WIDTHS, "maps": "dynamic"}, Target(average_bits=4)),
}


@pytest.fixture
def one_process(tmp_path):
    """A group of this process alone: what DistributedDataParallel expects of a step does not depend on how many."""
    meet = f"file://{tmp_path / 'meet'}"
    distributed.init_process_group("gloo", init_method=meet, rank=0, world_size=1, timeout=timedelta(seconds=60))
    yield
    distributed.destroy_process_group()


def made(kind):
    rules, target = MADE[kind]
    model = small_net()
    return prepare_(model, plan(model, X, **rules)), target


def trained(model, parallel, target, steps):
    """With a Budget while soft."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    soft = target is not None
    budget = Budget(model, target, steps=steps) if soft else None
    for _ in range(steps):
        loss = nn.functional.cross_entropy(parallel(X), LABELS) + (budget() if budget else 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if budget:
            budget.step()
    return model


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("unused", [False, True], ids=["default", "find_unused"])
@pytest.mark.parametrize("kind", MADE)
def test_every_phase_trains_in_parallel(kind, unused):
    model, target = made(kind)
    parallel = DistributedDataParallel(model, find_unused_parameters=unused)
    trained(model, parallel, target, 12)
    harden_(model, target)
    trained(model, parallel, None, 3)  # the same wrapper goes on
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    loaded, _ = made(kind)
    loaded.load_state_dict(model.state_dict())
    trained(loaded, DistributedDataParallel(loaded, find_unused_parameters=unused), None, 3)


@pytest.mark.parametrize("kind", MADE)
def test_a_parallel_run_of_one_process_is_the_plain_run(kind, request):
    """With an optimizer that does not count steps; and what is left has neither places nor thresholds."""
    alone, target = made(kind)
    wrapped, _ = made(kind)
    trained(alone, alone, target, 8)
    harden_(alone, target)
    request.getfixturevalue("one_process")
    trained(wrapped, DistributedDataParallel(wrapped), target, 8)
    harden_(wrapped, target)
    for name, tensor in alone.state_dict().items():
        assert torch.equal(tensor, wrapped.state_dict()[name]), name
    if kind == "pruned":
        trained(strip_(wrapped), DistributedDataParallel(wrapped), None, 2)


def test_only_a_distributed_run_has_gradients_of_0(request):
    x, unused = torch.ones(3, requires_grad=True), nn.Parameter(torch.full((2,), float("inf")))
    assert with_place_for([unused], x) is x
    request.getfixturevalue("one_process")
    placed = with_place_for([unused], x)
    assert torch.equal(placed, x)
    placed.sum().backward()
    assert unused.grad is not None
    assert not unused.grad.any()
    unused.requires_grad_(False)
    assert with_place_for([unused], x) is x
    with torch.no_grad():
        assert with_place_for([unused.requires_grad_(True)], x) is x
