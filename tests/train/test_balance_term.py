"""train.balance: the published signs, the values of maths.balance, counts that arrive at n, exact resuming."""

import copy

import pytest
import torch
from torch import nn

from secateur.ir.rules import Prune
from secateur.ir.target import Target
from secateur.maths import balance
from secateur.nn.groups import param_groups
from secateur.nn.harden import harden_
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.transform import transforms_of
from secateur.train.balance import UNEQUAL_ASCENT, Balance
from secateur.train.budget import Budget

X = torch.randn(32, 20, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long() + (X[:, 5] > 0).long()


def prepared(**rule):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 3))
    rule = {"method": "balanced", "n": 2, "m": 8} | rule
    return prepare_(model, plan(model, X, prune=Prune(**rule)))


def train(model, budget, optimizer, steps):
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(X), Y) + budget()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        budget.step()


def adam(model):
    return torch.optim.Adam(param_groups(model, threshold_lr=0.03), lr=5e-4)


def test_the_multiplier_starts_at_nothing_and_ascends_downwards():
    """lambda += rate dL/dlambda = -rate V, and the loss gains -lambda V: never a reward for unequal counts."""
    model = prepared()
    term = Balance(transforms_of(model), steps=10)
    first = float(term(0.0).detach())
    before = term.variances()
    assert set(term.multipliers.values()) == {0.0}
    term.step()
    for name, value in term.multipliers.items():
        assert value == pytest.approx(-UNEQUAL_ASCENT / 10 * before[name])
        assert value < 0
    gained = sum(-term.multipliers[name] * value for name, value in before.items())
    assert float(term(0.0).detach()) == pytest.approx(first + gained, rel=1e-4)


def test_the_variance_is_that_of_the_definition_in_units_of_chance():
    model = prepared()
    term = Balance(transforms_of(model), steps=10)
    term(0.0)
    for site in transforms_of(model):
        stage = site.transform.prune
        counts = stage.group_counts(site.original).detach().double().numpy()
        expected = balance.variance(counts, balance.group_sizes(stage.grouping.length, 8)) / balance.chance(2, 8)
        assert term.variances()[site.name] == pytest.approx(expected, rel=1e-4)


def test_counts_become_equal_and_n():
    model = prepared()
    budget = Budget(model, Target(density=0.25), steps=400)
    train(model, budget, adam(model), 400)
    for site in transforms_of(model):
        stage = site.transform.prune
        counts = stage.group_counts(site.original).detach()
        kept = sum(stage.patterns[0].kept(stage.grouping.length)) * len(counts)
        assert float(counts.sum()) == pytest.approx(kept, rel=0.3)
        assert budget.balance.variances()[site.name] < 0.4, "of what chance would give"
    rows = harden_(model, Target(density=0.25)).tensors
    assert all(row.groups.balance >= row.groups.balance_before for row in rows)
    assert sum(row.moved for row in rows) < 0.12 * sum(row.size for row in rows)


def test_without_the_term_counts_stay_unequal(monkeypatch):
    """A planted fault: were the variance not in the loss, the test above would notice."""
    left = []
    for rate in (UNEQUAL_ASCENT, 0.0):
        monkeypatch.setattr("secateur.train.balance.UNEQUAL_ASCENT", rate)
        model = prepared()
        budget = Budget(model, Target(density=0.25), steps=400)
        train(model, budget, adam(model), 400)
        left.append(sum(budget.balance.variances().values()))
    assert left[0] < 0.6 * left[1]


def test_of_several_n_the_mean_count_is_free_between_them():
    model = prepared(n=(1, 2, 4))
    budget = Budget(model, Target(density=0.25), steps=300)
    train(model, budget, adam(model), 300)
    assert float(budget.costs()["density"].detach()) == pytest.approx(0.25, rel=0.3)
    for site in transforms_of(model):
        assert 1 / 8 < float(site.count().detach()) / site.original.numel() < 0.7
    assert harden_(model, Target(density=0.25)).density <= 0.25


def test_a_pattern_that_is_given_is_no_business_of_the_target():
    model = prepared()
    budget = Budget(model, Target(density=0.25), steps=10)
    budget.multipliers["density"] = 100.0
    assert not budget.costs()["density"].requires_grad


def test_what_is_in_use_narrows_from_all_to_n_in_half_of_the_steps():
    model = prepared()
    budget, optimizer = Budget(model, Target(density=0.25), steps=20), adam(model)
    stages = [site.transform.prune for site in transforms_of(model)]
    seen = []
    for _ in range(20):
        seen.append({int(stage.in_use) for stage in stages})
        kept = {
            int(stage.grouping.counts((stage.soft(torch.rand(stage.grouping.shape))[0] != 0).float())[0, 0])
            for stage in stages
        }
        assert kept == seen[-1]
        train(model, budget, optimizer, 1)
    numbers = [number for (number,) in seen]
    assert numbers == sorted(numbers, reverse=True)
    assert (numbers[0], numbers[9], numbers[10], numbers[-1]) == (8, 2, 2, 2)
    assert numbers[3] > 2


def test_what_is_in_use_is_that_of_the_budget_whichever_is_loaded_first():
    model = prepared()
    budget = Budget(model, Target(density=0.25), steps=20)
    train(model, budget, adam(model), 4)
    wanted = [int(site.transform.prune.in_use) for site in transforms_of(model)]
    resumed = prepared()
    resumed.load_state_dict(model.state_dict())
    again = Budget(resumed, Target(density=0.25), steps=20)
    again.load_state_dict(budget.state_dict())
    assert [int(site.transform.prune.in_use) for site in transforms_of(resumed)] == wanted
    assert 2 < wanted[0] < 8


@pytest.mark.parametrize("method", ["sr_ste", "top_n"])
def test_rivals_train_under_the_same_budget(method):
    model = prepared(method=method)
    budget = Budget(model, Target(density=0.25), steps=20)
    before = transforms_of(model)[0].original.detach().clone()
    train(model, budget, adam(model), 20)
    assert not torch.equal(before, transforms_of(model)[0].original)
    assert all(row.moved == 0 for row in harden_(model, Target(density=0.25)).tensors)


@pytest.mark.parametrize("at", [3, 30])
def test_it_goes_on_exactly(at):
    """Before and after the network computes with exactly n."""
    whole = prepared()
    budget, optimizer = Budget(whole, Target(density=0.25), steps=40), adam(whole)
    train(whole, budget, optimizer, at)
    state = copy.deepcopy((whole.state_dict(), optimizer.state_dict(), budget.state_dict()))
    train(whole, budget, optimizer, 40 - at)
    resumed = prepared()
    other, again = Budget(resumed, Target(density=0.25), steps=40), adam(resumed)
    for thing, saved in zip((resumed, again, other), state, strict=True):
        thing.load_state_dict(saved)
    train(resumed, other, again, 40 - at)
    for one, two in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    assert other.state_dict() == budget.state_dict()
