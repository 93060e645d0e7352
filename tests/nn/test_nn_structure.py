"""Structure while hardening: exact densities still, fewer rows and columns in use, no tensor gaining on others."""

import pytest
import torch

from prepared import prepared
from secateur.errors import TargetError
from secateur.ir.target import Target
from secateur.nn.harden import harden_
from secateur.nn.structure import structured
from secateur.nn.transform import transforms_of


def masks(structure, density=0.1, seed=0):
    torch.manual_seed(seed)
    model = prepared()
    result = harden_(model, Target(density=density), structure=structure)
    found = [site.transform.prune.mask for site in transforms_of(model)]
    assert sum(int(mask.sum()) for mask in found) == sum(row.nonzeros for row in result.tensors)
    return found


def lines(found):
    flat = [mask.reshape(len(mask), -1) for mask in found]
    return sum(int(mask.any(0).sum() + mask.any(1).sum()) for mask in flat)


@pytest.mark.parametrize("density", [0.05, 0.3, 1.0])
def test_density_stays_exact(density):
    counts = {structure: sum(int(mask.sum()) for mask in masks(structure, density)) for structure in (0.0, 0.5, 2.0)}
    assert len(set(counts.values())) == 1


def test_fewer_rows_and_columns_are_in_use():
    used = {s: sum(lines(masks(s, seed=seed)) for seed in range(5)) for s in (0.0, 0.5, 2.0)}
    assert used[2.0] < used[0.5] < used[0.0]


def test_without_structure_scores_alone_decide():
    for one, other in zip(masks(0.0), masks(1e-9), strict=True):
        assert torch.equal(one, other)


def test_tensors_keep_as_many_as_without():
    plain, found = (masks(structure, 0.2) for structure in (0.0, 1.0))
    assert [int(mask.sum()) for mask in plain] == [int(mask.sum()) for mask in found]
    assert not all(torch.equal(one, other) for one, other in zip(plain, found, strict=True))


def test_the_weight_with_company_stays():
    score = torch.full((4, 4), 0.1)
    score[0, :3] = 1.0
    score[0, 3], score[2, 2] = 0.9, 0.95
    assert structured(score, 4, 0.0)[2, 2]
    assert structured(score, 4, 0.5)[0].all()


def test_scores_of_zero_and_nothing_to_keep():
    assert int(structured(torch.zeros(3, 5), 4, 0.5).sum()) == 4
    assert not structured(torch.ones(3, 5), 0, 0.5).any()


@pytest.mark.parametrize("structure", [-0.1, float("nan"), float("inf")])
def test_exponents_that_are_none(structure):
    with pytest.raises(TargetError, match="structure is an exponent"):
        harden_(prepared(), Target(density=0.5), structure=structure)
