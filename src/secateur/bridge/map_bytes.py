"""Maps of bytes as torch tensors: between numbers and codes, as `kernels.byte_maps` defines them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from secateur.errors import KernelError
from secateur.kernels.byte_maps import ByteMap

_func = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue] - torch has no types for it


def dtype_of_map(one: ByteMap) -> torch.dtype:
    """Of a tensor of codes."""
    return torch.int8 if one.signed else torch.uint8


def codes_of(x: Tensor, one: ByteMap | None) -> Tensor:
    """x on the map, as codes; as it is where that is None. KernelError where somebody asks for a derivative."""
    if one is None:
        return x
    refuse_derivatives(x)
    moved = x * float(one.inverse) + 0.5
    return torch.floor(torch.clamp(moved, *one.ends)).nan_to_num(0.0).to(dtype_of_map(one))


def numbers_of(codes: Tensor, one: ByteMap | None, dtype: torch.dtype) -> Tensor:
    """What codes stand for; x as it is where the map is None."""
    return codes if one is None else codes.to(dtype) * one.scale


def refuse_derivatives(*sources: Tensor | None) -> None:
    """KernelError where a derivative is asked for of codes made from these: integers have none, so that torch would go
    on with zeros, or complain about its own operators."""
    if any(one is not None and _derived(one) for one in sources):
        raise KernelError(
            "layers of this network hand bytes to one another, which have no derivative: call it under torch.no_grad() "
            "or with an input that is detached; for derivatives use the model itself, or "
            'accelerate(model, example, accuracy="default")'
        )


def _derived(x: Tensor) -> bool:
    """Whether x has a gradient to be, or a tangent, also inside any of the wrappers of torch.func."""
    if x.requires_grad and torch.is_grad_enabled():
        return True
    if torch.compiler.is_compiling():
        return False
    # What vmap wraps has neither itself, and torch does not let it be asked for a tangent.
    if (
        forward_ad._current_level >= 0
        and not _func.is_batchedtensor(x)
        and forward_ad.unpack_dual(x).tangent is not None
    ):
        return True
    return _func.is_functorch_wrapped_tensor(x) and _derived(_func.get_unwrapped(x))


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
