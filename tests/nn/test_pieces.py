"""nn.pieces: every element once, constants beside their rows, and memory formats that stay."""

from typing import NamedTuple

import pytest
import torch

from secateur.nn import pieces as module
from secateur.nn.pieces import gathered, in_rows, is_one, pieces


class Scale(NamedTuple):
    factor: object


@pytest.mark.parametrize("piece", [7, 50, module.PIECE])
@pytest.mark.parametrize("rows", [1, 4])
def test_pieces_cover_everything_once_with_their_constants(monkeypatch, piece, rows):
    monkeypatch.setattr(module, "PIECE", piece)
    x, out = torch.arange(60.0).reshape(4, 15), torch.full((4, 15), torch.nan)
    factors = torch.tensor([[2.0]]) if rows == 1 else torch.arange(1.0, 5).reshape(4, 1)
    scale = Scale(2.0) if rows == 1 else Scale(factors)
    sums = []
    for constants, (source, result), (scratch,) in pieces(scale, x, out, scratch=1):
        torch.mul(source, constants.factor, out=scratch)
        result.copy_(scratch)
        sums.append(scratch.sum().item() if rows == 1 else scratch.sum(1, keepdim=True))
    assert torch.equal(out, x * factors)
    torch.testing.assert_close(gathered(sums, factors).flatten(), (x * factors).sum(0 if rows == 0 else 1).flatten()
                               if rows > 1 else (x * factors).sum().reshape(1))  # fmt: skip


def test_rows_that_share_a_constant_are_added_up():
    assert gathered([torch.ones(2, 1), 2 * torch.ones(3, 1)], torch.zeros(1, 1)).tolist() == [[8.0]]


def test_one_constant_on_a_cpu_becomes_a_number():
    assert is_one(torch.ones(1, 1), torch.ones(()))
    assert not is_one(torch.ones(1, 1), torch.ones(2, 1))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_channels_come_first_and_memory_stays_as_it_was(axis, layout):
    w = torch.randn(4, 3, 2, 5).contiguous(memory_format=layout)
    shape = [1, 1, 1, 1]
    shape[axis] = w.shape[axis]
    constant = torch.arange(1.0, 1 + w.shape[axis]).reshape(shape)

    def call(rows, scale):
        assert len(rows) == w.shape[axis]
        assert rows.shape[0] == scale.shape[0]
        return (rows * scale).contiguous(), rows.sum()

    found, total = in_rows(call, w, constant, axis=axis)
    assert torch.equal(found, w * constant)
    assert found.stride() == w.stride()
    torch.testing.assert_close(total, w.sum())
