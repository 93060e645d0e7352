"""train.width_search: the width that loses least, found with few attempts, and one that really serves better."""

import copy

import pytest
import torch

from prepared import EXAMPLE, prepared, small_net
from secateur.errors import TargetError
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.pack import pack
from secateur.nn.transform import transforms_of
from secateur.train.one_shot import one_shot_
from secateur.train.width_search import best_width, widths_to_try

BYTES = Target(packed_bytes=1500)
BATCHES = [(torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(seed)), None) for seed in range(3)]


@pytest.mark.parametrize("least", range(2, 9))
def test_the_least_of_a_valley_is_found_downhill_from_the_middle(least):
    asked = []

    def attempt(target):
        asked.append(target.average_bits)
        assert target.packed_bytes == 1500
        return abs(target.average_bits - least) + 0.5, f"{target.average_bits} bits"

    kept, lost = best_width(range(2, 9), BYTES, attempt)
    assert kept == f"{least} bits"
    assert lost == {bits: abs(bits - least) + 0.5 for bits in sorted(asked)}
    assert len(asked) == len(set(asked)) <= 3 + abs(least - 5)


def test_widths_that_cannot_be_met_are_passed_by_and_none_at_all_is_an_error():
    def attempt(target):
        if target.average_bits < limit:
            raise TargetError(f"not in {target.average_bits} bits")
        return target.average_bits, target.average_bits

    limit = 6
    assert best_width((4, 6, 8), BYTES, attempt)[0] == 6
    limit = 9
    with pytest.raises(TargetError, match="bits"):
        best_width((4, 6, 8), BYTES, attempt)


def test_nothing_is_tried_where_nothing_is_open():
    wide, one = prepared(quantize=Quantize((2, 4))), prepared(quantize=Quantize(4))
    fixed = prepared(Prune("balanced", n=2, m=4), Quantize((2, 4)))
    assert widths_to_try(wide, BYTES) == (2, 3, 4)
    closed = [
        (wide, Target(density=0.5)),
        (wide, Target(density=0.5, packed_bytes=1500)),
        (wide, Target(average_bits=3, packed_bytes=1500)),
        (one, BYTES),
        (fixed, BYTES),
        (prepared(), BYTES),
    ]
    for model, target in closed:
        assert widths_to_try(model, target) == ()


@pytest.mark.parametrize("batches", [None, BATCHES], ids=["weights", "batches"])
def test_a_limit_on_bytes_is_met_in_the_width_that_loses_least(batches):
    """Against the same cut with every width given: the search loses no more than any it tried, and tells which."""
    model = prepared(quantize=Quantize((2, 8)))
    limit = len(pack(small_net().eval(), EXAMPLE).to_bytes()) // 3
    found = one_shot_(model, Target(packed_bytes=limit), batches=batches)
    assert len(pack(model.eval(), EXAMPLE).to_bytes()) <= limit
    assert len(found.tried) > 1
    assert found.average_bits <= 8
    best = min(found.tried, key=found.tried.__getitem__)
    if batches is None:
        pairs = [(site.original.detach(), site.transform(site.original).detach()) for site in transforms_of(model)]
        lost = sum(float((after - w).square().sum() / w.square().sum()) for w, after in pairs)
        assert found.tried[best] == pytest.approx(lost, rel=1e-5)
    again = prepared(quantize=Quantize((2, 8)))
    given = one_shot_(again, Target(packed_bytes=limit, average_bits=best), batches=batches)
    assert given.tried == {}
    assert given.tensors == found.tensors
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_an_interruption_while_widths_are_tried_changes_nothing():
    model = prepared(quantize=Quantize((2, 8)))
    before = copy.deepcopy(model.state_dict())
    repaired = 0

    def stop(step):
        nonlocal repaired
        repaired += step.phase == "repair" and step.done == 0
        if repaired == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one_shot_(model, BYTES, batches=BATCHES, watch=stop)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
