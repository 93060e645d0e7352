"""The same random numbers and the same batches again: what going on exactly after an interruption rests on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree

SPREAD = 1_000_003
"""A prime between the seeds of two runs, so that epochs of neighbouring seeds share none."""
SAMPLE_BYTES = 1 << 20
"""Of each tensor of a batch, what its checksum reads at most."""


def start_epoch(batches: object, seed: int, epoch: int) -> None:
    """Seed torch, numpy, random and every generator the batches are drawn with; tell samplers the epoch.

    Looked for on the batches, their sampler, batch_sampler and dataset: an attribute `generator` that is a
    torch.Generator, and a method `set_epoch`, as torch's DistributedSampler has it.
    """
    value = (seed * SPREAD + epoch) % 2**63
    torch.manual_seed(value)
    np.random.seed(value % 2**32)  # data sets of users draw from this one
    random.seed(value)
    for generator in _generators(batches):
        generator.manual_seed(value)
    for part in _parts(batches):
        if callable(told := getattr(part, "set_epoch", None)):
            told(epoch)


@contextmanager
def replayed(batches: object, seed: int = 0) -> Iterator[None]:
    """Inside, the batches come as in epoch 0 of a seed, however often they were read before; random numbers drawn
    afterwards, the loader's own among them, are those that would have followed."""
    before, own = random_state(), [(one, one.get_state()) for one in _generators(batches)]
    start_epoch(batches, seed, 0)
    try:
        yield
    finally:
        set_random_state(before)
        for generator, state in own:
            generator.set_state(state)


def _generators(batches: object) -> list[torch.Generator]:
    found = (getattr(part, "generator", None) for part in _parts(batches))
    return [one for one in found if isinstance(one, torch.Generator)]


def _parts(batches: object) -> Iterator[object]:
    yield batches
    for name in ("sampler", "batch_sampler", "dataset"):
        part = getattr(batches, name, None)
        if part is not None:
            yield part
            if name == "batch_sampler" and (inner := getattr(part, "sampler", None)) is not None:
                yield inner


def random_state() -> dict[str, Any]:
    """Of torch (all devices), numpy and random, as tensors and plain data."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    assert isinstance(kind, str)
    version, internal, following = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
        "python": [version, list(internal), following],
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Draw from now on what followed when `random_state` was taken."""
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, following = state["python"]
    random.setstate((version, tuple(internal), following))


def batch_checksum(batch: object) -> int:
    """CRC-32 over the tensors and arrays of a batch, the first megabyte of each, with their shapes."""
    found = 0
    for leaf in _pytree.tree_leaves(batch):
        array = _array(leaf) if isinstance(leaf, Tensor) else np.asarray(leaf)
        found = crc32(f"{array.shape}{array.dtype}".encode(), found)
        found = crc32(array.tobytes()[:SAMPLE_BYTES] if array.dtype != object else repr(leaf).encode(), found)
    return found


def _array(tensor: Tensor) -> np.ndarray:
    plain = tensor.detach().cpu().contiguous()
    return (plain.view(torch.int16) if plain.dtype == torch.bfloat16 else plain).numpy()  # numpy has no bfloat16


def first_batch(batches: Any, seed: int) -> int:
    """Checksum of the first batch of epoch 0 under a seed; 0 where there is none."""
    start_epoch(batches, seed, 0)
    for batch in batches:
        return batch_checksum(batch)
    return 0
