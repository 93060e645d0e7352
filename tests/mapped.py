"""A small prepared model with quantized feature maps: the tests of nn and train share it."""

import torch

from prepared import EXAMPLE, small_net
from secateur.ir.rules import Quantize
from secateur.nn.map_sites import maps_of
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_

MAP_RULE = Quantize({2, 4, 8})


def mapped(maps=MAP_RULE, **rules):
    """Prepared; its maps are its input (64 values, signed), those behind the ReLUs (144 or, pooled, 36, and 16)."""
    model = small_net()
    return prepare_(model, plan(model, EXAMPLE, maps=maps, **rules))


def batches(count=3):
    """Inputs without labels."""
    random = torch.Generator().manual_seed(5)
    return [torch.randn(16, 1, 8, 8, generator=random) for _ in range(count)]


def watched(model, count=3):
    """The model after some training batches passed through."""
    model.train()
    for batch in batches(count):
        model(batch)
    assert all(site.quantizer.seen > 0 for site in maps_of(model))
    return model
