"""Random cases and torch twins of the recurrent rows of OPS. Data for test_ops_law.py."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from op_case_parts import Case, Rng, Twin, f32, flag, one, some

from secateur.ir.graph import ValueType


def draw_recurrent(rng: Rng, gates: int, states: int) -> tuple[list[ValueType], int]:
    steps, features, hidden = some(rng, 1, 4, 3)
    rows = gates * hidden
    types = [f32(-1, steps, features), f32(rows, features), f32(rows, hidden), f32(rows), f32(rows)]
    return types + [f32(-1, hidden)] * (states * one(rng, 0, 1)), hidden


def draw_lstm(rng: Rng) -> Case:
    types, hidden = draw_recurrent(rng, 4, 2)
    if flag(rng):
        outputs = hidden + one(rng, 1, 3)  # torch.lstm takes a projection of equal size for none
        types[2] = f32(4 * hidden, outputs)
        types[5:] = [f32(outputs, hidden), *[f32(-1, outputs), f32(-1, hidden)][: len(types) - 5]]
    return types, {"reverse": flag(rng), "cell": flag(rng)}


def draw_gru(rng: Rng) -> Case:
    return draw_recurrent(rng, 3, 1)[0], {"reverse": flag(rng)}


def draw_rnn(rng: Rng) -> Case:
    return draw_recurrent(rng, 1, 1)[0], {"reverse": flag(rng), "nonlinearity": ("tanh", "relu")[one(rng, 0, 1)]}


def torch_recurrent(run, x, weights, states, reverse):
    """The last states after every number of steps, side by side: torch itself gives those of the last step only."""
    x = x.flip(1) if reverse else x
    found = []
    for steps in range(1, x.shape[1] + 1):
        _, *last = run(x[:, :steps], states, weights, True, 1, 0.0, False, False, True)
        found.append(torch.cat([state[0] for state in last], 1))
    y = torch.stack(found, 1)
    return y.flip(1) if reverse else y


def torch_lstm(x, *parameters, reverse, cell):
    w_ih, w_hh, b_ih, b_hh, *rest = parameters
    hidden, outputs = len(w_ih) // 4, w_hh.shape[1]
    projection = rest[: len(rest) % 2]
    states = rest[len(rest) % 2 :] or (x.new_zeros(len(x), outputs), x.new_zeros(len(x), hidden))
    weights = [w_ih, w_hh, b_ih, b_hh, *projection]
    y = torch_recurrent(torch.lstm, x, weights, [state[None] for state in states], reverse)
    return y if cell else y[..., :outputs]


def initial(x, _, w_hh, *rest):
    """The given state or zeros, for the one layer there is."""
    return (rest[2] if len(rest) > 2 else x.new_zeros(len(x), w_hh.shape[1]))[None]


def torch_gru(x, *parameters, reverse):
    return torch_recurrent(torch.gru, x, parameters[:4], initial(x, *parameters), reverse)


def torch_rnn(x, *parameters, reverse, nonlinearity):
    run = torch.rnn_tanh if nonlinearity == "tanh" else torch.rnn_relu
    return torch_recurrent(run, x, parameters[:4], initial(x, *parameters), reverse)


RECURRENT: Mapping[str, Twin] = {
    "lstm": Twin(draw_lstm, torch_lstm),
    "gru": Twin(draw_gru, torch_gru),
    "rnn": Twin(draw_rnn, torch_rnn),
}
