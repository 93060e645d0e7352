"""train.contradictions: what no choice of weights can hold is refused before training, what might be is not."""

import pytest
import torch
from torch import nn

from secateur.errors import SecateurWarning, TargetError
from secateur.ir.container import least_bytes
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.harden import harden_
from secateur.nn.pack import pack
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.train.budget import Budget
from secateur.train.one_shot import one_shot_

EXAMPLE = torch.zeros(1, 2, 6, 6)
CONV, LINEAR = 3 * 2 * 9, 4 * 3 * 36
"""Weights; of the convolution each is multiplied 36 times for one example, of the linear layer once."""


def net(prune=None, **rules):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(108, 4))
    return prepare_(model, plan(model, EXAMPLE, prune=prune or Prune(), **rules))


def begin(target, model=None):
    return Budget(model or net(), target, steps=1, example=EXAMPLE)


def test_macs_of_the_cheapest_weights_are_a_bound():
    half = (CONV + LINEAR) // 2
    begin(Target(density=0.5, macs=half))  # all of them in the linear layer
    with pytest.warns(SecateurWarning, match=rf"density 0\.5 and macs {half - 1} contradict .* leaves {half} weights"):
        begin(Target(density=0.5, macs=half - 1))
    most = LINEAR + 36 * CONV
    begin(Target(density=1.0, macs=most))
    with pytest.raises(TargetError, match=f"take {most:,} multiply-accumulates at least"):
        begin(Target(density=1.0, macs=most - 1))


@pytest.mark.parametrize(("values", "least"), [("float32", 22), ("float16", 9)])
def test_bytes_have_a_bound_below_what_a_file_takes(values, least):
    model = net()
    harden_(model, Target(density=1.0))
    whole = len(pack(model, EXAMPLE, values=values).to_bytes())
    bound = (CONV + LINEAR) * least // 8
    assert 0.5 * whole < bound < whole
    begin(Target(density=1.0, packed_bytes=bound, values=values))
    with pytest.raises(TargetError, match=f"take {bound:,} bytes in the file at least"):
        begin(Target(density=1.0, packed_bytes=bound - 1, values=values))


@pytest.mark.parametrize(
    ("channels", "target"),
    [(1, Target(density=0.9, packed_bytes=800)), (1 / 18, Target(density=0.5, macs=(CONV + LINEAR) // 2 - 1))],
)
def test_a_limit_that_dead_units_hold_is_no_error(channels, target):
    """All weights of two channels go, of the third as many as said; those that read the two count as kept, but are in
    no file: up to 288 of 486."""
    model = net()
    with torch.no_grad():
        model[0].parametrizations.weight.original.view(-1)[: CONV - round(18 * channels)] *= 1e-6
    with pytest.warns(SecateurWarning, match="contradict each other: .* unless units die"):
        begin(target, model)
    assert harden_(model, target, example=EXAMPLE).density == pytest.approx(target.density, abs=0.001)
    artifact = pack(model, EXAMPLE)
    conv, linear = (artifact.tensors[name].nonzeros for name in ("0.weight", "3.weight"))
    assert len(artifact.to_bytes()) <= (target.packed_bytes or 10**9)
    assert 36 * conv + linear <= (target.macs or 10**9)


@pytest.mark.parametrize("place", [0, 3])
def test_zeros_of_a_model_leave_nothing_certain(place):
    """Nothing is cut, but the file leaves out what only zeros read, or make."""
    model = net()
    with torch.no_grad():
        model[place].parametrizations.weight.original[: 2 if place == 0 else None] = 0
    target = Target(density=1.0, packed_bytes=800)
    with pytest.warns(SecateurWarning, match="unless units die"):
        begin(target, model)
    assert harden_(model, target, example=EXAMPLE).density == 1
    assert len(pack(model, EXAMPLE).to_bytes()) <= 800


def test_what_no_file_can_hold_is_refused():
    with pytest.raises(TargetError, match=f"out of reach: no file has less than {least_bytes()}"):
        begin(Target(packed_bytes=least_bytes() - 1))


def test_nothing_is_certain_of_codes_frozen_weights_small_types_patterns_and_without_a_density():
    frozen = net()
    for site in (frozen[0], frozen[3]):
        site.parametrizations.weight.original.requires_grad_(False)
    tight = Target(density=0.9, packed_bytes=800)
    with pytest.warns(SecateurWarning, match="contradict"):
        begin(tight)
    begin(tight, net(quantize=Quantize(8)))
    begin(tight, frozen)
    begin(Target(density=0.9, packed_bytes=800, values="int8"))
    begin(Target(packed_bytes=800))
    begin(Target(density=0.9, macs=10), net(Prune("balanced", n=(1, 2), m=4)))


def quantized(**rules):
    """Weights in 4 or 8 bits, maps in 3 or 8; the linear layer is not cut."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(108, 4))
    rows = plan(
        model, torch.rand(1, 2, 6, 6), prune=Prune(), quantize=Quantize(bits=(4, 8)), maps=Quantize(bits=(3, 8))
    )
    return prepare_(model, rows.replace("3.weight", prune=None, **rules))


LEAST_OPERATIONS = LINEAR * 4 * 3
"""Of the linear layer; the convolution may lose all its weights."""


@pytest.mark.parametrize(
    ("limit", "reached", "words"),
    [
        ({"average_bits": 3.9}, {"average_bits": 4.0}, r"average_bits 3\.9 is out of reach: 4 bits are the fewest"),
        ({"largest_map_bytes": 40}, {"largest_map_bytes": 41}, r"takes 41 bytes at 3 bits, the fewest its rule allows"),
        (
            {"bit_operations": LEAST_OPERATIONS - 1},
            {"bit_operations": LEAST_OPERATIONS},
            rf"bit_operations {LEAST_OPERATIONS - 1:,} is out of reach: .* allow more",
        ),
    ],
)
def test_what_the_narrowest_widths_do_not_hold_is_refused_before_training_and_before_a_cut(limit, reached, words):
    Budget(quantized(), Target(**reached), steps=1)
    with pytest.raises(TargetError, match=words):
        Budget(quantized(), Target(**limit), steps=1)
    model = quantized()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(TargetError, match=words):
        one_shot_(
            model,
            Target(density=0.5, **limit),
            batches=[torch.rand(4, 2, 6, 6)],
            watch=lambda _: pytest.fail("it began"),
        )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_bit_operations_beside_a_density_count_the_cheapest_weights_that_it_leaves():
    """Of the convolution alone, which is all that is cut: half of its weights, each 36 times."""
    least = LEAST_OPERATIONS + CONV // 2 * 36 * 4 * 3
    Budget(quantized(), Target(density=0.5, bit_operations=least), steps=1)
    with pytest.raises(TargetError, match=f"take {least:,}"):
        Budget(quantized(), Target(density=0.5, bit_operations=least - 1), steps=1)


def test_patterns_leave_their_smallest_count_and_float_weights_32_bits():
    model = net(Prune("balanced", n=(1, 2), m=4))
    least = (LINEAR // 4 + CONV * 36 // 2) * 32 * 32  # two input channels are half a group, which keeps one
    Budget(model, Target(bit_operations=least), steps=1)
    with pytest.raises(TargetError, match=f"take {least:,}"):
        Budget(net(Prune("balanced", n=(1, 2), m=4)), Target(bit_operations=least - 1), steps=1)
