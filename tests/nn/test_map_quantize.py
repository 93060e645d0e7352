"""nn.map_quantize: ranges that are watched, states in buffers, widths that learn when they are told to, frozen maps."""

import copy

import pytest
import torch

from secateur.errors import DataError, PlanError
from secateur.ir.plan_rows import MapPlan
from secateur.ir.rules import Quantize
from secateur.nn.map_quantize import FrozenMap, MapQuantize

RULE = Quantize({2, 4, 8})


def maps(seed=0, scale=1.0):
    return scale * torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def watched(rule=RULE, signed=True):
    stage = MapQuantize(rule, signed, 768)
    for seed in range(5):
        stage(maps(seed) if signed else maps(seed).abs())
    return stage


def started(*args, **kwargs):
    stage = watched(*args, **kwargs)
    stage.start()
    return stage


def test_off_it_is_the_identity_and_watches_in_training_alone():
    stage = MapQuantize(RULE, signed=True, elements=768).eval()
    x = maps()
    assert stage(x) is x
    assert stage.seen < 0
    stage.train()
    assert stage(x) is x
    assert not stage.is_on
    assert float(stage.seen) == pytest.approx(float(x.abs().flatten().quantile(0.999)), rel=0.2)
    before = stage.seen.clone()
    stage(maps()[:0])
    assert torch.equal(stage.seen, before)


def test_the_range_begins_with_what_was_seen():
    stage = watched()
    stage.start()
    assert float(stage.x_max().detach()) == pytest.approx(float(stage.seen))
    x = maps(9)
    assert float((x.abs() <= stage.x_max()).float().mean()) == pytest.approx(0.999, abs=0.002)
    stage.start(2.5)
    assert float(stage.x_max().detach()) == pytest.approx(2.5)


def test_without_data_there_is_no_range():
    with pytest.raises(PlanError, match="calibrate_"):
        MapQuantize(RULE, signed=True, elements=1).start()


@pytest.mark.parametrize("state", ["off", "on", "hard"])
def test_a_negative_value_of_an_input_that_never_has_one_is_an_error(state):
    stage = watched(signed=False)
    stage.row = MapPlan("x", "input", (3, 16, 16), signed=False)
    if state != "off":
        stage.start()
    if state == "hard":
        stage.harden(4)
    stage(maps().abs())
    for is_training in (True, False):
        with pytest.raises(DataError, match=r"'x' is planned as never negative, and -.*signed=True"):
            stage.train(is_training)(maps())


def test_compiled_code_notes_negative_values_until_something_can_be_raised():
    stage = MapQuantize(RULE, signed=False, elements=768)
    stage.row = MapPlan("x", "input", (3, 16, 16), signed=False)
    run = torch.compile(torch.nn.Sequential(stage), fullgraph=True, backend="aot_eager")  # inside a model, as ever
    run(maps().abs())
    stage.start()
    run(maps())
    with pytest.raises(DataError, match="never negative"):
        stage.harden(4)
    assert "least" not in stage.state_dict()


def test_an_unsigned_map_that_was_seen_to_be_negative_is_of_another_plan():
    stage = MapQuantize(RULE, signed=False, elements=768)
    stage.row = MapPlan("fc", "Linear", (3, 16, 16), signed=False)
    stage(maps())
    with pytest.raises(DataError, match=r"'fc' is planned as never negative.*plan again"):
        stage.start()


def test_a_map_of_zeros_can_be_quantized():
    stage = MapQuantize(RULE, signed=False, elements=4)
    stage(torch.zeros(2, 4))
    stage.start()
    assert not stage(torch.zeros(2, 4)).any()
    assert stage.log_range.isfinite()


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_hard_there_are_so_many_values(bits, signed):
    stage = started(signed=signed)
    stage.harden(bits)
    found = stage(100 * maps()).detach()
    step = stage.scale()
    assert torch.equal(step, step.half().float())
    assert torch.equal((found / step).round() * step, found)
    assert float(found.max() / step) == (2 ** (bits - 1) - 1 if signed else 2**bits - 1)
    assert float(found.min()) == (-float(found.max()) if signed else 0.0)
    assert len(found.unique()) <= 2**bits


def test_frozen_it_computes_the_same_bits():
    stage = started(signed=False)
    with pytest.raises(PlanError, match="harden_"):
        stage.frozen()
    stage.harden(4)
    frozen = stage.frozen()
    assert torch.equal(frozen(maps()), stage(maps()))
    assert list(frozen.state_dict()) == ["scale"]
    assert "bits=4" in repr(frozen)


def test_a_scale_can_be_a_power_of_two():
    stage = started(Quantize({4, 8}, scale="power_of_two"))
    stage.harden(4)
    assert float(stage.scale().log2()) == round(float(stage.scale().log2()))
    assert 2**-0.5 <= float(stage.scale() * 7 / stage.log_range.detach().exp()) <= 2**0.5
    assert torch.equal(stage.frozen()(maps()), stage(maps()))


def test_off_on_and_hard_travel_in_a_state_dict():
    states = [MapQuantize(RULE, signed=True, elements=768), watched(), started(), started(), started()]
    states[3].learn(0.4)
    states[4].harden(4)
    for stage in states:
        for other in (MapQuantize(RULE, signed=True, elements=768), *map(copy.deepcopy, states)):
            other.load_state_dict(stage.state_dict())
            assert torch.equal(other.eval()(maps()), stage.eval()(maps()))
            assert (other.is_on, other.is_hard, other.hard_width) == (stage.is_on, stage.is_hard, stage.hard_width)
            assert torch.equal(other.seen, stage.seen)
            assert other.shares().requires_grad == stage.shares().requires_grad


def test_ranges_learn_before_and_after_hardening_and_widths_once_told():
    stage = started()
    (stage(maps()).square().sum() + stage.expected_bits()).backward()
    assert stage.theta.grad is None
    assert stage.log_range.grad.abs() > 0
    stage.learn(1.0)
    stage(maps()).square().sum().backward()
    assert stage.theta.grad.abs().sum() > 0
    stage.log_range.grad = None
    stage.harden(2)
    stage(maps()).square().sum().backward()
    assert stage.log_range.grad.abs() > 0


def test_under_autocast_it_computes_in_float32_and_keeps_the_dtype():
    stage = started()
    with torch.autocast("cpu", torch.bfloat16):
        low = stage(maps().bfloat16())
    assert low.dtype == torch.bfloat16
    assert torch.equal(low, stage(maps().bfloat16().float()).bfloat16())


def test_what_it_cannot_be_is_refused():
    with pytest.raises(PlanError, match="2, 4, 8"):
        started().harden(3)
    with pytest.raises(PlanError, match="one range"):
        MapQuantize(Quantize(4, "channel"), signed=True, elements=1)
    for scale, bits in ((0.1, 4), (0.5, 9), (-0.5, 4), (float("nan"), 4)):
        with pytest.raises(PlanError, match="float16 scale"):
            FrozenMap(scale, bits, signed=True)
