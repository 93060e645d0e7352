"""train.one_shot_widths: narrower widths where a target asks for them, in the order in which they cost least."""

import pytest
import torch

from mapped import batches, mapped
from prepared import small_net
from secateur.errors import TargetError
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.learned_width import LearnedWidth
from secateur.nn.packing import Packing
from secateur.nn.transform import transforms_of
from secateur.train.one_shot_widths import quantize_cut_, switch_off_

RULES = {"prune": Prune(), "quantize": Quantize((2, 8)), "maps": Quantize((2, 8))}


def cut():
    """Half of every tensor gone, in floating point."""
    model = mapped(**RULES).eval()
    switch_off_(model)
    masks = {}
    for site in transforms_of(model):
        sizes = site.original.detach().abs()
        masks[site.name] = sizes >= sizes.median()
        site.transform.prune.harden(masks[site.name])
    return model, masks


def run(target):
    model, masks = cut()
    inputs = [(batch,) for batch in batches()]
    return model, quantize_cut_(model, masks, target, inputs, small_net().eval(), lambda *_: None)


def test_switched_off_it_is_the_cut_model_in_floating_point():
    model, masks = cut()
    assert not any(module.is_on for module in model.modules() if isinstance(module, LearnedWidth))
    for site in transforms_of(model):
        assert torch.equal(site.transform(site.original), site.original * masks[site.name])


def test_every_wish_is_met_and_the_widest_widths_stay_where_none_asks():
    _, free = run(Target(density=0.5))
    assert {row.bits for row in (*free.tensors, *free.maps)} == {8}
    _, found = run(Target(density=0.5, average_bits=4.5, largest_map_bytes=80, bit_operations=20_000))
    assert found.average_bits <= 4.5
    assert found.largest_map_bytes <= 80
    assert found.bit_operations <= 20_000 < free.bit_operations
    assert min(row.bits for row in found.tensors) < 8


@pytest.mark.parametrize("limit", [{"bit_operations": 100}, {"largest_map_bytes": 10}, {"packed_bytes": 200}])
def test_what_the_narrowest_widths_do_not_meet_is_refused(limit):
    with pytest.raises(TargetError, match=f"{next(iter(limit))}|narrowest"):
        run(Target(density=0.5, **limit))


@pytest.mark.parametrize("limit", range(600, 1000, 50))
def test_no_tensor_could_be_wider_under_a_limit_on_bytes(limit):
    """The last step down, of the largest tensor, can save more than was asked: what it left over is used, but for some
    bytes, as the range of a wider width is another."""
    target = Target(density=0.5, packed_bytes=limit)
    model, found = run(target)
    near = Target(density=0.5, packed_bytes=limit - 4)
    packing = Packing(model, batches()[0], target.values)
    masks = {site.name: site.transform.prune.mask for site in transforms_of(model)}
    bits = {row.name: row.bits for row in found.tensors}
    assert not packing.excess(masks, target, bits)
    for name in (name for name, width in bits.items() if width < 8):
        assert packing.excess(masks, near, {**bits, name: bits[name] + 1}), (name, bits)
