"""The closed list itself."""

from __future__ import annotations

import pytest

from secateur.ir.ops import OPS, Op

LISTED = """conv conv_transpose lstm gru rnn
linear relu relu6 sigmoid tanh silu hardswish hardsigmoid leaky_relu elu clip prelu gelu softmax
log_softmax max_pool average_pool adaptive_average_pool adaptive_max_pool reshape permute expand slice pad concat add
sub mul div matmul attention embedding batch_norm layer_norm group_norm mean sum cast fake_quantize
dynamic_quantize"""


def test_the_list_is_closed() -> None:
    """A new operation needs a row, a twin in tests/laws/op_cases.py, and its name here."""
    assert set(OPS) == set(LISTED.split())
    with pytest.raises(TypeError):
        OPS["fft"] = OPS["relu"]  # type: ignore[index]


@pytest.mark.parametrize("name", OPS)
def test_a_row_is_complete(name: str) -> None:
    op = OPS[name]
    assert isinstance(op, Op)
    assert op.name == name
    fewest, most = op.arity
    assert 1 <= fewest <= most
    assert op.rule.__doc__
    assert op.meaning.__doc__
