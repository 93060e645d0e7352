"""Windows that slide over the spatial axes: what convolution and pooling share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from secateur.errors import GraphError
from secateur.ir.ops.sizes import MAX_ELEMENTS, need_static, show


@dataclass(frozen=True)
class Window:
    """A window per spatial axis. `ceil_mode` keeps a last window that runs over the right edge (torch's meaning)."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil_mode: bool = False

    @property
    def reach(self) -> tuple[int, ...]:
        """How many positions a window spans along each axis."""
        return tuple((taps - 1) * step + 1 for taps, step in zip(self.kernel, self.dilation, strict=True))

    def check(self, op: str, sizes: tuple[int, ...]) -> None:
        """GraphError unless the window is well formed and fits into spatial sizes."""
        need_static(op, sizes, "spatial shape")
        for name in ("kernel", "stride", "padding", "dilation"):
            values = getattr(self, name)
            if len(values) != len(sizes):
                raise GraphError(f"{op}: {name} {values} must have one entry for each of the {len(sizes)} spatial axes")
            if name != "padding" and min(values) < 1:
                raise GraphError(f"{op}: {name} {values} must be at least 1 everywhere")
        padded = [size + 2 * pad for size, pad in zip(sizes, self.padding, strict=True)]
        if any(reach > size for reach, size in zip(self.reach, padded, strict=True)):
            raise GraphError(f"{op}: a window spanning {self.reach} does not fit into the padded input {show(padded)}")
        if prod(padded) > MAX_ELEMENTS:
            raise GraphError(f"{op}: padding {self.padding} makes the input absurdly large: {show(padded)}")

    def outputs(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """The number of window positions along each axis (the formula in torch.nn.MaxPool2d's documentation)."""
        result = []
        for size, pad, step, reach in zip(sizes, self.padding, self.stride, self.reach, strict=True):
            room = size + 2 * pad - reach
            count = (-(-room // step) if self.ceil_mode else room // step) + 1
            # A window that ceil_mode adds must start inside the input or its left padding: it would see nothing else.
            late = self.ceil_mode and (count - 1) * step >= size + pad
            result.append(count - late)
        return tuple(result)

    def padded(self, x: np.ndarray, value: float) -> np.ndarray:
        """x (n, c, *spatial) with its border, wide enough on the right for every window of `outputs`."""
        sizes = x.shape[2:]
        if (around := self.padded_sizes(sizes)) == sizes:
            return x
        result = np.full((*x.shape[:2], *around), value, dtype=x.dtype)
        result[(..., *(slice(pad, pad + size) for size, pad in zip(sizes, self.padding, strict=True)))] = x
        return result

    def padded_sizes(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """Spatial sizes of what `padded` gives."""
        return tuple(
            size + pad + max(pad, (count - 1) * step + reach - size - pad)
            for size, pad, step, reach, count in zip(
                sizes, self.padding, self.stride, self.reach, self.outputs(sizes), strict=True
            )
        )
