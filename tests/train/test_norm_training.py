"""LagrangeNorm along the line: pruned, with learned widths of weights and maps, hardened, packed without norms."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from secateur.ir.execute import interpret
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.map_sites import maps_of
from secateur.nn.norms.lagrange_norm import LagrangeNorm
from secateur.nn.norms.swap import swap_norms_
from secateur.nn.pack import pack
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.train.fit import fit
from secateur.train.record import Record
from secateur.train.schedule import Schedule
from secateur.train.task import Task


def batch_normed():
    """A network whose batch norms have seen data."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU()
    )
    model.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)])
    for _ in range(20):
        model(torch.randn(16, 3, 8, 8))
    return model.eval()


def batches():
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(2, 3, 8, 8, generator=generator), torch.randint(0, 4, (2,), generator=generator))
        for _ in range(12)
    ]


def accuracy(outputs, labels):
    return float((outputs.argmax(1) == labels).float().mean())


@pytest.fixture(scope="module")
def trained():
    """(model, its artifact, what was recorded)"""
    model, seen = batch_normed(), []
    swap_norms_(model, "lagrange", torch.randn(1, 3, 8, 8))
    example = (torch.randn(1, 3, 8, 8),)
    prepare_(model, plan(model, example, prune=Prune(), quantize=Quantize({4, 8}), maps=Quantize({4, 8})))
    task = Task(model, example, batches(), batches(), F.cross_entropy, accuracy)
    fit(task, Target(density=0.5), schedule=Schedule(prune_epochs=4, finetune_epochs=2), watch=seen.append)
    return model.eval(), pack(model, example), [one for one in seen if isinstance(one, Record)]


def test_weights_are_pruned_and_maps_quantized_beside_the_constraints(trained):
    model, _, records = trained
    norms = {name: module for name, module in model.named_modules() if isinstance(module, LagrangeNorm)}
    assert all(set(record.norms) == set(norms) for record in records)
    assert all(norm.largest() > 0 for norm in norms.values()), "multipliers have ascended"
    weights = [module.weight for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    left = sum(int(torch.count_nonzero(one)) for one in weights) / sum(one.numel() for one in weights)
    assert left == pytest.approx(0.5, abs=0.01)
    assert maps_of(model)
    assert all(site.quantizer.bits in (4, 8) for site in maps_of(model))


def test_the_packed_network_has_no_norm_and_computes_what_was_trained(trained):
    model, artifact, _ = trained
    assert artifact.graph is not None
    assert "batch_norm" not in {node.op for node in artifact.graph.nodes}
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = model(x)
    torch.testing.assert_close(torch.from_numpy(interpret(artifact, x.numpy())), expected, rtol=1e-3, atol=1e-3)


def test_a_converted_network_packs_into_the_graph_of_a_folded_batch_norm():
    before, after = batch_normed(), batch_normed()
    swap_norms_(after, "lagrange", torch.randn(1, 3, 8, 8))
    graphs = [pack(model, (torch.randn(1, 3, 8, 8),)).graph for model in (before, after)]
    assert all(graph is not None for graph in graphs)
    first, second = ([(node.op, node.attributes, node.inputs) for node in graph.nodes] for graph in graphs)
    assert first == second, "the same operations on the same shapes take the same time"
    assert "batch_norm" not in {op for op, *_ in second}
