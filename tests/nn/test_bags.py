"""nn.bags: EmbeddingBag becomes look-ups that a graph holds and numpy runs alike, or is packed as weights, with why."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from secateur.errors import GraphError, SecateurWarning
from secateur.ir.execute import interpret
from secateur.ir.rules import Prune
from secateur.ir.target import Target
from secateur.nn.bags import as_rows_, refuse_offsets
from secateur.nn.harden import harden_
from secateur.nn.pack import pack
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.restore import restore_
from secateur.train.one_shot import one_shot_

IDS = torch.tensor([[1, 4, 4, 0], [0, 0, 0, 0], [5, 6, 2, 3]])


class Bags(nn.Module):
    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(0)
        self.bag = nn.EmbeddingBag(7, 5, **options)
        self.head = nn.Linear(5, 2)

    def forward(self, ids, weights=None):
        return self.head(self.bag(ids, per_sample_weights=weights))


class ByOffsets(Bags):
    def forward(self, ids, offsets):
        return self.head(self.bag(ids, offsets))


CASES = {
    "mean": ({}, False),
    "sum": ({"mode": "sum"}, False),
    "max": ({"mode": "max"}, False),
    "mean, padded": ({"padding_idx": 0}, False),
    "sum, padded": ({"mode": "sum", "padding_idx": 0}, False),
    "weighted": ({"mode": "sum"}, True),
    "weighted, padded": ({"mode": "sum", "padding_idx": 0}, True),
}


@pytest.mark.parametrize("name", CASES)
def test_the_graph_computes_what_torch_computes_for_any_batch(name):
    options, weighted = CASES[name]
    model = Bags(**options).eval()
    inputs = (IDS, torch.rand(3, 4)) if weighted else (IDS,)
    torch.testing.assert_close(as_rows_(copy.deepcopy(model))(*inputs), model(*inputs))
    artifact = pack(model, tuple(part[:2] for part in inputs))
    assert artifact.graph is not None
    found = interpret(artifact, *(part.numpy() for part in inputs))
    with torch.no_grad():
        np.testing.assert_allclose(found, model(*inputs).numpy(), rtol=1e-5, atol=1e-6)
    assert type(model).__name__ == "Bags"
    assert "forward" not in vars(model.bag)


def test_bags_by_offsets_go_the_line_as_weights_alone():
    model, inputs = ByOffsets(mode="sum"), (torch.tensor([1, 4, 4, 0, 5]), torch.tensor([0, 2]))
    rows = plan(model, inputs, prune=Prune())
    assert [row.name for row in rows.pruned] == ["bag.weight", "head.weight"]
    prepare_(model, rows)
    assert harden_(model, Target(density=0.4)).density == pytest.approx(0.4, abs=0.02)
    with pytest.warns(SecateurWarning, match=r"bag \(EmbeddingBag\) is given its bags as one list of ids with offsets"):
        artifact = pack(model.eval(), inputs)
    assert artifact.graph is None
    assert "rows of a matrix" in artifact.meta["weights_only"]
    torch.testing.assert_close(restore_(ByOffsets(mode="sum"), artifact)(*inputs), model(*inputs))


def test_a_limit_on_bytes_is_measured_on_the_file_of_bags_by_offsets():
    model, inputs = ByOffsets(mode="sum"), (torch.tensor([1, 4, 4, 0, 5]), torch.tensor([0, 2]))
    prepare_(model, plan(model, inputs, prune=Prune()))
    target = Target(packed_bytes=420, values="float16")
    harden_(model, target, example=inputs)
    with pytest.warns(SecateurWarning, match="offsets"):
        size = len(pack(model.eval(), inputs, values="float16").to_bytes())
    assert size <= 420


def test_offsets_of_one_batch_with_the_ids_are_refused_too():
    with pytest.warns(SecateurWarning, match="offsets"):
        assert pack(ByOffsets(), (torch.tensor([1, 4]), torch.tensor([0, 1]))).graph is None


def test_the_maximum_of_padded_bags_is_packed_as_weights():
    with pytest.warns(SecateurWarning, match="maximum over bags with padding"):
        assert pack(Bags(mode="max", padding_idx=0), IDS).graph is None


def test_a_model_without_bags_or_with_a_bag_of_its_own_forward_is_not_run():
    class Own(nn.EmbeddingBag):
        def forward(self, ids):
            raise AssertionError("run")

    refuse_offsets(Own(3, 2), IDS)
    refuse_offsets(nn.Linear(3, 2), IDS)
    assert "forward" not in vars(as_rows_(Own(3, 2)))
    with pytest.raises(GraphError, match="the model"):
        refuse_offsets(nn.EmbeddingBag(7, 2), (torch.tensor([1]), torch.tensor([0])))


def test_a_bag_is_cut_at_once_by_its_weights_and_that_is_told():
    model = Bags()
    prepare_(model, plan(model, IDS, prune=Prune()))
    result = one_shot_(model, Target(density=0.5), batches=[IDS])
    assert "bag.weight" in result.fallbacks
    assert result.density == pytest.approx(0.5, abs=0.02)
