"""Pooling by maxima of codes. Torch's own refuses bytes in channels_last from 128 pixels on; largest values are found
row by row, then column by column, which takes kernel height + kernel width - 2 comparisons a value."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from secateur.bridge.recognising import called

FUNCTIONS = (torch.max_pool2d, F.max_pool2d)
"""Of the same arguments, in the same order."""
OPTIONS = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")


class PooledCodes(nn.Module):
    """What torch.max_pool2d with these options gives for int8 or uint8, of any size. The memory format stays; windows
    of one pixel give a view."""

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.taps = _pair(kernel_size)
        self.stride = self.taps if stride is None or stride == [] else _pair(stride)
        self.padding, self.dilation, self.ceil_mode = _pair(padding), _pair(dilation), ceil_mode

    def forward(self, codes: Tensor) -> Tensor:
        """codes (n, c, h, w) or (c, h, w). RuntimeError, torch's own, where they are fewer than a window takes."""
        sizes = [self._size(codes.shape[axis], axis) for axis in (-2, -1)]
        if min(sizes) < 1:
            return F.max_pool2d(codes.float(), self.taps, self.stride, self.padding, self.dilation, self.ceil_mode)
        around = [side for axis in (-1, -2) for side in self._around(codes.shape[axis], axis, sizes[axis])]
        if any(around):
            codes = F.pad(codes, around, value=torch.iinfo(codes.dtype).min)
        return self._maxima(self._maxima(codes, -2, sizes[-2]), -1, sizes[-1])

    def extra_repr(self) -> str:
        """Shown by print."""
        return f"{self.taps}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}"

    def _reach(self, axis: int) -> int:
        return self.dilation[axis] * (self.taps[axis] - 1) + 1

    def _size(self, given: int, axis: int) -> int:
        """How many windows there are, as torch counts them: with `ceil_mode` the last may end outside, not begin."""
        stride, padding = self.stride[axis], self.padding[axis]
        room = given + 2 * padding - self._reach(axis)
        if not self.ceil_mode:
            return room // stride + 1
        count = -(-room // stride) + 1
        return count - ((count - 1) * stride >= given + padding)

    def _around(self, given: int, axis: int, size: int) -> tuple[int, int]:
        end = (size - 1) * self.stride[axis] + self._reach(axis)
        return self.padding[axis], max(0, end - given - self.padding[axis])

    def _maxima(self, codes: Tensor, axis: int, size: int) -> Tensor:
        step, last = self.stride[axis], (size - 1) * self.stride[axis] + 1
        starts = [tap * self.dilation[axis] for tap in range(self.taps[axis])]
        rest = (slice(None),) * (-1 - axis)
        return reduce(torch.maximum, [codes[(..., slice(start, start + last, step), *rest)] for start in starts])


def pooling(node: fx.Node, model: nn.Module) -> PooledCodes | None:
    """What a node that pools by maxima does to codes; None for other nodes, and one that gives indices too."""
    call = called(node, model)
    if call is nn.MaxPool2d:
        module = model.get_submodule(str(node.target))
        options: dict[str, Any] = {name: getattr(module, name) for name in OPTIONS}
    elif call in FUNCTIONS and len(node.all_input_nodes) == 1:  # else data tell how large a window is
        options = {**dict(zip(OPTIONS, node.args[1:], strict=False)), **node.kwargs}
    else:
        return None
    return None if options.pop("return_indices", False) else PooledCodes(**options)


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    return value[0], value[-1]
