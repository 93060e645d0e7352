"""train.replay: the same batches again from every kind of loader, random numbers that go on, checksums that see."""

import random

import numpy as np
import torch
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from secateur.cli.demo_network import Images
from secateur.train.replay import batch_checksum, first_batch, random_state, replayed, set_random_state, start_epoch

DATA = TensorDataset(torch.arange(40.0))


def order(batches, seed, epoch):
    start_epoch(batches, seed, epoch)
    return torch.cat([batch[0] for batch in batches]).tolist()


def loaders():
    own = torch.Generator().manual_seed(9)
    yield DataLoader(DATA, 8, shuffle=True)
    yield DataLoader(DATA, 8, shuffle=True, generator=own)
    yield DataLoader(DATA, 8, sampler=RandomSampler(DATA, generator=torch.Generator()))
    yield Images(torch.arange(40.0), torch.arange(40), torch.Generator(), 8)


def test_an_epoch_comes_again_and_another_is_another():
    for loader in loaders():
        first, second = order(loader, 3, 1), order(loader, 3, 2)
        assert order(loader, 3, 1) == first != second
        assert sorted(first) == list(range(40))
        assert order(loader, 4, 1) != first


def test_samplers_are_told_the_epoch():
    told = []

    class Sampler(RandomSampler):
        def set_epoch(self, epoch):
            told.append(epoch)

    start_epoch(DataLoader(DATA, 8, sampler=Sampler(DATA)), 0, 5)
    assert 5 in told


def draws():
    return torch.rand(3).tolist(), np.random.rand(3).tolist(), np.random.randn(), random.random(), random.gauss(0, 1)


def test_replayed_batches_are_the_same_and_leave_no_trace():
    own = torch.Generator().manual_seed(3)
    loader = DataLoader(TensorDataset(torch.arange(20)), 4, shuffle=True, generator=own)
    following, drawn = own.get_state(), []
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    for _ in range(2):
        with replayed(loader):
            drawn.append(torch.cat([batch for (batch,) in loader]).tolist())
        assert torch.equal(own.get_state(), following)
    assert drawn[0] == drawn[1] != list(range(20))
    assert torch.rand(1) == expected


def test_random_numbers_go_on():
    np.random.randn()  # one of a pair: the other one is kept in the state
    state = random_state()
    expected = draws()
    draws()
    set_random_state(state)
    assert draws() == expected


def test_a_checksum_sees_values_shapes_and_types():
    zeros = torch.zeros(2, 3)
    others = [torch.ones(2, 3), torch.zeros(3, 2), torch.zeros(2, 3, dtype=torch.int64), (zeros, zeros), ["a"]]
    found = [batch_checksum(batch) for batch in (zeros, *others)]
    assert len(set(found)) == len(found)
    assert batch_checksum(zeros.clone()) == found[0]


def test_the_first_batch_of_nothing():
    assert first_batch([], 0) == 0
    assert first_batch([torch.zeros(1)], 0) == batch_checksum(torch.zeros(1))


def test_a_checksum_of_what_numpy_has_no_type_for():
    ones = torch.ones(3, dtype=torch.bfloat16)
    assert batch_checksum(ones) == batch_checksum(ones.clone()) != batch_checksum(2 * ones)
