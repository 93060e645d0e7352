"""Feature maps when a model is hardened: each within its limit, the cheapest narrowing first, all or nothing."""

import pytest
import torch

from mapped import EXAMPLE, batches, mapped, watched
from prepared import small_net
from secateur.errors import PlanError, TargetError
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.harden import harden_
from secateur.nn.map_sites import float_maps_of, maps_of
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.transform import transforms_of
from secateur.nn.widths import Widths
from secateur.train.budget import Budget

MACS = {"0.weight": 1296, "4.weight": 576, "6.weight": 48}
READ = {"0.weight": "input", "4.weight": "1", "6.weight": "5"}


def operations(hardening):
    """By hand: every weight reads one map."""
    maps = {row.name: row.bits for row in hardening.maps}
    rows = {row.name: row for row in hardening.tensors}
    total = 0
    for name, macs in MACS.items():
        row = rows.get(name)
        share, bits = (row.nonzeros / row.size, row.bits or 32) if row else (1, 32)
        total += macs * share * bits * maps[READ[name]]
    return total


def test_without_a_target_the_most_probable_widths_stay():
    model = watched(mapped())
    for site, logits in zip(maps_of(model), ([0.0, 1, 0], [1.0, 0, 0], [0.0, 0, 0]), strict=True):
        site.quantizer.theta.data.copy_(torch.tensor(logits))
    found = harden_(model)
    assert [(row.name, row.bits, row.size) for row in found.maps] == [("input", 4, 64), ("1", 2, 144), ("5", 8, 16)]
    assert found.largest_map_bytes == 36
    assert all(site.quantizer.is_hard for site in maps_of(model))


def test_every_map_is_narrowed_until_it_holds_the_limit_and_no_further():
    found = harden_(watched(mapped()), Target(largest_map_bytes=63))
    assert {row.name: row.bits for row in found.maps} == {"input": 4, "1": 2, "5": 8}
    assert found.largest_map_bytes == 36
    with pytest.raises(TargetError, match="feature map 1 takes 36 bytes at 2 bits"):
        harden_(watched(mapped()), Target(largest_map_bytes=35))


@pytest.mark.parametrize("limit", [1_000_000, 60_000, 30_000, 12_000])
def test_bit_operations_hold_by_narrower_weights_and_maps(limit):
    model = watched(mapped(quantize=Quantize((2, 8))))
    found = harden_(model, Target(bit_operations=limit))
    assert found.bit_operations == operations(found) <= limit
    if limit == 1_000_000:
        assert {row.bits for row in (*found.tensors, *found.maps)} == {8}, "nothing is narrowed without need"


def test_bit_operations_of_nothing_are_no_target():
    with pytest.raises(TargetError, match="this plan changes none whose multiply-accumulates are known"):
        harden_(watched(mapped()), Target(bit_operations=1))


def test_where_widths_cannot_weights_go():
    model = watched(mapped(maps=Quantize(8), prune=Prune()))
    found = harden_(model, Target(bit_operations=200_000))
    assert found.bit_operations == operations(found) <= 200_000
    assert 0.3 < found.density < 1
    assert found.bit_operations > 199_000, "the largest number of weights that holds the limit stays"
    packed = watched(mapped(maps=Quantize(8), prune=Prune()))
    found = harden_(packed, Target(bit_operations=200_000, packed_bytes=2000), example=EXAMPLE)
    assert found.bit_operations <= 200_000


def test_what_cannot_hold_is_refused_and_changes_nothing():
    for rules, target, words in (
        ({"quantize": Quantize({4, 8})}, Target(bit_operations=1000), "narrowest widths"),
        ({"prune": Prune()}, Target(bit_operations=10_000, density=0.5), "density 0.5 leaves"),
    ):
        model = watched(mapped(**rules))
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        with pytest.raises(TargetError, match=words):
            harden_(model, target)
        after = model.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_a_model_that_saw_no_data_has_no_ranges():
    with pytest.raises(PlanError, match="calibrate_"):
        harden_(mapped(), Target(largest_map_bytes=100))


def test_the_cheapest_for_what_it_saves_is_narrowed_first():
    model = watched(mapped(quantize=Quantize({4, 8})))
    widths = Widths(transforms_of(model), maps_of(model))
    widths.begin({})
    before, costs = widths.operations({}), {}
    for site in maps_of(model):
        step = widths.maps.step(site.name)
        macs = sum(MACS[name] for name, read in READ.items() if read == site.name)
        costs[site.name] = step.lost / (macs * 8 * (8 - step.bits))
        assert step.bits == 4
        assert step.lost == pytest.approx(site.quantizer.error(4) - site.quantizer.error(8))
    for site in transforms_of(model):
        stage, w = site.transform.quantize, site.original.detach()
        errors = [
            float((stage.nearest(w, bits, log_range) - w).square().sum() / w.square().sum())
            for bits, log_range in ((4, stage.fitted(w, 4)), (8, None))
        ]
        costs[site.name] = (errors[0] - errors[1]) / (MACS[site.name] * 8 * 4)
    assert widths.narrow_operations({})
    narrowed = [name for name, bits in (*widths.bits.items(), *widths.maps.bits.items()) if bits == 4]
    assert narrowed == [min(costs, key=costs.__getitem__)]
    assert widths.operations({}) < before


def test_hardened_a_map_has_its_width_and_the_network_runs_on():
    model = watched(mapped(quantize=Quantize(4)))
    harden_(model)
    seen = {}
    for site in maps_of(model):
        site.quantizer.register_forward_hook(lambda q, _, y: seen.setdefault(q, y.detach()))
    model.eval()(batches(1)[0])
    for site in maps_of(model):
        assert len(seen[site.quantizer].unique()) <= 2 ** site.quantizer.width()


def test_a_large_map_that_stays_float_is_refused_and_an_output_is_not():
    model = small_net()
    rows = plan(model, EXAMPLE, quantize=Quantize(8), maps=Quantize(8))
    first = rows.quantized_maps[1].name
    prepare_(model, rows.replace(first, maps=None))
    (kept,) = float_maps_of(model)
    assert kept.name == first, "not the output"
    for site in maps_of(model):
        site.quantizer.start(3.0)
    target = Target(largest_map_bytes=kept.float_bytes - 1)
    with pytest.raises(TargetError, match=rf"map {first} is kept in float32 and takes {kept.float_bytes} bytes"):
        Budget(model, target, steps=3)
    with pytest.raises(TargetError, match="or give it a rule"):
        harden_(model, target)
    assert harden_(model, Target(largest_map_bytes=kept.float_bytes)).largest_map_bytes <= kept.float_bytes
