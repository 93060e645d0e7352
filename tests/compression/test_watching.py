"""Events of a loop reach the progress display in words a person reads."""

from secateur.compression.watching import watcher
from secateur.reporting.facts import Epoch
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
