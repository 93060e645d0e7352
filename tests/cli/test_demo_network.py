"""The demo's network has the published size; its data is split by class and shuffled by seed."""

import torch

from secateur.cli.demo_data import load_demo_data
from secateur.cli.demo_network import LeNet5, build, validation


def test_lenet5_caffe_has_its_431_080_parameters():
    assert sum(parameter.numel() for parameter in LeNet5().parameters()) == 431_080


def test_splits_are_balanced_and_apart():
    task, test = build(load_demo_data(), seed=0)
    sizes = (len(task.train.labels), len(task.val.labels), len(test.labels))
    assert sizes == (7000, 1000, 2000)
    for images in (task.train, task.val, test):
        assert len(torch.unique(images.labels.bincount())) == 1
        assert images.images.shape[1:] == (1, 28, 28)
    trained_on = {image.numpy().tobytes() for image in task.train.images}
    assert not trained_on & {image.numpy().tobytes() for image in task.val.images}
    assert abs(float(task.train.images.mean())) < 0.05


def test_the_last_of_each_class_are_held_out():
    labels = torch.arange(10).repeat(150)
    held_out = validation(labels)
    assert int(held_out.sum()) == 1000
    assert not held_out[:500].any()
    assert held_out[500:].all()


def test_a_seed_gives_one_network_and_one_order_and_leaves_the_global_one_alone():
    data = load_demo_data()
    torch.manual_seed(7)
    before = torch.get_rng_state()
    (first, _), (again, _), (other, _) = build(data, 3), build(data, 3), build(data, 4)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.model.fc1.weight, again.model.fc1.weight)
    assert not torch.equal(first.model.fc1.weight, other.model.fc1.weight)
    labels = [torch.cat([y for _, y in task.train]) for task in (first, again, other)]
    assert torch.equal(labels[0], labels[1])
    assert not torch.equal(labels[0], labels[2])
    second_epoch = torch.cat([y for _, y in first.train])
    assert not torch.equal(labels[0], second_epoch)
    assert len(first.train) == sum(1 for _ in first.train)
