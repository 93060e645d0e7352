"""nn.width_units: what a code of every width counts in steps of the first."""

import pytest
import torch

from secateur.maths.grid import largest_code
from secateur.nn.width_units import shares_of, unit_of


@pytest.mark.parametrize("x_max", [torch.tensor(3.0), torch.tensor([[3.0], [6.0]])], ids=["tensor", "channel"])
def test_a_code_of_any_width_is_its_share_of_the_range(x_max):
    widths, p = [3, 2, 8], torch.tensor([0.25, 0.5, 0.25])
    unit, rows = unit_of(x_max, widths), shares_of(p, widths)
    for bits, share, row in zip(widths, p.tolist(), rows, strict=True):
        assert (row.largest, row.share) == (largest_code(bits), share)
        assert unit.step * row.largest / row.ratio == pytest.approx(x_max.reshape(-1, 1).numpy()), "the last code"
        assert row.weight * row.ratio == pytest.approx(share)
