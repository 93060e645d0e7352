"""train.loop_state: a loop goes on exactly from any state a keeper was given, and keeps nothing that is no number."""

import copy
import dataclasses
import math

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from prepared import EXAMPLE, prepared
from secateur.errors import DataError, SecateurWarning, TrainingError
from secateur.ir.target import Target
from secateur.train.fit import fit
from secateur.train.loop_state import LoopState
from secateur.train.schedule import Schedule
from secateur.train.task import Task, accuracy

SCHEDULE = Schedule(2, 2, seed=7, average=0.9)


class Memory:
    """Keeps a copy of every state, after every step."""

    def __init__(self, first=None):
        self.states = [] if first is None else [first]

    def load(self):
        return self.states[-1] if self.states else None

    def save(self, state):
        self.states.append(copy.deepcopy(state))

    def step_done(self, state):
        self.save(state())


def task(loss=F.cross_entropy):
    draw = torch.Generator().manual_seed(0)
    images, labels = torch.randn(12, 1, 8, 8, generator=draw), torch.randint(0, 3, (12,), generator=draw)
    loader = DataLoader(TensorDataset(images, labels), 4, shuffle=True)
    return Task(prepared(), EXAMPLE, loader, [(images, labels)], loss, accuracy)


def test_from_any_state_on_the_end_is_the_same():
    whole, memory = task(), Memory()
    fitted = fit(whole, Target(density=0.3), schedule=SCHEDULE, keeper=memory)
    assert [state["phase"] for state in memory.states] == ["prune"] * 8 + ["finetune"] * 9 + ["done"]
    for state in memory.states:
        resumed = task()
        assert fit(resumed, Target(density=0.3), schedule=SCHEDULE, keeper=Memory(state)) == fitted
        ours, theirs = resumed.model.state_dict(), whole.model.state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_keeping_needs_a_seed():
    with pytest.raises(TrainingError, match="seed"):
        LoopState(task(), Target(density=0.3), Schedule(), Memory())


def test_data_in_another_order_is_told():
    memory = Memory()
    fit(task(), Target(density=0.3), schedule=SCHEDULE, keeper=memory)
    inside = next(state for state in memory.states if state["step"] == 2)
    with pytest.warns(SecateurWarning, match="does not come in the order it had"):
        fit(task(), Target(density=0.3), schedule=SCHEDULE, keeper=Memory({**inside, "first_batch": 1}))


def test_weights_that_are_no_numbers_are_never_kept():
    broken, memory = task(), Memory()
    state = LoopState(broken, Target(density=0.3), SCHEDULE, memory)
    with torch.no_grad():
        broken.model[6].bias[0] = math.nan
    state._batch = next(iter(broken.train))
    with pytest.raises(TrainingError, match=r"before prune, epoch 0, step 0: 6\.bias holds NaN"):
        state.keep()
    assert memory.states == []


def test_no_batches_are_an_error():
    empty = task()
    state = LoopState(
        Task(empty.model, EXAMPLE, [], [], F.cross_entropy, accuracy), Target(density=0.3), SCHEDULE, None
    )
    with pytest.raises(DataError, match="no batch"):
        list(state.batches())


def test_a_best_network_is_gone_back_to_after_an_interruption_too():
    """Judged by how small outputs are: training spoils that, and an earlier network is better than the last."""
    schedule = Schedule(1, 2, lr=5e-3, seed=7)
    judged = [dataclasses.replace(task(), metric=lambda y, _: -float(y.abs().mean())) for _ in range(2)]
    memory = Memory()
    fitted = fit(judged[0], Target(density=0.3), schedule=schedule, keeper=memory)
    assert fitted.kept_epoch in (-1, 0)
    for state in memory.states[-3:]:
        resumed = dataclasses.replace(judged[1], model=prepared())
        assert fit(resumed, Target(density=0.3), schedule=schedule, keeper=Memory(state)) == fitted
        expected = judged[0].model.state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in resumed.model.state_dict().items())
