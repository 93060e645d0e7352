"""bridge.timing: when one function counts as faster, on given times; and that both run in turns."""

import pytest

from secateur.bridge import timing
from secateur.bridge.timing import compare, judged


@pytest.mark.parametrize(
    ("pairs", "faster"),
    [
        ([(2.0, 1.0)] * 9, True),
        ([(1.0, 1.0)] * 9, False),
        ([(1.01, 1.0)] * 9, False),
        ([(1.0, 2.0)] * 9, False),
        ([(2.0, 1.0)] * 6 + [(1.0, 2.0)] * 3, False),
        ([(9.0, 1.0)] * 8 + [(1.0, 1.0)], False),
        ([(1.0, 0.9)] * 3 + [(2.0, 1.9)] * 2 + [(1.0, 2.0)] * 4, False),
        ([(2.0, 1.0)] * 8 + [(3.0, 9.0)], True),
    ],
)
def test_judged(pairs, faster):
    assert judged(pairs).faster is faster


def test_medians_are_in_microseconds():
    found = judged([(1e-3, 1e-6), (2e-3, 2e-6), (9e-3, 3e-6)])
    assert found.before_us == pytest.approx(2000)
    assert found.after_us == pytest.approx(2)


def test_both_run_in_turns(monkeypatch):
    calls = []
    clock = iter(range(10_000))
    monkeypatch.setattr(timing, "perf_counter", lambda: next(clock))
    compare(lambda: calls.append("before"), lambda: calls.append("after"), seconds=0)
    assert calls[:4] == ["before", "after", "after", "before"]
    assert calls.count("before") == calls.count("after") == timing.LEAST_PAIRS + 2
    calls.clear()
    compare(lambda: calls.append("before"), lambda: calls.append("after"), seconds=1e9)
    assert calls.count("after") == timing.MOST_PAIRS
