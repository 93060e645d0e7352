"""nn.widths: narrower where that costs least, all or nothing."""

import copy

import pytest
import torch
from torch import nn

from prepared import EXAMPLE, prepared, quantized
from secateur.errors import TargetError
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.harden import harden_
from secateur.nn.measure import packed_bytes
from secateur.nn.pack import pack
from secateur.nn.packing import Packing
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.transform import transforms_of
from secateur.nn.widths import Widths


def error_of(site, bits):
    stage = site.transform.quantize
    w = site.original.detach()
    return float((stage.nearest(w, bits, stage.fitted(w, bits)) - w).square().sum() / w.square().sum())


def test_the_cheapest_tensor_becomes_narrower_first():
    model = quantized(Quantize({3, 6}))
    sites = transforms_of(model)
    widths = Widths(sites)
    assert set(widths.bits.values()) == {6}, "nothing has learned: the widest"
    widths.begin({})
    costs = {s.name: (error_of(s, 3) - error_of(s, 6)) / (3 * s.original.numel()) for s in sites}
    order = []
    while widths.narrow({}):
        order += [name for name, bits in widths.bits.items() if bits == 3 and name not in order]
    assert order == sorted(costs, key=costs.__getitem__)


def test_steps_that_were_not_needed_are_taken_back_the_latest_first():
    model = quantized(Quantize((2, 8)))
    widths = Widths(transforms_of(model))
    widths.begin({})
    while widths.narrow({}):
        pass
    floor = dict.fromkeys(widths.bits, 2)
    assert widths.bits == floor
    first, *others = widths.bits
    tried = []

    def fits():
        tried.append(dict(widths.bits))
        return widths.bits[first] <= 5 and all(widths.bits[name] == 2 for name in others)

    widths.widen(fits)
    assert widths.bits == {**floor, first: 5}
    assert len(tried) == 4 + len(others), "a tensor whose last step is needed is not asked about again"
    site = transforms_of(model)[0]
    assert torch.equal(site.transform.quantize.log_range, site.transform.quantize.fitted(site.original.detach(), 5))
    widths.widen(lambda: True)
    assert widths.bits == {**floor, first: 5}, "steps are taken back once"


def test_all_steps_taken_back_leave_widths_and_ranges_as_they_were():
    model = quantized(Quantize((2, 8)))
    widths = Widths(transforms_of(model))
    widths.begin({})
    ranges = {s.name: s.transform.quantize.log_range.clone() for s in transforms_of(model)}
    while widths.narrow({}):
        pass
    widths.widen(lambda: True)
    assert set(widths.bits.values()) == {8}
    assert all(torch.equal(s.transform.quantize.log_range, ranges[s.name]) for s in transforms_of(model))


@pytest.mark.parametrize("density", [None, 0.5])
def test_a_limit_in_bytes_is_filled_by_widths(density):
    """Uneven tensors: the last step down, of the large one, can save far more than the limit asks for."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 8))
    example = torch.randn(2, 64)
    prepare_(model, plan(model, example, prune=density and Prune(), quantize=Quantize((2, 8))))
    narrowed = 0
    for limit in range(2000, 4400, 300):
        hard, target = copy.deepcopy(model), Target(packed_bytes=limit, density=density)
        harden_(hard, target, example=example)
        bits = {site.name: site.transform.quantize.width() for site in transforms_of(hard)}
        masks = {site.name: site.transform.prune.mask for site in transforms_of(hard) if site.transform.prunes}
        packing = Packing(hard, example, "float32")
        assert not packing.excess(masks, target, bits)
        for name in (name for name, width in bits.items() if width < 8):
            narrowed += 1
            assert packing.excess(masks, target, {**bits, name: bits[name] + 1}), (limit, name, bits)
    assert narrowed >= 5


def test_the_average_counts_kept_weights():
    model = prepared(quantize=Quantize({2, 8}))
    sites = transforms_of(model)
    widths = Widths(sites)
    widths.bits[sites[0].name] = 2
    masks = {site.name: site.original > 0 for site in sites}
    kept = [int(mask.sum()) for mask in masks.values()]
    assert widths.average(masks) == pytest.approx((2 * kept[0] + 8 * sum(kept[1:])) / sum(kept))
    assert widths.average({name: torch.zeros_like(mask) for name, mask in masks.items()}) == 0.0


def test_a_tensor_without_weights_saves_nothing():
    model = prepared(quantize=Quantize({2, 8}))
    widths = Widths(transforms_of(model))
    assert not widths.narrow({site.name: torch.zeros_like(site.original, dtype=bool) for site in transforms_of(model)})


def test_what_fails_changes_nothing():
    model = quantized(Quantize((3, 8)))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(TargetError, match="packed bytes"):
        harden_(model, Target(packed_bytes=300))
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_a_range_that_learned_nothing_is_fitted_and_one_that_did_stays():
    untrained, trained = quantized(Quantize(3)), quantized(Quantize(3))
    for site in transforms_of(trained):
        site.transform.quantize.log_range.data += 0.5
    before = [site.transform.quantize.log_range.clone() for site in transforms_of(trained)]
    starts = [site.transform.quantize.nearest(site.original, 3) for site in transforms_of(untrained)]
    for model in (untrained, trained):
        harden_(model)
    for site, start in zip(transforms_of(untrained), starts, strict=True):
        stage = site.transform.quantize
        assert torch.equal(stage.log_range, stage.fitted(site.original, 3))
        rounded = stage.nearest(site.original, 3)
        assert (rounded - site.original).square().sum() < (start - site.original).square().sum()
    for site, log_range in zip(transforms_of(trained), before, strict=True):
        assert torch.equal(site.transform.quantize.log_range, log_range)


@pytest.mark.parametrize(
    ("example", "limits"), [(None, (480, 620)), (EXAMPLE, (400, 500))], ids=["estimated", "measured"]
)
def test_narrower_weights_leave_room_for_more_of_them(example, limits):
    """With thresholds that keep nothing of themselves, so that neither widths nor ranges suit what stays before weights
    are counted."""

    def kept(limit, bits):
        model = prepared(quantize=Quantize((2, 8)))
        for site in transforms_of(model):
            site.transform.prune.set_threshold(1e3)
        result = harden_(model, Target(packed_bytes=limit, average_bits=bits), example=example)
        masks = {site.name: site.transform.prune.mask for site in transforms_of(model)}
        size = packed_bytes(model, masks, "float32") if example is None else len(pack(model, example).to_bytes())
        assert result.average_bits <= bits
        assert 0.97 * limit < size <= limit, bits
        return sum(row.nonzeros for row in result.tensors)

    for limit in range(*limits, 20):
        assert kept(limit, 4) > kept(limit, 6) > kept(limit, 8)
