"""Events of a loop reach the progress display in words a person reads."""

from secateur.compression.watching import watcher
from secateur.reporting.facts import Epoch
from secateur.train.one_shot_result import OneShotStep
from secateur.train.record import Record, Step


class Told(list):
    def advance(self, *what):
        self.append(what)


def test_steps_carry_the_last_score():
    told = Told()
    watch = watcher(told)
    watch(Step("dense", 1, 4, 0.5))
    watch(Epoch("dense", 0.5, 0.875, 1.0))
    watch(Step("prune", 2, 4, 0.25))
    watch(Record("prune", 0, 0.3, 0.5, {}, {}, {}))
    watch(Step("other", 3, 4, 0.125))
    assert told == [
        ("train dense", 1, 4, "loss 0.500"),
        ("self-prune", 2, 4, "loss 0.250, on validation 0.875"),
        ("other", 3, 4, "loss 0.125, on validation 0.5"),
    ]


def test_layers_that_are_measured_and_repaired_are_named():
    told = Told()
    watch = watcher(told)
    watch(OneShotStep("measure", 0, 3, "conv1"))
    watch(OneShotStep("repair", 3, 3, ""))
    assert told == [("measure layers", 0, 3, "conv1"), ("repair layers", 3, 3, "")]
