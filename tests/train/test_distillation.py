"""train.distillation: the divergence of the source, computed the long way; what is refused."""

import pytest
import torch
from torch import nn

from secateur.errors import DataError, TargetError
from secateur.train.distillation import Distillation, Lesson


def test_logits_match_the_source_for_classes_in_dimension_1():
    draw = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 4, 5, 3, generator=draw).unbind(0)
    p, q = (teacher / 3).softmax(1), (student / 3).softmax(1)
    by_hand = 9 * (p * (p.log() - q.log())).sum(1).mean()
    torch.testing.assert_close(Distillation(temperature=3.0).loss(student, teacher), by_hand)
    assert float(Distillation().loss(teacher, teacher)) == pytest.approx(0, abs=1e-6)


def test_outputs_match_by_their_mean_square():
    found = Distillation(match="outputs").loss(torch.zeros(2, 3), torch.full((2, 3), 2.0))
    assert float(found) == 4


@pytest.mark.parametrize("shape", [(16, 1), (16,), (), (4, 1, 3, 3), (4, 0)])
def test_outputs_without_classes_have_no_logits_to_match(shape):
    student, teacher = torch.zeros(shape), torch.ones(shape)
    with pytest.raises(DataError, match='use match="outputs"'):
        Distillation().loss(student, teacher)
    if student.numel():
        assert float(Distillation(match="outputs").loss(student, teacher)) == 1


def test_a_teacher_is_copied_in_evaluation_mode_and_gets_no_gradient():
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2)).train()
    lesson = Lesson(model, Distillation(0.25))
    inputs = torch.randn(4, 3)
    assert lesson.weight == 0.25
    assert lesson.loss(inputs, model.eval()(inputs)).item() == pytest.approx(0, abs=1e-6)
    student = nn.Linear(3, 2)
    lesson.loss(inputs, student(inputs)).backward()
    assert student.weight.grad is not None
    assert model[1].weight.grad is None


@pytest.mark.parametrize("wrong", [{"weight": 0.0}, {"weight": 1.5}, {"temperature": 0.0}, {"match": "logit"}])
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(TargetError):
        Distillation(**wrong)


def test_outputs_of_another_shape_are_refused():
    with pytest.raises(DataError, match="one output tensor"):
        Distillation().loss(torch.zeros(2, 3), torch.zeros(2, 4))
