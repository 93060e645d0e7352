"""nn.masks: how many weights stay, where what they cost depends on how many they are."""

from types import SimpleNamespace

import pytest

from secateur.nn.masks import _Wish


class Wish(_Wish):
    """A limit of 100 on count times cost; costs[i] is that after the i-th time ranges were fitted, and widths become
    narrower the first `narrower` times they are asked to."""

    def __init__(self, costs, narrower, packing):
        self.costs, self.narrower, self.fitted = costs, narrower, 0
        self._packing = packing
        self._choice = SimpleNamespace(named=lambda keep: keep)
        self._widths = SimpleNamespace(begin=self.begin)

    def begin(self, _):
        self.fitted = min(self.fitted + 1, len(self.costs) - 1)

    def _estimated(self, keep):
        return "too much" if keep * self.costs[self.fitted] > 100 else ""

    _excess = _estimated

    def _average(self, _):
        self.narrower -= 1
        return self.narrower >= 0


@pytest.mark.parametrize("packing", [None, object()], ids=["estimated", "measured"])
@pytest.mark.parametrize(
    ("costs", "narrower", "expected"),
    [
        ([1.0], 0, 100),
        ([1.0, 2.0], 0, 50),  # the ranges of these weights take more than was thought: fewer
        ([1.0, 2.0, 4.0], 0, 25),
        ([2.0, 1.0], 1, 100),  # narrower weights leave room for more of them
        ([2.0, 1.0, 0.5], 2, 200),
        ([2.0, 0.5, 4.0], 1, 25),
        ([1000.0], 0, 0),
    ],
)
def test_as_many_as_hold_in_ranges_and_widths_that_suit_them(costs, narrower, expected, packing):
    keep = Wish(costs, narrower, packing)._most(1000)
    assert keep == expected or (packing and 0.9 * expected <= keep <= expected), "files are asked about less often"
