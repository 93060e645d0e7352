"""calibrate_(): ranges against the values that pass through, biases against means, and nothing on failure."""

import numpy as np
import pytest
import torch
from torch import nn

from mapped import batches, mapped, watched
from prepared import EXAMPLE, small_net
from secateur.errors import DataError, PlanError
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.harden import harden_
from secateur.nn.map_sites import maps_of
from secateur.nn.off_grid import off_grid
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.transform import transforms_of
from secateur.train.calibrate import calibrate_


def values(model):
    """Of every map on the batches, without quantization."""
    plain, found = off_grid(model), {}
    for site in maps_of(plain):
        site.quantizer.register_forward_pre_hook(
            lambda _, args, name=site.name: found.setdefault(name, []).append(args[0].detach())
        )
    for batch in batches():
        plain(batch)
    return {name: torch.cat(parts).abs().numpy() for name, parts in found.items()}


def outputs(model):
    with torch.no_grad():
        return torch.cat([model.eval()(batch) for batch in batches()])


def test_percentiles_are_those_of_the_values():
    model = mapped()
    seen = values(model)
    found = calibrate_(model, batches(), method=99.0)
    assert [row.name for row in found.maps] == ["input", "1", "5"]
    assert found.samples == 48
    for row, site in zip(found.maps, maps_of(model), strict=True):
        assert row.x_max == pytest.approx(np.percentile(seen[row.name], 99.0), rel=0.02)
        assert row.largest == pytest.approx(seen[row.name].max(), rel=1e-6)
        assert float(site.quantizer.x_max().detach()) == pytest.approx(row.x_max, rel=1e-5)
        assert site.quantizer.is_on
        assert not site.quantizer.is_hard


def test_the_error_is_what_quantizing_does():
    model = mapped()
    seen = values(model)
    found = calibrate_(model, batches())
    for row, site in zip(found.maps, maps_of(model), strict=True):
        x = torch.from_numpy(seen[row.name])
        site.quantizer.harden(row.bits)
        error = float((site.quantizer(x) - x).detach().square().sum() / x.square().sum())
        assert row.error == pytest.approx(error, rel=0.1)
        assert row.bits == 8


def test_a_narrower_width_gets_the_range_that_was_calibrated_for_it():
    errors = {}
    for bits in (2, 8):
        model = mapped()
        seen = values(model)
        calibrate_(model, batches())
        site = maps_of(model)[1]
        x = torch.from_numpy(seen[site.name])
        if bits == 2:
            site.quantizer.harden(2)
        else:  # what the range of 8 bits would do at 2
            site.quantizer.ends = None
            site.quantizer.harden(2)
        errors[bits] = float((site.quantizer(x) - x).detach().square().sum())
    assert errors[2] < 0.7 * errors[8]


def test_what_was_trained_since_is_not_set_back():
    model = mapped()
    calibrate_(model, batches())
    quantizer = maps_of(model)[0].quantizer
    quantizer.log_range.data += 0.5
    trained = quantizer.log_range.detach().clone()
    quantizer.harden(4)
    assert torch.equal(quantizer.log_range, trained)


def test_biases_make_up_for_shifted_means():
    gaps = {}
    for correct in (False, True):
        model = mapped(Quantize(3), quantize=Quantize(3))
        dense = outputs(off_grid(model)).mean(0)
        found = calibrate_(model, batches(), correct_biases=correct)
        harden_(model)
        gaps[correct] = float((outputs(model).mean(0) - dense).abs().max())
        assert list(found.corrected) == (["0", "4", "6"] if correct else [])
    assert gaps[True] < 1e-5 < 0.01 * gaps[False] + 1e-5
    assert gaps[True] < 0.01 * gaps[False]


def test_batch_norms_are_corrected_where_convolutions_have_no_bias():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    for batch in batches():
        model(batch)
    prepare_(model, plan(model, batches()[0], quantize=Quantize(2), maps=Quantize(3)))
    dense = outputs(off_grid(model)).mean(0)
    found = calibrate_(model, batches())
    harden_(model)
    assert list(found.corrected) == ["1", "4"]
    assert max(found.corrected.values()) > 0.001
    torch.testing.assert_close(outputs(model).mean(0), dense, atol=1e-5, rtol=1e-5)


def test_eight_bits_change_little_and_labels_are_ignored():
    model = mapped(Quantize(8), quantize=Quantize(8))
    dense = outputs(off_grid(model))
    calibrate_(model, [(batch, torch.zeros(len(batch))) for batch in batches()])
    harden_(model)
    found = outputs(model)
    assert float(nn.functional.cosine_similarity(found, dense).mean()) > 0.999
    assert not torch.equal(found, dense)


def test_of_a_hardened_model_only_biases_are_corrected():
    model = mapped(prune=Prune(start=0.5), quantize=Quantize({2, 8}))
    dense = off_grid(model)
    calibrate_(model, batches())
    harden_(model, Target(density=0.5, average_bits=3, largest_map_bytes=40))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = calibrate_(model, batches(), dense=dense)
    assert found.maps == ()
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed
    assert all(name.endswith("bias") for name in changed)
    assert max(calibrate_(model, batches(), dense=dense).corrected.values()) < 1e-5, "nothing is left to correct"


def test_training_can_go_on_from_calibrated_ranges():
    model = mapped(quantize=Quantize((2, 8)))
    calibrate_(model, batches())
    model.train()(batches()[0]).square().mean().backward()
    assert all(site.quantizer.log_range.grad is not None for site in maps_of(model))
    state = model.state_dict()
    again = mapped(quantize=Quantize((2, 8)))
    again.load_state_dict(state)
    assert torch.equal(outputs(again), outputs(model))


def test_what_it_cannot_take_is_refused_and_changes_nothing():
    model = mapped(quantize=Quantize(4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    bad = batches()
    bad[1] = torch.full_like(bad[1], float("nan"))
    for given, words in (([], "no calibration batch"), (bad, "NaN"), ([torch.zeros(2, 3)], "fails on"), ([{}], "dict")):
        with pytest.raises(DataError, match=words):
            calibrate_(model, given)
    refused = (
        ({"method": "mes"}, "did you mean 'mse'"),
        ({"method": 0.0}, "percentage"),
        ({"method": None}, "percentage"),
        ({"dense": nn.Linear(64, 2)}, "not the same"),
    )
    for options, words in refused:
        with pytest.raises(PlanError, match=words):
            calibrate_(model, batches(), **options)
    with pytest.raises(PlanError, match="quantizes nothing"):
        calibrate_(mapped(None, prune=Prune()), batches())
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


@pytest.mark.parametrize("hint", [torch.zeros_like, torch.abs])
def test_its_error_is_that_of_the_quantizer_whatever_the_example_held(hint):
    net, x = small_net(), torch.cat(batches())
    model = prepare_(net, plan(net, hint(EXAMPLE), maps=Quantize(8)))
    (told,) = (row for row in calibrate_(model, batches()).maps if row.name == "input")
    harden_(model)
    with torch.no_grad():
        off = maps_of(model)[0].quantizer(x) - x
    assert told.error == pytest.approx(float(off.square().sum() / x.square().sum()), rel=0.05)
    assert told.lowest == float(x.min()) < 0


def test_negative_values_of_an_input_that_never_has_any_are_refused():
    net = small_net()
    model = prepare_(net, plan(net, EXAMPLE, maps=Quantize(8)).replace("input", signed=False))
    with pytest.raises(DataError, match=r"'input' is planned as never negative, and -.*signed=True"):
        calibrate_(model, batches())
    (told,) = (row for row in calibrate_(model, [x.abs() for x in batches()]).maps if row.name == "input")
    assert told.lowest >= 0


def test_maps_may_have_been_watched_before():
    model = watched(mapped())
    calibrate_(model, batches())
    assert all(site.quantizer.is_on for site in maps_of(model))
    assert not any(site.transform.quantize for site in transforms_of(model))
