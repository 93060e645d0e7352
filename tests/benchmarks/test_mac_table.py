"""benchmarks.mac_table: times fewer MACs at equal accuracy, against curves whose ratio is known."""

import pytest

from mac_table import table, times_fewer

CURVE = [(1000.0, 0.5), (2000.0, 0.7), (4000.0, 0.8), (8000.0, 0.9)]


def test_a_curve_moved_by_a_factor_needs_that_many_times_fewer():
    moved = [(macs / 3, accuracy) for macs, accuracy in CURVE]
    found = times_fewer(moved, CURVE)
    assert found.times == pytest.approx(3)
    assert (found.low, found.high) == (0.5, 0.9)
    assert times_fewer(CURVE, moved).times == pytest.approx(1 / 3)


def test_points_that_another_one_beats_do_not_count():
    assert times_fewer([*CURVE, (3000.0, 0.6)], CURVE).times == pytest.approx(1)


def test_without_a_common_accuracy_there_is_a_bound_or_nothing():
    found = times_fewer([(500.0, 0.95)], CURVE)
    assert found.at_least
    assert found.times == pytest.approx(16)
    assert times_fewer(CURVE, [(500.0, 0.95)]) is None
    assert times_fewer([], CURVE) is None


def test_the_table_keeps_seeds_and_retraining_apart():
    lines = [
        {"network": "net", "steps": steps, "lr": 0.1, "seed": seed, "way": way, "share": macs / 8000,
         "macs": macs / gain, "accuracy": accuracy, "accuracy_at_once": accuracy / 2}
        for steps, seed, gain in ((10, 0, 2), (10, 1, 4), (20, 0, 1))
        for way, gain in (("mac_aware relative", gain), ("uniform threshold", 1))
        for macs, accuracy in CURVE
    ]  # fmt: skip
    text = table(lines)
    assert "seed 0 2.00 times fewer from 50.00% to 90.00%; seed 1 4.00 times fewer" in text
    assert "seed 0 1.00 times fewer" in text
    assert "| mac_aware relative | 45.00% then 90.00% (2) |" in text
