"""Kernels of these tests are compiled into a folder of their own, and chosen at a glance instead of a measurement;
gradients of inputs are computed by kernels wherever these can. Nothing is compiled ahead: processes start slowly."""

import pytest

from bridge_cases import PAYS
from kernel_cases import own_cache
from secateur.bridge import kept, trial
from secateur.kernels import choice

__all__ = ["own_cache"]


@pytest.fixture(autouse=True)
def glance(monkeypatch):
    monkeypatch.setattr(choice, "ROUNDS", 1)
    monkeypatch.setattr(choice, "FAST_CANDIDATES", 1)
    monkeypatch.setattr(kept, "against_torch", lambda *_: PAYS)
    monkeypatch.setattr(trial, "compile_ahead", lambda *_, **__: 0)
