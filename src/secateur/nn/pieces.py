"""Operators over a weight in cache-sized pieces: how a tensor is cut, summed up again, and laid out.

Such an operator has constants that belong to one tensor or to one channel of it. One on a CPU is read into Python
numbers: a small tensor's time is that of the torch calls, not of its elements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Any, TypeVar

import torch
from torch import Tensor

PIECE = 32768
"""Elements a piece: two tensors and some scratch pieces of float32 fill 1 MiB, which stays in a core's L2 cache."""

LIBRARY = torch.library.Library("secateur", "DEF")
"""Being operators of the dispatcher they are opaque to torch.compile and torch.export, which never break on them."""

Constants = TypeVar("Constants", bound=tuple[Any, ...])


def is_one(*constants: Tensor) -> bool:
    """Whether these constants become Python numbers."""
    return all(c.numel() == 1 and c.device.type == "cpu" for c in constants)


def pieces(
    constants: Constants, *tensors: Tensor, scratch: int
) -> Iterator[tuple[Constants, Sequence[Tensor], Sequence[Tensor]]]:
    """Matching pieces of the tensors with their constants and with scratch of the same shape.

    constants  a named tuple whose first field is a Python number, and then the pieces are of one long row; or all of
               whose fields are columns, one number a slice of dimension 0, and then they are (rows, n) matrices
    """
    size, one = tensors[0].numel(), isinstance(constants[0], float)
    rows = 1 if one else len(constants[0])
    flat = [t.contiguous().view(size if one else (rows, size // rows)) for t in tensors]
    if size <= PIECE or size // rows == 0 or tensors[0].device.type != "cpu":
        yield constants, flat, flat[0].new_empty((scratch, *flat[0].shape)).unbind()
        return
    length = PIECE if one else max(1, PIECE // (size // rows))
    buffers = flat[0].new_empty((scratch, length, *flat[0].shape[1:]))
    parts = (
        repeat(constants)
        if one
        else (type(constants)(*part) for part in zip(*(c.split(length) for c in constants), strict=True))
    )
    for part, cut in zip(parts, zip(*(t.split(length) for t in flat), strict=True), strict=False):
        yield part, cut, buffers[:, : len(cut[0])].unbind()


def gathered(parts: list[Any], like: Tensor) -> Tensor:
    """The sums of all pieces, numbers or columns, in their order, in the shape of a constant."""
    if isinstance(parts[0], float):
        return torch.tensor(sum(parts), dtype=like.dtype).reshape(like.shape)
    rows = torch.cat(parts)
    return (rows.sum() if like.numel() == 1 else rows).reshape(like.shape)


def in_rows(call: Callable[..., tuple[Tensor, ...]], w: Tensor, *constants: Tensor, axis: int) -> tuple[Tensor, ...]:
    """call(w, *constants), whose first result is like w, with the channels of w on axis 0 and then its axes as they lie
    in memory: the weight of a model in channels_last stays in it, without which its convolutions would take twice the
    time. axis: that of the channels; constants are broadcastable to w."""
    order = _order(w, axis)
    if order == list(range(w.dim())):
        return call(w, *constants)
    if axis:  # otherwise they have one element, or channels on axis 0, and lie right
        constants = tuple(c.permute(order) for c in constants)
    like, *rest = call(w.permute(order), *constants)
    like = like.permute(sorted(range(w.dim()), key=order.__getitem__))
    return like if like.stride() == w.stride() else like.clone(memory_format=_format_of(w)), *rest


def _order(w: Tensor, axis: int) -> list[int]:
    others = [other for other in range(w.dim()) if other != axis]
    if _format_of(w) != torch.contiguous_format:
        others.sort(key=lambda other: other == 1)
    return [axis, *others]


def _format_of(w: Tensor) -> torch.memory_format:
    """channels_last, in two or three dimensions, where w lies so. With one channel or one pixel only the strides tell
    it from the ordinary order, and it is by strides that torch chooses a convolution's layout."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    if w.dim() in formats and (w.stride(1), w.stride(-1)) == (1, w.shape[1]):
        return formats[w.dim()]
    return torch.contiguous_format
