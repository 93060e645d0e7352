"""What the cases of op_cases.py and recurrent_cases.py are made of: twins, and random shapes and numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from secateur.ir.graph import ValueType

Rng = np.random.Generator
Case = tuple[list[ValueType], dict[str, Any]]
Fill = Callable[[Rng, list[tuple[int, ...]]], list[np.ndarray]]


def normal(rng: Rng, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def wild(rng: Rng, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    """Normal numbers, with zeros of both signs and numbers that overflow a careless exp among them."""
    arrays = normal(rng, shapes)
    for array in arrays:
        spots = rng.random(array.shape) < 0.3
        array[spots] = rng.choice(np.array([0.0, -0.0, 3.0, -3.0, 6.0, -20.0, 95.0, -95.0, 1e4, -1e4]), spots.sum())
    return arrays


@dataclass(frozen=True)
class Twin:
    """`exact`: only moves or compares values, so bits must agree; otherwise float32 rounding against float64."""

    draw: Callable[[Rng], Case]
    torch: Callable[..., torch.Tensor]
    exact: bool = False
    fill: Fill = normal


def f32(*shape: int) -> ValueType:
    return ValueType(shape)


def some(rng: Rng, low: int, high: int, count: int) -> tuple[int, ...]:
    return tuple(int(n) for n in rng.integers(low, high + 1, count))


def one(rng: Rng, low: int, high: int) -> int:
    return int(rng.integers(low, high + 1))


def flag(rng: Rng) -> bool:
    return bool(rng.integers(2))


def any_shape(rng: Rng) -> tuple[int, ...]:
    return (-one(rng, 1, 3), *some(rng, 1, 5, one(rng, 0, 3)))


def image(rng: Rng, rank: int, least: int = 1) -> tuple[int, ...]:
    return (-1, one(rng, 1, 4), *some(rng, least, least + 6, rank))
