"""nn.refit: as few weights more go as a limit asks for, as many come back as it has room for, in the order of their
scores, whatever else the target says; a planted overrun and planted room are found."""

import pytest
import torch

from prepared import EXAMPLE, prepared
from secateur.errors import PlanError
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.harden import harden_
from secateur.nn.pack import pack
from secateur.nn.refit import NEAR, NONE, QUESTIONS, Refit, most, refit_
from secateur.nn.transform import transforms_of


def hardened(density=0.4, **rules):
    model = prepared(**rules)
    harden_(model, Target(density=density))
    return model


def kept(model):
    return [site.transform.prune.mask.clone() for site in transforms_of(model)]


def scores(model):
    return [site.transform.prune.score(site.original) for site in transforms_of(model)]


def count(masks):
    return sum(int(mask.sum()) for mask in masks)


def size_of(model, **options):
    return len(pack(model, EXAMPLE, **options).to_bytes())


def test_a_file_at_its_limit_keeps_all_its_weights():
    model = hardened()
    before = kept(model)
    assert refit_(model, Target(packed_bytes=size_of(model)), EXAMPLE) == NONE
    assert all(map(torch.equal, kept(model), before))


@pytest.mark.parametrize("over", [4, 40, 400])
def test_as_few_go_as_the_limit_asks_for(over):
    model = hardened()
    limit, before = size_of(model) - over, kept(model)
    found = refit_(model, Target(packed_bytes=limit), EXAMPLE)
    assert (0 < found.cut <= over, found.grown) == (True, 0)
    assert limit - 20 < size_of(model) <= limit
    assert all(not (now & ~was).any() for now, was in zip(kept(model), before, strict=True))
    assert count(before) - count(kept(model)) == found.cut
    gone = [score[was & ~now] for score, was, now in zip(scores(model), before, kept(model), strict=True)]
    assert torch.cat(gone).max() <= torch.cat([s[m] for s, m in zip(scores(model), kept(model), strict=True)]).min()


@pytest.mark.parametrize("room", [24, 80, 800])
def test_as_many_come_back_as_there_is_room_for(room):
    model = hardened(0.41)
    limit, before = size_of(model) + room, kept(model)
    originals = [site.original.detach().clone() for site in transforms_of(model)]
    found = refit_(model, Target(packed_bytes=limit), EXAMPLE)
    assert (found.cut, 0 < found.grown <= room) == (0, True)
    assert limit - 20 <= size_of(model) <= limit
    assert all(not (was & ~now).any() for now, was in zip(kept(model), before, strict=True))
    assert count(kept(model)) - count(before) == found.grown
    back = [score[now & ~was] for score, was, now in zip(scores(model), before, kept(model), strict=True)]
    assert torch.cat(back).min() >= torch.cat([s[~m] for s, m in zip(scores(model), kept(model), strict=True)]).max()
    for site, original in zip(transforms_of(model), originals, strict=True):
        assert torch.equal(site.transform(site.original), torch.where(site.transform.prune.mask, original, 0.0))


def test_what_was_fine_tuned_stays_before_anything_comes_back_and_masks_are_laid_out_like_weights():
    model = hardened()
    before = kept(model)
    with torch.no_grad():
        for site, mask in zip(transforms_of(model), before, strict=True):
            site.original[mask] *= 1e-3  # their scores are below those of what was cut
    found = refit_(model, Target(packed_bytes=size_of(model) + 80), EXAMPLE)
    assert found.grown > 0
    assert all(not (was & ~now).any() for now, was in zip(kept(model), before, strict=True))
    for site in transforms_of(model):
        assert site.transform.prune.mask.stride() == site.original.stride()


@pytest.mark.parametrize("quantize", [Quantize(3), Quantize((2, 8), granularity="channel")])
def test_codes_fill_their_limit_too(quantize):
    model = hardened(quantize=quantize)
    limit = size_of(model, values="int8") + 60
    assert refit_(model, Target(packed_bytes=limit, values="int8"), EXAMPLE).grown > 0
    assert limit - 12 <= size_of(model, values="int8") <= limit


def test_no_more_comes_back_than_the_other_wishes_allow():
    roomy = 10 * size_of(hardened())
    model = hardened(0.4)
    assert refit_(model, Target(packed_bytes=roomy, density=0.4), EXAMPLE) == NONE
    before = count(kept(model))
    assert refit_(model, Target(packed_bytes=roomy, density=0.5), EXAMPLE) == Refit(grown=330 - before)
    coded = hardened(0.4, quantize=Quantize(4))
    operations = sum(s.transform.row.reuse * int(s.transform.prune.mask.sum()) for s in transforms_of(coded)) * 4 * 32
    limit = int(1.1 * operations)
    assert refit_(coded, Target(packed_bytes=roomy, values="int8", bit_operations=limit), EXAMPLE).grown > 0
    after = sum(s.transform.row.reuse * int(s.transform.prune.mask.sum()) for s in transforms_of(coded)) * 4 * 32
    assert 0.95 * limit < after <= limit


def test_wider_tensors_do_not_raise_the_average_beyond_its_limit():
    model = prepared(quantize=Quantize((2, 8)))
    harden_(model, Target(density=0.2, average_bits=5))
    roomy = Target(packed_bytes=10 * size_of(model), average_bits=5)
    refit_(model, roomy, EXAMPLE)
    rows = [(int(s.transform.prune.mask.sum()), s.transform.quantize.width()) for s in transforms_of(model)]
    assert sum(kept * bits for kept, bits in rows) / sum(kept for kept, _ in rows) <= 5


def test_macs_hold_too():
    model = hardened()
    reuse = {site.name: site.transform.row.reuse for site in transforms_of(model)}
    refit_(model, Target(macs=700), EXAMPLE)
    artifact = pack(model, EXAMPLE)
    assert 650 < sum(reuse[name] * artifact.tensors[name].nonzeros for name in reuse) <= 700


def test_what_nothing_holds_changes_nothing_and_neither_does_a_target_without_such_a_limit():
    model = hardened()
    before = kept(model)
    assert refit_(model, Target(packed_bytes=10), EXAMPLE) == NONE
    assert refit_(model, Target(density=0.1), EXAMPLE) == NONE
    assert all(map(torch.equal, kept(model), before))


def test_patterns_stay_as_they_are():
    model = prepared(Prune("balanced", n=1, m=4))
    harden_(model)
    before = kept(model)
    assert refit_(model, Target(packed_bytes=2 * size_of(model)), EXAMPLE).grown == count(kept(model)) - count(before)
    patterned = [site.transform.prune.patterns for site in transforms_of(model)]
    pairs = zip(patterned, kept(model), before, strict=True)
    assert any(patterned)
    assert all(torch.equal(now, was) for pattern, now, was in pairs if pattern)


def test_a_soft_model_is_refused():
    with pytest.raises(PlanError, match="not hardened"):
        refit_(prepared(), Target(packed_bytes=1000), EXAMPLE)


def test_units_in_another_order_leave_room_for_more_weights():
    limit = size_of(hardened(0.5))
    plain, ordered = prepared(), prepared()
    counts = [
        sum(row.nonzeros for row in harden_(model, Target(packed_bytes=limit), example=EXAMPLE, sort=sort).tensors)
        for model, sort in ((plain, False), (ordered, True))
    ]
    assert counts[1] > counts[0]
    assert size_of(ordered, sort=True) <= limit < size_of(ordered)
    assert refit_(ordered, Target(packed_bytes=limit), EXAMPLE, sort=True).cut == 0
    assert refit_(ordered, Target(packed_bytes=limit), EXAMPLE).cut > 0


@pytest.mark.parametrize("start", [0, 1, 37, 500, 1000])
@pytest.mark.parametrize("fits", [0, 1, 36, 37, 38, 640, 999, 1000])
def test_the_search_finds_the_most_in_few_questions(fits, start):
    asked = []

    def left(count):
        asked.append(count)
        return 1 - (5000 + 8 * count) / (5000 + 8 * fits + 3)

    found = most(left, start, 1000)
    assert found == fits or (found < fits and left(found) < NEAR)
    assert len(asked) <= 12 < QUESTIONS
    assert len(set(asked)) >= len(asked) - 1
    assert all(0 <= count <= 1000 for count in asked)


def test_the_search_where_nothing_or_everything_fits_or_counts_cost_unevenly():
    assert most(lambda _: -0.1, 40, 100) is None
    assert most(lambda _: 0.1, 40, 100) == 100
    assert most(lambda count: 1.0 if count == 0 else 1 - 20 * count / 100, 0, 100) == 5

    def left(count):
        return 1 - (50 * min(count, 3) + count) / 400

    found = most(left, 90, 1000)
    assert 0 <= left(found) < NEAR or left(found + 1) < 0
