"""train.one_shot: exact targets, usable models, nothing half done, everything that fell back named."""

import copy

import pytest
import torch
from torch import nn

from prepared import EXAMPLE, Tied, prepared, quantized, small_net
from secateur.errors import DataError, PlanError, TargetError
from secateur.ir.execute import interpret
from secateur.ir.formats import Quantized, on_grid
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.check import check
from secateur.nn.harden import Hardening, harden_
from secateur.nn.map_sites import maps_of
from secateur.nn.measure import ESTIMATED
from secateur.nn.pack import pack
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.strip import strip_
from secateur.nn.transform import transforms_of
from secateur.train.one_shot import ALLOCATIONS, one_shot_, one_shot_by_file_
from secateur.train.one_shot_result import OneShotStep

TOTAL = 36 + 576 + 48
BATCHES = [torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]


def nonzeros(model):
    return sum(int((site.transform(site.original) != 0).sum()) for site in transforms_of(model))


def state(model):
    return {key: tensor.clone() for key, tensor in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("activation", [nn.ReLU6, nn.Hardswish])
@pytest.mark.parametrize("prune", [Prune(), Prune("balanced", n=2, m=4)])
@pytest.mark.parametrize("options", [{}, {"quantize": Quantize(4), "maps": Quantize(8)}])
def test_a_channel_that_is_always_zero_harms_nothing(activation, prune, options):
    """In front of a depthwise convolution it is the whole input of a group."""
    torch.manual_seed(0)
    block = (nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), activation())
    depthwise = (nn.Conv2d(8, 8, 3, groups=8, bias=False), nn.BatchNorm2d(8), activation())
    model = nn.Sequential(*block, *depthwise, nn.Flatten(), nn.Linear(8 * 16, 10)).eval()
    model[1].bias.data[5] = -10.0
    assert not model[:3](BATCHES[0])[:, 5].any()
    prepare_(model, plan(model, BATCHES[0], prune=prune, **options))
    assert one_shot_(model, Target(density=0.5), batches=BATCHES).density <= 0.51
    assert torch.isfinite(model(BATCHES[0])).all()


@pytest.mark.parametrize("density", [0.001, 0.1, 0.333, 1.0])
@pytest.mark.parametrize("batches", [None, BATCHES])
@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_density_is_exact_to_the_weight(density, batches, granularity):
    model = prepared(Prune(granularity=granularity))
    result = one_shot_(model, Target(density=density), batches=batches)
    assert isinstance(result, Hardening)
    assert nonzeros(model) == max(1, round(density * TOTAL))
    assert result.density == pytest.approx(nonzeros(model) / TOTAL)
    assert [row.name for row in result.tensors] == [layer.name for layer in result.layers]
    assert result.samples == (36 if batches else 0)


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("limit", [{"macs": 900}, {"packed_bytes": 1200, "values": "float16"}])
def test_limits_are_kept_by_every_allocation(allocation, limit):
    model, target = prepared(), Target(**limit)
    one_shot_(model, target, batches=BATCHES, allocation=allocation)
    artifact = pack(model, EXAMPLE, values=target.values)
    reuse = {site.name: site.transform.row.reuse for site in transforms_of(model)}
    if target.macs is not None:
        assert 780 < sum(reuse[name] * artifact.tensors[name].nonzeros for name in reuse) <= target.macs
    else:
        assert 1150 < len(artifact.to_bytes()) <= 1200


def test_magnitude_alone_is_harden_with_equal_thresholds():
    ours, theirs = prepared(), prepared()
    one_shot_(ours, Target(density=0.2), allocation="magnitude")
    for site in transforms_of(theirs):
        site.transform.prune.set_threshold(0.1)
    harden_(theirs, Target(density=0.2))
    for a, b in zip(transforms_of(ours), transforms_of(theirs), strict=True):
        assert torch.equal(a.transform.prune.mask, b.transform.prune.mask)


@pytest.mark.parametrize("allocation", [a for a in ALLOCATIONS if a != "measured"])
def test_without_data_thresholds_carry_the_allocation_and_values_stay(allocation):
    model = prepared()
    weights = [site.original.detach().clone() for site in transforms_of(model)]
    result = one_shot_(model, Target(density=0.3), allocation=allocation)
    assert result.factor == 1
    assert result.allocation == allocation
    for site, row, w in zip(transforms_of(model), result.tensors, weights, strict=True):
        assert torch.equal(site.original, w)
        assert torch.equal(site.transform.prune.mask, w.abs() > site.transform.prune.alpha())
        assert row.moved == 0
        assert row.threshold == pytest.approx(site.transform.prune.alpha().item())


def test_repair_brings_the_output_nearer_and_no_layer_away():
    x = torch.cat(BATCHES)
    dense = small_net().eval()
    cut, repaired = prepared(), prepared()
    result = one_shot_(repaired, Target(density=0.3), batches=BATCHES)
    one_shot_(cut, Target(density=0.3))
    lost, left = ((model.eval()(x) - dense(x)).square().sum() for model in (cut, repaired))
    assert left < lost / 2
    assert result.fallbacks == {}
    for layer in result.layers:
        assert layer.score == "|w| x input"
        assert 0 <= layer.after <= layer.before


def test_the_same_batches_give_the_same_model_and_labels_do_not_count():
    made = []
    for batches in (BATCHES, iter([(x, torch.zeros(len(x))) for x in BATCHES]), [[x, "a label"] for x in BATCHES]):
        model = prepared()
        one_shot_(model, Target(density=0.3), batches=batches)
        made.append(state(model))
    assert same(made[0], made[1])
    assert same(made[0], made[2])


def test_the_order_of_the_batches_decides_nothing():
    masks = []
    for batches in (BATCHES, BATCHES[::-1]):
        model = prepared()
        one_shot_(model, Target(density=0.3), batches=batches)
        masks.append([site.transform.prune.mask for site in transforms_of(model)])
        masks[-1].append(strip_(model)(EXAMPLE))
    for a, b in zip(*masks, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("batches", [None, [torch.randn(8, 3, 8, 8)]])
def test_strip_pack_and_check_take_the_result(batches):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=2, padding=1),
        nn.BatchNorm2d(8),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 5),
    )
    x = torch.randn(4, 3, 8, 8)
    prepare_(model, plan(model, x, prune=Prune()))
    one_shot_(model, Target(density=0.4), batches=batches)
    artifact = pack(model, x)
    assert check(artifact, model, x).relative_difference < 1e-4
    wanted = strip_(model).eval()(x)
    torch.testing.assert_close(torch.from_numpy(interpret(artifact, x.numpy())), wanted, rtol=1e-3, atol=1e-4)


def test_modes_and_gradients_stay_and_progress_is_told():
    model, steps = prepared(), []
    model[1].eval()
    modes = [module.training for module in model.modules()]
    one_shot_(model, Target(density=0.3), batches=BATCHES, change="kl", watch=steps.append)
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert [(s.phase, s.done) for s in steps] == [(phase, done) for phase in ("measure", "repair") for done in range(4)]
    assert steps[0] == OneShotStep("measure", 0, 3, "0.weight")


def test_what_cannot_be_seen_is_named_and_cut_all_the_same():
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
    x = torch.randn(6, 3, 8)
    prepare_(model, plan(model, x, prune=Prune()))
    before = model.self_attn.parametrizations.in_proj_weight.original.clone()
    result = one_shot_(model, Target(density=0.5), batches=[x])
    assert set(result.fallbacks) == {"self_attn.in_proj_weight", "self_attn.out_proj.weight"}
    row = next(layer for layer in result.layers if layer.name == "self_attn.in_proj_weight")
    assert (row.score, row.after) == ("|w|", None)
    assert row.reason
    assert torch.equal(model.self_attn.parametrizations.in_proj_weight.original, before)
    assert result.density == pytest.approx(0.5, abs=0.01)


def test_tied_weights_stay_tied():
    torch.manual_seed(0)
    model = Tied()
    ids = torch.arange(7).reshape(1, 7)
    prepare_(model, plan(model, ids, prune=Prune()))
    result = one_shot_(model, Target(density=0.5), batches=[ids])
    assert len(result.fallbacks) == 1
    assert torch.equal(model.embed.weight, model.head.weight)
    assert int((model.head.weight != 0).sum()) == 14


@pytest.mark.parametrize("phase", ["measure", "repair"])
@pytest.mark.parametrize("raised", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_leaves_the_model_as_it_was(phase, raised):
    model = prepared()
    before, copied = state(model), copy.deepcopy(model)

    def watch(step):
        if step.phase == phase and step.done == 2:
            raise raised

    with pytest.raises(raised):
        one_shot_(model, Target(density=0.3), batches=BATCHES, watch=watch)
    assert same(state(model), before)
    assert not any(site.transform.is_hard for site in transforms_of(model))
    one_shot_(model, Target(density=0.3), batches=BATCHES)
    one_shot_(copied, Target(density=0.3), batches=BATCHES)
    assert same(state(model), state(copied))


def test_an_interruption_while_taking_over_takes_everything_over():
    model, clean = prepared(), prepared()
    load, interrupted = model.load_state_dict, []

    def interrupt(given):
        if not interrupted:
            interrupted.append(1)
            load({key: given[key] for key in list(given)[:2]}, strict=False)
            raise KeyboardInterrupt
        return load(given)

    model.load_state_dict = interrupt
    with pytest.raises(KeyboardInterrupt):
        one_shot_(model, Target(density=0.3), batches=BATCHES)
    one_shot_(clean, Target(density=0.3), batches=BATCHES)
    assert same(state(model), state(clean))


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "no calibration batch"),
        ([BATCHES[0], torch.zeros(0, 1, 8, 8)], "batch 1 is empty"),
        ([BATCHES[0] / 0], "batch 0 holds NaN or infinity"),
        (["words"], "batch 0 is a"),
        ([{"x": BATCHES[0]}], "batch 0 is a"),
        ([BATCHES[0], torch.zeros(4, 3, 8, 8)], "fails on calibration batch 1"),
        ([1e38 * BATCHES[0]], "NaN or infinity"),
    ],
)
def test_bad_batches_are_named_and_leave_the_model_alone(batches, message):
    model = prepared()
    before = state(model)
    with pytest.raises(DataError, match=message):
        one_shot_(model, Target(density=0.3), batches=batches)
    assert same(state(model), before)


def test_wrong_wishes():
    with pytest.raises(PlanError, match="not prepared"):
        one_shot_(small_net(), Target(density=0.3))
    with pytest.raises(PlanError, match="expected one of magnitude"):
        one_shot_(prepared(), Target(density=0.3), allocation="lump")
    with pytest.raises(PlanError, match="expected one of error"):
        one_shot_(prepared(), Target(density=0.3), batches=BATCHES, change="loss")
    with pytest.raises(PlanError, match="needs batches"):
        one_shot_(prepared(), Target(density=0.3), allocation="measured")
    with pytest.raises(TargetError, match="give a Target"):
        one_shot_(prepared(), 0.3)
    with pytest.raises(TargetError, match="max_drop"):
        one_shot_(prepared(), Target(max_drop=0.1))
    with pytest.raises(TargetError, match="limit is 30"):
        one_shot_(prepared(), Target(packed_bytes=30), batches=BATCHES)
    model = prepared()
    transforms_of(model)[0].original.data[0] = float("inf")
    with pytest.raises(TargetError, match=r"0\.weight holds NaN"):
        one_shot_(model, Target(density=0.3))
    one_shot_(hardened := prepared(), Target(density=0.3))
    with pytest.raises(PlanError, match="already hardened"):
        one_shot_(hardened, Target(density=0.3))


def test_a_model_of_two_inputs_takes_them_as_a_tuple():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Linear(4, 3), nn.Linear(5, 3)

        def forward(self, a, b):
            return self.left(a) + self.right(b)

    torch.manual_seed(0)
    model = Sum()
    x = torch.randn(9, 4), torch.randn(9, 5)
    prepare_(model, plan(model, x, prune=Prune()))
    result = one_shot_(model, Target(density=0.5), batches=[(x, None)])
    assert result.samples == 9
    assert all(layer.after is not None for layer in result.layers)


@pytest.mark.parametrize("batches", [None, BATCHES])
@pytest.mark.parametrize("rule", [Quantize(4), Quantize((2, 8), granularity="channel")])
def test_what_stays_is_quantized(batches, rule):
    model = prepared(quantize=rule)
    result = one_shot_(model, Target(density=0.4), batches=batches)
    assert result.density == pytest.approx(0.4, abs=1e-3)
    assert {row.bits for row in result.tensors} == {max(rule.bits)}
    for site in transforms_of(model):
        w = site.transform(site.original).detach()
        assert torch.equal(torch.from_numpy(on_grid(w.numpy(), site.transform.grid()).to_dense()), w)
    artifact = pack(model.eval(), EXAMPLE)
    assert all(isinstance(artifact.tensors[row.name], Quantized) for row in result.tensors)


def test_limits_hold_with_both():
    half = prepared(quantize=Quantize(8))
    one_shot_(half, Target(density=0.5), batches=BATCHES)
    limit = len(pack(half.eval(), EXAMPLE).to_bytes()) - 60
    few = one_shot_(prepared(quantize=Quantize(8)), Target(packed_bytes=limit), batches=BATCHES)
    model = prepared(quantize=Quantize((2, 8)))
    fixed = one_shot_(model, Target(density=0.5, packed_bytes=limit), batches=BATCHES)
    assert 0.3 < few.density < 0.5
    assert fixed.density == pytest.approx(0.5, abs=1e-3)
    assert few.average_bits == 8 > fixed.average_bits
    assert limit - 100 < len(pack(model.eval(), EXAMPLE).to_bytes()) <= limit
    with pytest.raises(TargetError, match="packed bytes"):
        one_shot_(prepared(quantize=Quantize(8)), Target(density=0.5, packed_bytes=limit), batches=BATCHES)


def test_without_batches_an_example_measures_the_file_and_else_a_note_says_that_an_estimate_decided():
    measured, estimated = prepared(), prepared()
    target = Target(packed_bytes=700)
    found = one_shot_by_file_(measured, target, EXAMPLE)
    assert found.notes == ()
    assert one_shot_(estimated, target).notes == (ESTIMATED,)
    assert 690 <= len(pack(measured, EXAMPLE).to_bytes()) <= 700
    assert len(pack(estimated, EXAMPLE).to_bytes()) < 690
    assert one_shot_(prepared(), target, batches=BATCHES).notes == ()


def test_feature_maps_are_calibrated_after_the_cut_and_correction_helps():
    def made(**rules):
        model = small_net()
        return prepare_(model, plan(model, EXAMPLE, prune=Prune(), quantize=Quantize(4), **rules))

    model = made(maps=Quantize((2, 8)))
    result = one_shot_(model, Target(density=0.5, largest_map_bytes=72), batches=BATCHES)
    assert result.largest_map_bytes <= 72
    assert result.bit_operations > 0
    assert all(site.quantizer.is_hard for site in maps_of(model))
    x, dense = torch.cat(BATCHES), small_net().eval()
    blind = made()
    one_shot_(blind, Target(density=0.5))
    seen = made()
    one_shot_(seen, Target(density=0.5), batches=BATCHES)
    lost, left = ((net.eval()(x) - dense(x)).square().sum() for net in (blind, seen))
    assert left < lost / 2
    with pytest.raises(PlanError, match="comes from data"):
        one_shot_(made(maps=Quantize(8)), Target(density=0.5))
    assert {row.bits for row in one_shot_(made(maps="dynamic"), Target(density=0.5)).maps} == {8}


def test_tensors_that_are_quantized_alone_and_plans_that_cut_nothing():
    model = small_net()
    rows = plan(model, EXAMPLE, prune=Prune(), quantize=Quantize(8)).replace("0.weight", prune=None)
    result = one_shot_(prepare_(model, rows), Target(density=0.5), batches=BATCHES)
    assert [(row.pruned, row.bits) for row in result.tensors] == [(False, 8), (True, 8), (True, 8)]
    with pytest.raises(PlanError, match="cuts nothing"):
        one_shot_(quantized(Quantize(8)), Target(average_bits=8))


def test_a_failure_leaves_ranges_as_they_were():
    model = prepared(quantize=Quantize(8))
    before = state(model)
    with pytest.raises(TargetError):
        one_shot_(model, Target(density=0.9, packed_bytes=300))
    assert same(state(model), before)
