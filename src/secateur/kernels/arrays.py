"""What kernels ask of arrays that callers hand them."""

from __future__ import annotations

import numpy as np

from secateur.errors import KernelError


def check_array(name: str, array: np.ndarray, shape: tuple[int, ...], dtype: type[np.generic] = np.float32) -> None:
    """KernelError for what is no dense array of this shape and type."""
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        kind = np.dtype(dtype).name
        raise KernelError(f"{name} must be a {kind} array of shape {shape}; got {_described(array)}")
    if not array.flags.c_contiguous:
        raise KernelError(f"{name} must be dense: use np.ascontiguousarray")


def _described(array: object) -> str:
    return f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
