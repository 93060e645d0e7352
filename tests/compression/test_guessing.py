"""compression.guessing: outputs beside labels of other examples, whatever their form and order."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from secateur.compression.guessing import losses
from secateur.train.task import Task, accuracy

CONFIDENT = 10.0


def knowing(labels, wrap=lambda y: y, loss=F.cross_entropy):
    """A model that says the labels of these batches, as its inputs do."""
    batches = [(CONFIDENT * F.one_hot(each, 3).float(), each) for each in labels]
    model = nn.Identity()
    model.register_forward_hook(lambda _module, _inputs, y: wrap(y))
    return Task(model, batches[0][0], batches, batches, loss, accuracy)


SORTED = {
    "shuffled": torch.arange(12).reshape(3, 4) % 3,
    "a class a batch": torch.arange(3).repeat_interleave(4).reshape(3, 4),
    "alike in every batch": torch.tensor([[0, 0, 1, 2]] * 3),
    "batches of one": torch.arange(6).reshape(6, 1) % 3,
    "one batch": torch.arange(12).reshape(1, 12) % 3,
}


@pytest.mark.parametrize("name", SORTED)
def test_what_is_known_shows_however_the_data_are_sorted(name):
    task = knowing(SORTED[name])
    found = losses(task, task.model, task.train)
    assert found.right == pytest.approx([F.cross_entropy(*task.train[0]).item()] * len(task.train))
    assert found.gain is not None
    assert CONFIDENT / 6 < found.gain <= CONFIDENT + 1e-4


@pytest.mark.parametrize("name", SORTED)
def test_outputs_may_be_trees(name):
    plain = knowing(SORTED[name])
    tree = knowing(SORTED[name], lambda y: {"a": (y, y.sum()), "b": [y]}, lambda y, t: F.cross_entropy(y["b"][0], t))
    assert losses(tree, tree.model, tree.train) == losses(plain, plain.model, plain.train)


def test_a_batch_that_comes_again_is_not_another_one():
    task = knowing(torch.tensor([[0]]))
    assert losses(task, task.model, task.train * 5).gain is None


def test_what_labels_do_not_change_cannot_be_told():
    task = knowing(SORTED["shuffled"], loss=lambda y, _: y.square().mean())
    assert losses(task, task.model, task.train).gain is None


def test_batches_of_other_shapes_are_no_partners():
    ragged = [torch.tensor([0]), torch.tensor([1, 2])]
    task = knowing(ragged, loss=lambda y, t: F.cross_entropy(y, t, reduction="sum"))
    assert losses(task, task.model, task.train).gain == pytest.approx(2 * CONFIDENT, rel=1e-3)
    alone = dataclasses.replace(task, train=task.train[:1])
    assert losses(alone, alone.model, alone.train).gain is None
