"""nn.trim: as few weights more as the limit asks for, the least of those that stay; a planted overrun is found."""

import pytest
import torch

from prepared import EXAMPLE, prepared
from secateur.errors import PlanError
from secateur.ir.target import Target
from secateur.nn.harden import harden_
from secateur.nn.pack import pack
from secateur.nn.transform import transforms_of
from secateur.nn.trim import trim_


def hardened(density=0.4):
    model = prepared()
    harden_(model, Target(density=density))
    return model


def kept(model):
    return [site.transform.prune.mask.clone() for site in transforms_of(model)]


def size_of(model):
    return len(pack(model, EXAMPLE).to_bytes())


def test_a_file_within_its_limit_keeps_all_its_weights():
    model = hardened()
    before = kept(model)
    assert trim_(model, Target(packed_bytes=size_of(model)), EXAMPLE) == 0
    assert all(map(torch.equal, kept(model), before))


@pytest.mark.parametrize("over", [4, 40, 400])
def test_as_few_go_as_the_limit_asks_for(over):
    model = hardened()
    limit, before = size_of(model) - over, kept(model)
    cut = trim_(model, Target(packed_bytes=limit), EXAMPLE)
    assert 0 < cut <= over
    assert limit - 20 < size_of(model) <= limit
    assert all(not (now & ~was).any() for now, was in zip(kept(model), before, strict=True))
    assert sum(int(m.sum()) for m in before) - sum(int(m.sum()) for m in kept(model)) == cut
    scores = [site.transform.prune.score(site.original) for site in transforms_of(model)]
    gone = [score[was & ~now] for score, was, now in zip(scores, before, kept(model), strict=True)]
    assert torch.cat(gone).max() <= torch.cat([s[m] for s, m in zip(scores, kept(model), strict=True)]).min()


def test_macs_hold_too():
    model = hardened()
    reuse = {site.name: site.transform.row.reuse for site in transforms_of(model)}
    trim_(model, Target(macs=700), EXAMPLE)
    artifact = pack(model, EXAMPLE)
    assert 650 < sum(reuse[name] * artifact.tensors[name].nonzeros for name in reuse) <= 700


def test_what_nothing_holds_changes_nothing():
    model = hardened()
    before = kept(model)
    assert trim_(model, Target(packed_bytes=10), EXAMPLE) == 0
    assert all(map(torch.equal, kept(model), before))


def test_a_soft_model_is_refused():
    with pytest.raises(PlanError, match="not hardened"):
        trim_(prepared(), Target(packed_bytes=1000), EXAMPLE)


def test_units_in_another_order_leave_room_for_more_weights():
    limit = size_of(hardened(0.5))
    plain, ordered = prepared(), prepared()
    counts = [
        sum(row.nonzeros for row in harden_(model, Target(packed_bytes=limit), example=EXAMPLE, sort=sort).tensors)
        for model, sort in ((plain, False), (ordered, True))
    ]
    assert counts[1] > counts[0]
    assert len(pack(ordered, EXAMPLE, sort=True).to_bytes()) <= limit < size_of(ordered)
    assert trim_(ordered, Target(packed_bytes=limit), EXAMPLE, sort=True) == 0
    assert trim_(ordered, Target(packed_bytes=limit), EXAMPLE) > 0
