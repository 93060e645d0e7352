"""nn.off_grid: copies without quantization, and as they would be hardened; the model itself stays."""

import copy

import torch

from mapped import batches, mapped, watched
from prepared import small_net
from secateur.ir.rules import Prune, Quantize
from secateur.nn.harden import harden_
from secateur.nn.map_sites import maps_of
from secateur.nn.off_grid import off_grid, on_grid
from secateur.nn.transform import transforms_of


def started(**rules):
    model = watched(mapped(quantize=Quantize({3, 8}), **rules)).eval()
    for site in maps_of(model):
        site.quantizer.start()
    return model


def test_without_quantization_it_is_the_network_of_before():
    model = started()
    plain = small_net().eval()
    for one in (off_grid(model), off_grid(_hardened(model))):
        assert torch.equal(one(batches()[0]), plain(batches()[0]))
    assert not torch.equal(model(batches()[0]), plain(batches()[0]))
    assert all(site.quantizer.is_on for site in maps_of(model))


def test_what_pruning_cut_stays_cut():
    model = started(prune=Prune(start=1.0))
    harden_(model)
    masks = [site.transform.prune.mask for site in transforms_of(off_grid(model))]
    assert all(
        torch.equal(mask, site.transform.prune.mask) for mask, site in zip(masks, transforms_of(model), strict=True)
    )


def test_on_the_grid_it_is_what_hardening_gives():
    model = started()
    assert torch.equal(on_grid(model)(batches()[0]), _hardened(model)(batches()[0]))
    assert not any(site.quantizer.is_hard for site in maps_of(model))


def _hardened(model):

    made = copy.deepcopy(model)
    harden_(made)
    return made
