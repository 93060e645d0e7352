"""compression.fingerprint: equal for the same, different for every part that a result depends on."""

import functools
import json

import torch
from tiny_task import tiny_task
from torch import nn

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


def test_the_users_code_counts_and_installed_code_does_not():
    assert list(taken()["code"]) == ["tiny_task.py"]


def test_data_that_is_never_the_same_is_told_apart():
    class Never(list):
        def __iter__(self):
            yield torch.rand(2, 8, generator=draw), torch.zeros(2, dtype=torch.int64)

    draw = torch.Generator()
    found = taken(tiny_task(train=Never([1])))
    assert found["data"]["first batch of train"] == NOT_THE_SAME_TWICE
    assert not replays(found)


def test_two_files_of_one_name_both_count(tmp_path):
    files = [tmp_path / part / "net.py" for part in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.write_text("x = 1\n")
    before = taken(code=files)
    files[0].write_text("x = 2\n")
    assert any("code, net.py" in line for line in differences(before, taken(code=files)))


def test_the_code_of_a_loss_that_is_an_object_or_a_partial_counts(tmp_path, monkeypatch):
    (tmp_path / "my_losses.py").write_text(
        "class Loss:\n    def __call__(self, y, t): return y.sum()\ndef loss(y, t, scale): return scale * y.sum()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import my_losses

    for loss in (my_losses.Loss(), functools.partial(my_losses.loss, scale=2)):
        assert "my_losses.py" in taken(tiny_task(loss=loss))["code"]
