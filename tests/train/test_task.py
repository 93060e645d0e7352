"""train.task: judging a model leaves it as it was."""

import dataclasses
import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from secateur.errors import DataError
from secateur.train.task import (
    Task,
    accuracy,
    has_labels,
    holds,
    inputs_of,
    loss_of,
    outputs_of,
    parts_of,
    score,
    unscored,
)


def task(val, model=None):
    model = model or nn.Sequential(nn.Dropout(), nn.Linear(2, 2))
    return Task(model, torch.zeros(1, 2), [], val, nn.functional.cross_entropy, accuracy)


def test_accuracy():
    assert accuracy(torch.tensor([[1.0, 0], [0, 1], [0, 1]]), torch.tensor([0, 1, 0])) == pytest.approx(2 / 3)


def test_every_module_keeps_its_own_mode():
    model = nn.Sequential(nn.Dropout(), nn.Linear(2, 2))
    model.train()
    model[0].eval()
    score(task([(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long))], model))
    assert model.training
    assert not model[0].training


def test_another_model_can_be_judged_on_the_same_data():
    data = [(torch.eye(2), torch.tensor([0, 1]))]
    right, wrong = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    right.weight.data, wrong.weight.data = torch.eye(2), torch.eye(2).flip(0)
    assert score(task(data, right)) == 1
    assert score(task(data, right), wrong) == 0


def test_a_score_does_not_depend_on_how_often_the_data_was_read():
    """A metric of whole batches depends on which examples came together."""
    values = TensorDataset(torch.arange(12.0)[:, None] ** 2, torch.zeros(12))
    shuffled = DataLoader(values, 5, shuffle=True, generator=torch.Generator().manual_seed(3))
    judged = dataclasses.replace(task(shuffled, nn.Identity()), metric=lambda outputs, _: float(outputs.max()))
    first = score(judged)
    assert [next(iter(shuffled))[0].tolist() for _ in range(2)] != 2 * [next(iter(shuffled))[0].tolist()]
    assert score(judged) == first


def test_no_validation_data_has_no_score():
    assert math.isnan(score(task([])))


class Sum(nn.Module):
    def forward(self, a, b):
        return a + b


@pytest.mark.parametrize("kind", [tuple, list])
def test_a_model_of_several_inputs_gets_them_one_by_one(kind):
    inputs = kind((torch.eye(2), torch.zeros(2, 2)))
    assert torch.equal(outputs_of(Sum(), inputs), torch.eye(2))
    assert score(task([(inputs, torch.tensor([0, 1]))], Sum())) == 1


def test_batches_weigh_as_much_as_they_hold_whatever_form_labels_have():
    def metric(outputs, labels):
        return float(len(outputs))

    batches = [(torch.zeros(n, 2), {"a": torch.zeros(n), "b": torch.zeros(n)}) for n in (1, 3)]
    judged = dataclasses.replace(task(batches), metric=metric)
    assert score(judged) == pytest.approx((1 * 1 + 3 * 3) / 4)


def test_boxes_of_an_image_are_no_examples():
    boxes = [[torch.zeros(n, 4) for _ in range(4)] for n in (1, 9)]
    judged = task([(torch.zeros(4, 2), each) for each in boxes])
    assert score(dataclasses.replace(judged, metric=lambda y, found: float(len(found[0]) == 9))) == 0.5


def test_labels_tell_the_examples_of_inputs_without_tensors():
    judged = task([(["a"] * n, torch.full((n,), n)) for n in (1, 3)], nn.Identity())
    judged = dataclasses.replace(judged, metric=lambda y, labels: float(labels[0]))
    texts = dataclasses.replace(judged, val=[({"text": one}, labels) for one, labels in judged.val])
    assert score(texts) == (1 * 1 + 3 * 3) / 4


@pytest.mark.parametrize("batch", [torch.zeros(2, 2), (torch.zeros(2, 2),), [1, 2, 3], {"x": 1}])
def test_a_batch_that_is_no_pair_is_told(batch):
    with pytest.raises(DataError, match=r"a pair \(inputs, labels\)"):
        parts_of(batch)


@pytest.mark.parametrize(
    ("loss", "told"),
    [(lambda y, t: y, r"shape \(2, 2\)"), (lambda y, t: 0.5, "a float"), (lambda y, t: None, "NoneType")],
)
def test_a_loss_that_is_no_scalar_is_told(loss, told):
    with pytest.raises(DataError, match=told):
        loss_of(dataclasses.replace(task([]), loss=loss), torch.zeros(2, 2), None)


@pytest.mark.parametrize(("found", "told"), [(torch.zeros(3), r"shape \(3,\)"), (None, "NoneType")])
def test_a_metric_that_is_no_number_is_told_and_the_mode_restored(found, told):
    judged = dataclasses.replace(task([(torch.zeros(3, 2), torch.zeros(3))]), metric=lambda y, t: found)
    with pytest.raises(DataError, match=told):
        score(judged)
    assert judged.model.training


class Uncounted:
    def __iter__(self):
        yield torch.zeros(1, 2), torch.zeros(1)


def test_a_model_that_is_none_is_refused():
    with pytest.raises(DataError, match=r"model is a torch\.nn\.Module, not a int"):
        Task(3, torch.zeros(1, 2), [], [], nn.functional.mse_loss, accuracy)


def test_batches_that_come_once_or_cannot_be_counted_are_refused():
    with pytest.raises(DataError, match="val is an iterator"):
        task(iter([]))
    with pytest.raises(DataError, match="how many batches val has"):
        task(Uncounted())


def test_rounding_is_no_miss():
    assert 0.92 - 0.91 > 0.01
    assert holds(0.92 - 0.91, 0.01, 0.92)
    assert not holds(0.0101, 0.01, 0.92)
    assert not holds(math.nan, 0.01, 0.92)
    assert not holds(2e-9, 1e-9, 1e-8)


def test_inputs_are_found_with_and_without_labels():
    x, y = torch.zeros(2, 3), torch.zeros(2)
    for batch, labelled, inputs in (
        ((x, y), True, x),
        ([x, y], True, x),
        (((x, x), None), True, (x, x)),
        (x, False, x),
        ([x], False, [x]),
        ((x, x, x), False, (x, x, x)),
    ):
        assert has_labels(batch) is labelled
        assert all(a is b for a, b in zip(inputs_of(batch), inputs, strict=True)) or inputs_of(batch) is inputs


def test_why_there_is_no_score_is_said():
    task = Task(torch.nn.Identity(), torch.zeros(1), [], [(torch.zeros(1), torch.zeros(1))], None, None)
    assert unscored(task) == ""
    assert "gave no batch" in unscored(dataclasses.replace(task, val=[]))
    assert "without labels" in unscored(dataclasses.replace(task, val=[torch.zeros(4, 2)]))
