"""Recurrent layers, one direction of one layer a node: LSTM, GRU, and the plain recurrent network.

Sequences are (batch, time, features). Weights and the order of their gates are torch's: a weight of shape
(gates * hidden, features) holds the gates one below the other. The inputs of a node are

    x, w_ih, w_hh, b_ih, b_hh [, w_hr] [, h0 [, c0]]

where w_hr is the projection that an LSTM may have (Sak et al. 2014) and a missing state is zero; their number says
which are there. The result holds the state after every step, so the last state is a slice of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from secateur.errors import GraphError
from secateur.ir.graph import ValueType
from secateur.ir.ops.activation import sigmoid
from secateur.ir.ops.op import Effort
from secateur.ir.ops.sizes import need_float, need_shape, need_static, show

if TYPE_CHECKING:
    from jaxtyping import Float

Sequence: TypeAlias = 'Float[np.ndarray, "n t i"]'
Array: TypeAlias = 'Float[np.ndarray, "*_"]'
STEP_STEPS = 80_000  # what the calls of numpy for one step of time cost, however small their arrays
NONLINEARITIES = ("tanh", "relu")


def _hidden_size(op: str, gates: int, values: tuple[ValueType, ...]) -> int:
    """The number of hidden units. GraphError where x, weights and biases do not fit one another."""
    x, w_ih, w_hh, b_ih, b_hh = values[:5]
    need_float(op, *values)
    for name, weight in (("w_ih", w_ih), ("w_hh", w_hh)):
        need_static(op, weight.shape, name)
        if len(weight.shape) != 2 or weight.shape[0] % gates or weight.shape[0] != w_ih.shape[0]:
            raise GraphError(
                f"{op}: w_ih {show(w_ih.shape)} and w_hh {show(w_hh.shape)} must be matrices of {gates} times "
                "the hidden units"
            )
    if len(x.shape) != 3 or x.shape[2] != w_ih.shape[1]:
        raise GraphError(f"{op}: x {show(x.shape)} must be (batch, time, {w_ih.shape[1]}) for w_ih {show(w_ih.shape)}")
    need_static(op, x.shape[1:2], "time")
    for name, bias in (("b_ih", b_ih), ("b_hh", b_hh)):
        need_shape(op, bias, w_ih.shape[:1], name)
    return w_ih.shape[0] // gates


def _plain_type(op: str, gates: int, values: tuple[ValueType, ...]) -> ValueType:
    hidden = _hidden_size(op, gates, values)
    x, _, w_hh, *_ = values
    need_shape(op, w_hh, (gates * hidden, hidden), "w_hh")
    for state in values[5:]:
        need_shape(op, state, (x.shape[0], hidden), "h0")
    return ValueType((*x.shape[:2], hidden))


def lstm_type(*values: ValueType, reverse: bool, cell: bool) -> ValueType:  # noqa: ARG001 - checked by the row
    """-> (batch, time, outputs), with `cell` (batch, time, outputs + hidden); outputs are the hidden units, or w_hr's
    rows."""
    hidden = _hidden_size("lstm", 4, values)
    x, _, w_hh = values[:3]
    first = _first_state(len(values))
    projection, states = values[5:first], values[first:]
    outputs = w_hh.shape[1]
    need_shape("lstm", w_hh, (4 * hidden, outputs if projection else hidden), "w_hh")
    for weight in projection:
        need_shape("lstm", weight, (outputs, hidden), "w_hr")
    for name, state, size in zip(("h0", "c0"), states, (outputs, hidden), strict=False):
        need_shape("lstm", state, (x.shape[0], size), name)
    return ValueType((*x.shape[:2], outputs + hidden * cell))


def _first_state(inputs: int) -> int:
    """Where an LSTM's states begin among so many inputs: an even number has a projection before them."""
    return 5 + (inputs % 2 == 0)


def lstm(x: Sequence, *parameters: Array, reverse: bool, cell: bool) -> Float[np.ndarray, "n t _"]:
    """The hidden states of all steps; with `cell` the cell states behind them on the last axis.

    i, f, o = sigmoid, g = tanh of W_ih x_t + b_ih + W_hh h + b_hh;  c <- f c + i g;  h <- [W_hr] o tanh(c). Hochreiter
    and Schmidhuber 1997, with the forget gate of Gers et al. 2000, as in torch.nn.LSTM. `reverse`: from the last step.
    """
    w_ih, w_hh, b_ih, b_hh, *rest = parameters
    hidden, outputs = w_ih.shape[0] // 4, w_hh.shape[1]
    first = _first_state(5 + len(rest)) - 5
    h, c = rest[first:] or (np.zeros((len(x), size), np.float32) for size in (outputs, hidden))
    result = np.empty((*x.shape[:2], outputs + hidden * cell), np.float32)
    for step, fed in _steps(x, w_ih, b_ih, reverse):
        i, f, g, o = np.split(fed + (h @ w_hh.T + b_hh), 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        for weight in rest[:first]:
            h = h @ weight.T
        result[:, step, :outputs] = h
        if cell:
            result[:, step, outputs:] = c
    return result


def gru_type(*values: ValueType, reverse: bool) -> ValueType:  # noqa: ARG001 - checked by the row
    """-> (batch, time, hidden)."""
    return _plain_type("gru", 3, values)


def gru(x: Sequence, *parameters: Array, reverse: bool) -> Float[np.ndarray, "n t _"]:
    """The hidden states of all steps. With a = W_ih x_t + b_ih and b = W_hh h + b_hh, both in the gates r, z, n:

    r, z = sigmoid(a + b);  n = tanh(a + r b);  h <- (1 - z) n + z h. Cho et al. 2014, in the form of torch.nn.GRU,
    where the reset gate acts after the product.
    """
    w_ih, w_hh, b_ih, b_hh, *rest = parameters
    hidden = w_ih.shape[0] // 3
    (h,) = rest or (np.zeros((len(x), hidden), np.float32),)
    result = np.empty((*x.shape[:2], hidden), np.float32)
    for step, fed in _steps(x, w_ih, b_ih, reverse):
        back = h @ w_hh.T + b_hh
        r, z = np.split(sigmoid(fed[:, : 2 * hidden] + back[:, : 2 * hidden]), 2, axis=1)
        n = np.tanh(fed[:, 2 * hidden :] + r * back[:, 2 * hidden :])
        h = (np.float32(1) - z) * n + z * h
        result[:, step] = h
    return result


def rnn_type(*values: ValueType, reverse: bool, nonlinearity: str) -> ValueType:  # noqa: ARG001 - checked by the row
    """-> (batch, time, hidden)."""
    return _plain_type("rnn", 1, values)


def rnn(x: Sequence, *parameters: Array, reverse: bool, nonlinearity: str) -> Float[np.ndarray, "n t _"]:
    """The hidden states of all steps: h <- tanh or relu of W_ih x_t + b_ih + W_hh h + b_hh. Elman 1990."""
    w_ih, w_hh, b_ih, b_hh, *rest = parameters
    hidden = w_ih.shape[0]
    (h,) = rest or (np.zeros((len(x), hidden), np.float32),)
    result = np.empty((*x.shape[:2], hidden), np.float32)
    for step, fed in _steps(x, w_ih, b_ih, reverse):
        y = fed + (h @ w_hh.T + b_hh)
        h = np.tanh(y) if nonlinearity == "tanh" else np.maximum(y, np.float32(0))
        result[:, step] = h
    return result


def _steps(x: np.ndarray, w_ih: np.ndarray, b_ih: np.ndarray, reverse: bool) -> Iterator[tuple[int, np.ndarray]]:
    """The steps in their order, with what each is fed by the input."""
    fed = (x.reshape(-1, x.shape[2]) @ w_ih.T + b_ih).reshape(*x.shape[:2], len(w_ih))
    for step in range(x.shape[1])[:: -1 if reverse else 1]:
        yield step, fed[:, step]


def weights_of_lstm(inputs: int) -> tuple[int, ...]:
    """The positions of the matrices among so many inputs."""
    return (1, 2, 5) if inputs % 2 == 0 else (1, 2)


def weights_of_others(_inputs: int) -> tuple[int, ...]:
    """The positions of the matrices."""
    return (1, 2)


def lstm_macs(*values: ValueType, **_attributes: object) -> int:
    """Every weight once a step; gates multiply element by element, which is no sum of products."""
    return _once_a_step(values, weights_of_lstm(len(values)))


def other_macs(*values: ValueType, **_attributes: object) -> int:
    """Every weight once a step."""
    return _once_a_step(values, weights_of_others(len(values)))


def recurrent_effort(
    _output: ValueType, x: ValueType, w_ih: ValueType, *_rest: ValueType, **_options: object
) -> Effort:
    """What the input feeds all steps, and some twenty calls of numpy a step."""
    fed = prod(x.shape[:2]) * w_ih.shape[0]
    return Effort(12 * fed + 4 * prod(x.shape) + 64 * x.shape[0] * w_ih.shape[0], 8 * fed + STEP_STEPS * x.shape[1])


def _once_a_step(values: tuple[ValueType, ...], weights: tuple[int, ...]) -> int:
    return prod(values[0].bind(1)[:2]) * sum(prod(values[place].shape) for place in weights)
