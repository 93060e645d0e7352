"""compression.trials: bisection over what is known and what it has to try; nothing is tried twice."""

import math
from types import SimpleNamespace

import pytest

from secateur.compression.candidates import EPOCHS, Candidates
from secateur.compression.trials import Trials
from secateur.train.schedule import Schedule


@pytest.fixture
def trials(tmp_path, bare_line, monkeypatch):
    """trials(drops): those of as many candidates, and the numbers that were trained."""

    def made(drops):
        line = bare_line(tmp_path)
        rows = [{"epoch": n, "density": 0.8**n, "drop": 0.1, "kept": True} for n in range(len(drops))]
        line.folder.write_json(EPOCHS, {"epochs": rows})
        trained = []

        def train(self, number):
            trained.append(number)
            return SimpleNamespace(score=line.score_dense - drops[number])

        monkeypatch.setattr(Trials, "train", train)
        return Trials(line, Candidates(line, "state"), Schedule(), 0.02), trained

    return made


@pytest.mark.parametrize("holding", range(8))
def test_the_sparsest_that_holds_is_found_in_few_trials(trials, holding):
    found, trained = trials([0.01] * holding + [0.05] * (7 - holding))
    assert found.sparsest() == (holding - 1 if holding else None)
    assert len(trained) <= 3
    assert found.sparsest() == (holding - 1 if holding else None)
    assert len(trained) == len(set(trained))


def test_what_was_tried_before_is_used(trials):
    found, trained = trials([0.01] * 5 + [0.05] * 2)
    assert found.holds(2)
    assert not found.holds(5)
    assert found.sparsest() == 4
    assert trained == [2, 5, 3, 4]
    assert found.drops == pytest.approx({2: 0.01, 3: 0.01, 4: 0.01, 5: 0.05})
    assert found.won_back() == pytest.approx(0.09)
    assert found.told().startswith("density 0.328 loses 0.05, density 0.41 loses 0.01")


def test_a_trial_without_a_number_holds_nothing(trials):
    found, _ = trials([math.nan])
    assert found.sparsest() is None
    assert math.isnan(found.drops[0])
    assert found.won_back() == 0
