"""compression.histograms: counts of the right weights, and plain data that comes back equal."""

import json

import numpy as np
import torch

from prepared import EXAMPLE, small_net
from secateur.compression.histograms import DENSE, histograms_from, plain, weight_histograms
from secateur.ir.rules import Prune
from secateur.ir.target import Target
from secateur.nn.harden import harden_
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.transform import transforms_of


def test_counts_are_of_the_dense_and_of_the_hardened_weights():
    dense, model = small_net(), small_net()
    prepare_(model, plan(model, EXAMPLE, prune=Prune()))
    with torch.no_grad():
        transforms_of(model)[0].original.mul_(2)
    hardening = harden_(model, Target(density=0.3))
    drawn = weight_histograms(dense, model, hardening, "cut")
    assert [one.name for one in drawn] == [row.name for row in hardening.tensors]
    first = drawn[0]
    before = dense[0].weight.detach().numpy()
    assert first.series[DENSE] == tuple(np.histogram(before, first.edges)[0])
    assert first.series["cut"] == tuple(np.histogram(2 * before, first.edges)[0])
    assert histograms_from(json.loads(json.dumps(plain(drawn)))) == drawn
