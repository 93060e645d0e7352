"""compression.suiting: steps from the size of the data, a rate that does not wipe out what is known."""

import dataclasses

import pytest
import torch
from tiny_task import OPTIONS, tiny_task
from torch import nn
from torch.nn import functional as F

from secateur.compression.compress import compress
from secateur.compression.options import Options
from secateur.compression.suiting import (
    LEAST_STEPS,
    MOST_EPOCHS,
    MOST_STEPS,
    RATES,
    SuitedRate,
    suited_epochs,
    suited_rate,
    suited_schedule,
)
from secateur.errors import DataError
from secateur.ir.artifact import Artifact
from secateur.ir.target import Target
from secateur.nn.restore import restore_
from secateur.train.distillation import Distillation
from secateur.train.task import Task, accuracy

TENTH = Target(density=0.1)


@pytest.mark.parametrize("batches", [1, 10, 100, 430, 5_000, 100_000])
def test_steps_lie_between_their_bounds(batches):
    prune, finetune = suited_epochs(batches, TENTH)
    assert 1 <= prune <= MOST_EPOCHS
    assert prune == MOST_EPOCHS or prune * batches >= LEAST_STEPS
    assert prune == 1 or (prune - 1) * batches < MOST_STEPS
    assert prune / 2 <= finetune <= prune / 2 + 1


def test_fewer_weights_take_longer():
    assert suited_epochs(100, Target(density=0.01))[0] == 2 * suited_epochs(100, TENTH)[0]
    assert suited_epochs(100, Target(macs=5))[0] > suited_epochs(100, TENTH)[0]
    assert suited_epochs(800, Target(density=0.5))[0] == 3 < suited_epochs(800, TENTH)[0]
    assert suited_epochs(100, Target(density=1.0))[0] > 0
    with pytest.raises(DataError, match="no batch"):
        suited_epochs(0, TENTH)


def sensitive(scale):
    """A trained classifier that steps of much more than 0.01 / scale destroy."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (64,), generator=draw)
    points = scale * (0.1 * torch.randn(64, 400, generator=draw) + (2.0 * labels - 1).unsqueeze(1))
    model = nn.Linear(400, 2)
    with torch.no_grad():
        model.bias.zero_()
        model.weight.copy_(torch.tensor([[-1.0], [1.0]]) * (0.01 / scale) * torch.ones(2, 400))
        model.weight[:, ::2].mul_(-0.9)
    batches = [(points[i : i + 16], labels[i : i + 16]) for i in range(0, 64, 16)]
    return Task(model, points[:1], batches, batches, F.cross_entropy, accuracy)


def test_a_robust_network_takes_the_measured_rate_and_stays_as_it_is():
    task = tiny_task()
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    assert suited_rate(task, 0) == SuitedRate(RATES[0])
    assert all(torch.equal(value, before[name]) for name, value in task.model.state_dict().items())


def test_a_network_that_large_steps_destroy_takes_a_smaller_one():
    noisy = sensitive(1.0)
    flipped = dataclasses.replace(noisy, loss=lambda outputs, labels: F.cross_entropy(1000 * outputs, labels).sqrt())
    assert suited_rate(flipped, 0).lr <= RATES[0]

    class Cliff(nn.Module):
        """Right as long as its weight has hardly moved."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(1.0))

        def forward(self, x):
            off = (1e4 * (self.weight - 1)).square()
            return torch.stack([-(1 - off) * x[:, 0], (1 - off) * x[:, 0]], 1) + 0.1 * self.weight

    cliff = dataclasses.replace(noisy, model=Cliff(), loss=lambda y, t: F.cross_entropy(y, t) - 0.01 * y.mean())
    assert suited_rate(cliff, 0).lr < RATES[0]


def test_an_untrained_network_takes_the_measured_rate():
    task = tiny_task()
    with torch.no_grad():
        task.model[6].weight.zero_()
        task.model[6].bias.zero_()
    assert suited_rate(task, 0).lr == RATES[0]
    nn.init.normal_(task.model[6].weight, std=0.01)
    backwards = dataclasses.replace(task, loss=lambda y, t: F.cross_entropy(y, (t + 1) % 3))
    assert suited_rate(backwards, 0) == SuitedRate(RATES[0])


class Within(nn.Module):
    """A model whose outputs lie in something else."""

    def __init__(self, model, wrap):
        super().__init__()
        self.model, self.wrap = model, wrap

    def forward(self, x):
        return self.wrap(self.model(x))


def large_inputs(size):
    """A classifier that knows its classes, on inputs so large that a step of 1e-3 on every weight wipes that out."""
    draw = torch.Generator().manual_seed(0)
    model, x = nn.Linear(8, 3, bias=False), 10_000 * torch.randn(160, 8, generator=draw)
    with torch.no_grad():
        model.weight.copy_(torch.randn(3, 8, generator=draw) / 1000)
        labels = model(x).argmax(1)
    batches = [(x[i : i + size], labels[i : i + size]) for i in range(0, 160, size)]
    return Task(model, x[:1], batches, batches, F.cross_entropy, accuracy)


def test_batches_of_one_and_outputs_of_every_form_are_judged():
    task = large_inputs(16)
    found = suited_rate(task, 0)
    assert found.lr < RATES[0]
    assert found.note == ""
    for wrap, taken in ((lambda y: (y, y), 1), (lambda y: {"logits": y, "loss": y.sum()}, "logits")):
        model = Within(task.model, wrap)
        inside = dataclasses.replace(task, model=model, loss=lambda y, t, k=taken: F.cross_entropy(y[k], t))
        assert suited_rate(inside, 0) == found
    one = suited_rate(large_inputs(1), 0)
    assert one.lr < RATES[0]
    assert one.note == ""


def test_a_loss_that_ignores_labels_is_judged_by_itself_and_that_is_told(tmp_path):
    task = large_inputs(160)
    labels = task.train[0][1]
    model = Within(task.model, lambda y: F.cross_entropy(y, labels))
    found = suited_rate(dataclasses.replace(task, model=model, loss=lambda y, _: y), 0)
    assert found.lr < RATES[0]
    assert f"the smallest tried: {found.lr:g};" in found.note
    options = Options(prune_epochs=1, finetune_epochs=0, on_miss="warn")
    for _ in range(2):  # the second time it is read
        result = compress(tiny_task(loss=lambda y, _: y.square().mean()), TENTH, out=tmp_path, options=options)
        assert any("what guessing loses could not be measured" in note for note in result.notes)


def test_what_is_given_is_taken():
    options = Options(prune_epochs=3, finetune_epochs=2, lr=0.25, average=0.5, distill=Distillation(), seed=4)
    found, notes = suited_schedule(tiny_task(), TENTH, options)
    assert notes == ()
    assert (found.prune_epochs, found.finetune_epochs, found.lr, found.average, found.seed) == (3, 2, 0.25, 0.5, 4)
    assert found.distill == Distillation()


def test_a_frozen_model_is_told():
    task = tiny_task()
    task.model.requires_grad_(False)
    with pytest.raises(DataError, match="every parameter of the model is frozen"):
        suited_rate(task, 0)


def test_a_frozen_model_is_told_where_the_rate_is_given_and_can_be_cut_at_once(tmp_path):
    task = tiny_task()
    task.model.requires_grad_(False)
    with pytest.raises(DataError, match="every parameter of the model is frozen"):
        compress(task, Target(density=0.5), out=tmp_path / "run", options=OPTIONS)
    result = compress(task, Target(density=0.5), out=tmp_path / "cut", options=Options(one_shot=2))
    assert result.density == pytest.approx(0.5, abs=0.01)


def test_a_frozen_layer_stays_as_it_is(tmp_path):
    task = tiny_task()
    task.model[0].requires_grad_(False)
    result = compress(task, Target(density=0.5), out=tmp_path / "run", options=OPTIONS)
    fates = {row.name: (row.fate, row.reason[:6]) for row in result.layers}
    assert fates["0.weight"] == ("skipped", "frozen")
    restored = restore_(tiny_task().model, Artifact.load(tmp_path / "run" / "model.secat"))
    assert torch.count_nonzero(restored[0].weight) == restored[0].weight.numel()
