"""compression.fingerprint: equal for the same, different for every part that a result depends on."""

import json

import torch
from tiny_task import tiny_task
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from secateur.compression.fingerprint import NOT_THE_SAME_TWICE, differences, fingerprint, replays
from secateur.ir.rules import Prune
from secateur.ir.target import Target
from secateur.nn.planning import plan


def taken(task=None, density=0.3, code=(), **settings):
    task = task or tiny_task()
    rows = plan(task.model, task.example, prune=Prune())
    found = fingerprint(task, rows, Target(density=density), settings=settings, seed=0, code=code)
    return json.loads(json.dumps(found))


def test_the_same_task_built_again_is_the_same():
    assert taken() == taken()
    assert replays(taken())


def test_what_differs_is_named(tmp_path):
    wider = tiny_task()
    wider.model[6] = nn.Linear(16, 3, bias=False)
    (tmp_path / "more.py").write_text("x = 1\n")
    for changed, told in (
        (taken(density=0.2), "target, density: 0.3 then, 0.2 now"),
        (taken(seed=3), "settings, seed: nothing then, 3 now"),
        (taken(wider), "model, structure"),
        (taken(code=[tmp_path / "more.py"]), "code, more.py: nothing then"),
    ):
        assert any(told in line for line in differences(taken(), changed)), told
    assert differences(taken(), taken()) == []


def test_data_that_is_never_the_same_is_told_apart():
    class Never(list):
        def __iter__(self):
            yield torch.rand(2, 8, generator=draw), torch.zeros(2, dtype=torch.int64)

    draw = torch.Generator()
    found = taken(tiny_task(train=Never([1])))
    assert found["data"]["first batch of train"] == NOT_THE_SAME_TWICE
    assert not replays(found)


def test_validation_data_is_the_same_however_often_it_was_read():
    points = TensorDataset(torch.arange(60.0).reshape(20, 3), torch.zeros(20, dtype=torch.int64))
    task = tiny_task(val=DataLoader(points, 4, shuffle=True, generator=torch.Generator().manual_seed(5)))
    before = taken(task)
    assert len(list(task.val)) == 5
    assert taken(task) == before
