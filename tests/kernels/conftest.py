"""Kernels of the tests in this folder are compiled into a folder of their own."""

from kernel_cases import own_cache

__all__ = ["own_cache"]
