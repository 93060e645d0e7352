"""Kernels of these tests are compiled into a folder of their own, and chosen at a glance instead of a measurement."""

import pytest

from kernel_cases import own_cache
from secateur.kernels import choice

__all__ = ["own_cache"]


@pytest.fixture(autouse=True)
def glance(monkeypatch):
    monkeypatch.setattr(choice, "ROUNDS", 1)
    monkeypatch.setattr(choice, "FAST_CANDIDATES", 1)
