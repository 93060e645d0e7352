"""nn.pack on weights with n of every m inputs: the pattern stays, or what it went for is said."""

import pytest
import torch
from torch import nn

from secateur.ir.artifact import Artifact
from secateur.ir.describe import describe
from secateur.ir.pattern import Pattern
from secateur.nn.check import check
from secateur.nn.grouping import Grouping
from secateur.nn.pack import pack
from secateur.nn.restore import restore_


def patterned(inputs):
    """4:16 in the last layer, of which nobody reads unit 3 of the layer before."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 48)).eval()
    weight = model[2].weight.data
    weight[:, 3] = 0
    weight *= Grouping.of((48, 64), 0, Pattern(4, 16)).project(weight.abs(), Pattern(4, 16))
    return model, torch.randn(2, inputs)


@pytest.mark.parametrize(("inputs", "sort", "holds"), [(20, False, True), (5000, False, False), (20, True, False)])
def test_a_pattern_outlives_packing_or_it_is_said(inputs, sort, holds):
    model, x = patterned(inputs)
    artifact = Artifact.from_bytes(pack(model, x, sort=sort).to_bytes())
    assert check(artifact, model, x).relative_difference < 1e-5
    found = {row.name: row.pattern for row in describe(artifact)}["2.weight"]
    assert (found is not None and found.pattern == "4:16") == holds
    why = "1 dead units of 0 stay: 4:16 of 2.weight would not hold without them"
    lost = "2.weight no longer has 4:16: its inputs were removed or sorted"
    assert artifact.meta["notes"] == [why if holds else lost]
    restored = restore_(nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 48)).eval(), artifact)
    torch.testing.assert_close(restored(x), model(x), rtol=1e-4, atol=1e-5)
