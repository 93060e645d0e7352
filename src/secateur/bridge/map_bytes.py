"""Maps of bytes as torch tensors: between numbers and codes, as `kernels.byte_maps` defines them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from secateur.kernels.byte_maps import ByteMap


def dtype_of_map(one: ByteMap) -> torch.dtype:
    """Of a tensor of codes."""
    return torch.int8 if one.signed else torch.uint8


def codes_of(x: Tensor, one: ByteMap | None) -> Tensor:
    """x on the map, as codes; as it is where that is None."""
    if one is None:
        return x
    moved = x * float(one.inverse) + 0.5
    return torch.floor(torch.clamp(moved, *one.ends)).nan_to_num(0.0).to(dtype_of_map(one))


def numbers_of(codes: Tensor, one: ByteMap | None, dtype: torch.dtype) -> Tensor:
    """What codes stand for; x as it is where the map is None."""
    return codes if one is None else codes.to(dtype) * one.scale


class _OnMap(nn.Module):
    def __init__(self, one: ByteMap) -> None:
        super().__init__()
        self.map = one

    def extra_repr(self) -> str:
        """Shown by print."""
        return f"scale={self.map.scale:g}, signed={self.map.signed}"


class Codes(_OnMap):
    """Numbers in, codes out."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape; the memory format stays."""
        return codes_of(x, self.map)


class Numbers(_OnMap):
    """Codes in, numbers out, in float32, or what the model was moved to since."""

    like: Tensor

    def __init__(self, one: ByteMap) -> None:
        super().__init__(one)
        self.register_buffer("like", torch.zeros(()), persistent=False)

    def forward(self, codes: Tensor) -> Tensor:
        """Of any shape; the memory format stays."""
        return numbers_of(codes, self.map, self.like.dtype)
