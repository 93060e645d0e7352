"""Which way a layer is computed: what is measured, what is kept, what a choice says."""

from dataclasses import replace

import pytest

from kernel_cases import make_layer
from secateur.errors import KernelError
from secateur.kernels import choice as choices
from secateur.kernels.accuracy import ACCURACY
from secateur.kernels.algorithms import Tiling
from secateur.kernels.choice import Candidate, Choice, choose, forget_choices, ranked, tilings
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.fast import Blocking
from secateur.kernels.runnable import Setting
from secateur.kernels.shape import ConvShape
from secateur.kernels.target import host_target

SHAPE = ConvShape(1, 12, 12, 16, 16, (3, 3), padding=(1, 1, 1, 1))
TARGET = host_target()


def setting(shape=SHAPE, threads=1):
    return Setting(shape, Epilogue(), TARGET, threads)


def test_the_fastest_measured_is_chosen_and_kept(monkeypatch):
    kernel = make_layer(SHAPE).kernel(None)
    found = kernel.choice
    assert found.candidates[0] == found.chosen
    assert {one.algorithm for one in found.candidates} >= {"direct", found.chosen.algorithm}
    assert all(one.microseconds for one in found.candidates)
    assert all(one.error is not None and one.error <= found.limit for one in found.candidates)
    monkeypatch.setattr(choices, "_timed", lambda *_: pytest.fail("measured again"))
    assert choose(setting(), "default") == found
    lines = kernel.explain().splitlines()
    assert len(lines) == 1 + len(found.candidates)
    assert found.chosen.algorithm in lines[0]
    assert "1.5e-05" in lines[0]


def test_choices_say_when_they_were_made_and_can_be_forgotten(monkeypatch):
    found = choose(setting(), "default")
    assert f"measurement of {found.measured}" in found.explain()
    assert found.measured.endswith("UTC")
    monkeypatch.setattr(choices, "now", lambda: "later")
    assert choose(setting(), "default") == found
    assert forget_choices() > 0
    assert choose(setting(), "default").measured == "later"


def test_a_looser_class_also_tries_what_won_in_a_stricter_one(monkeypatch):
    """Its own few candidates by estimate may leave it out; here its estimate ranks the other way round."""

    def timed(_, found):
        return [replace(one, microseconds=2.0 if one.tiling is None else 1.0) for one in found]

    forget_choices()
    monkeypatch.setattr(choices, "FAST_CANDIDATES", 1)
    monkeypatch.setattr(choices, "_timed", timed)
    monkeypatch.setattr(choices, "ranked", lambda given, limit: ranked(given, limit)[:: 1 if limit < 1e-5 else -1])
    alone = {one.algorithm for one in choose(setting(), "fast").candidates}
    forget_choices()
    winner = choose(setting(), "strict").chosen.algorithm
    assert winner not in alone
    assert alone | {winner} == {one.algorithm for one in choose(setting(), "fast").candidates}
    forget_choices()


def test_a_choice_as_a_file():
    fast = Candidate("F(4x4,3x3)", Tiling((4, 4), (3, 3)), Blocking(14, 1, True), 12.5, 1e-6)
    found = Choice(fast, (fast, Candidate("direct", None, None, None, None)), "strict", 3e-6, "measurement")
    assert Choice.from_json(found.to_json()) == found
    assert "shared by the threads: 12" in found.explain()


def test_layers_no_fast_algorithm_computes():
    assert tilings(setting(replace(SHAPE, stride=(2, 2)))) == []
    assert tilings(setting(replace(SHAPE, groups=2))) == []
    assert [one.name for one in tilings(setting(replace(SHAPE, taps=(1, 1), stride=(2, 2))))] == ["F(1x1,1x1)"]
    assert make_layer(replace(SHAPE, stride=(2, 2))).kernel(None).choice.chosen.algorithm == "direct"
    with pytest.raises(KernelError, match="none of this layer's"):
        make_layer(replace(SHAPE, dilation=(2, 2))).kernel("F(4x4,3x3)")
    with pytest.raises(KernelError, match=r"F\(99x99"):
        make_layer(SHAPE).kernel("F(99x99,3x3)")


def test_what_is_guessed_worse_than_a_failure_is_not_compiled(monkeypatch):
    """A tiling whose measured error is too large spares the measurement of those guessed to be worse."""
    tried = []

    def measured(_, algorithm, limit):
        assert limit == ACCURACY["default"]
        tried.append(choices.expected_error(algorithm, SHAPE.in_channels))
        return 1.0

    monkeypatch.setattr(choices, "measured_error", measured)
    assert choices._fast_candidates(setting(), ACCURACY["default"]) == []
    assert len(tried) < len(ranked(setting(), ACCURACY["default"]))
    assert tried == sorted(tried, reverse=True)
