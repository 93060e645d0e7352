"""What the image benchmarks share: disjoint splits, batches that replay, honest augmentation, errors."""

import pytest
import torch
from torch import nn

from image_data import MARGIN, Batches, Images, Split, crop_and_flip, error, mean_loss, split_off


def numbered(n, size=8):
    """Images whose every pixel is the image's own number."""
    return torch.arange(n).float().reshape(n, 1, 1, 1).expand(n, 1, size, size).contiguous()


def images(n=40):
    train, validation = split_off(numbered(n), torch.arange(n), 10)
    return Images(train, validation, Split(numbered(5), torch.arange(5)), crop_and_flip)


def test_splits_are_disjoint_whole_and_the_same_every_time():
    data, again = images(), images()
    both = torch.cat([data.train.labels, data.validation.labels])
    assert torch.equal(both.sort().values, torch.arange(40))
    assert torch.equal(data.validation.labels, again.validation.labels)
    assert torch.equal(data.train.images[:, 0, 0, 0].long(), data.train.labels)


def test_batches_replay_from_the_state_of_their_generator():
    batches = Batches(images(), 8, torch.Generator().manual_seed(0), augmented=True)
    state = batches.generator.get_state()
    first = [(x.clone(), y.clone()) for x, y in batches.epoch()]
    batches.generator.set_state(state)
    second = list(batches.epoch())
    assert len(first) == len(batches) == 3
    assert all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(first, second, strict=True))
    assert not torch.equal(first[0][1], next(iter(batches.epoch()))[1])


def test_crops_move_and_mirror_whole_images():
    picture = torch.arange(1.0, 65.0).reshape(1, 1, 8, 8).expand(200, 1, 8, 8)
    made = crop_and_flip(picture, torch.Generator().manual_seed(0))
    padded = nn.functional.pad(picture[0, 0], (MARGIN,) * 4)
    allowed = set()
    for top in range(2 * MARGIN + 1):
        for left in range(2 * MARGIN + 1):
            window = padded[top : top + 8, left : left + 8]
            allowed |= {tuple(window.flatten().tolist()), tuple(window.flip(1).flatten().tolist())}
    found = {tuple(image.flatten().tolist()) for image in made}
    assert found <= allowed
    assert len(found) > 80  # of 162 that are possible


class Counts(nn.Module):
    """Says that every image is its own number plus `off`."""

    def __init__(self, off):
        super().__init__()
        self.off = off

    def forward(self, x):
        return nn.functional.one_hot((x[:, 0, 0, 0].long() + self.off) % 40, 40).float() * 50


@pytest.mark.parametrize(("off", "wrong"), [(0, 0.0), (1, 100.0)])
def test_error_counts_what_is_wrong(off, wrong):
    data = images()
    assert error(Counts(off), data.validation) == wrong
    assert (mean_loss(Counts(off), data.validation) > 1) == bool(wrong)
