"""What kernels ask of arrays that callers hand them."""

from __future__ import annotations

import numpy as np

from secateur.errors import KernelError


def check_array(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    """KernelError for what is no dense float32 array of this shape."""
    if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.shape != shape:
        raise KernelError(f"{name} must be a float32 array of shape {shape}; got {_described(array)}")
    if not array.flags.c_contiguous:
        raise KernelError(f"{name} must be dense: use np.ascontiguousarray")


def _described(array: object) -> str:
    return f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
