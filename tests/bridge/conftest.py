"""Kernels of these tests are chosen at a glance."""

from bridge_cases import glance

__all__ = ["glance"]
