"""Kernels of these tests are compiled into a folder of their own, and chosen at a glance."""

from bridge_cases import glance
from kernel_cases import own_cache

__all__ = ["glance", "own_cache"]
