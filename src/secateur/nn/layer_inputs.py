"""What a layer's weight is multiplied with: the inputs of Linear, Conv1d and Conv2d as rows of a matrix.

A convolution is a matrix product after unfolding; that is done a few samples at a time, so that memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.errors import DataError

PIECE = 2**22
"""At most so many numbers are unfolded at a time, in float64, or one sample's."""

Inputs = tuple[Any, ...]


class Reached(BaseException):
    """Ends a forward pass early, once there is nothing more to see. Not an Exception, so that no model catches it."""


def rows_of(module: nn.Module, x: Tensor) -> Iterator[Tensor]:
    """Pieces (groups, rows, inputs of a group) in float64 on the CPU: weight.flatten(1) of a group times a row is an
    output without its bias."""
    if isinstance(module, nn.Linear):
        flat = x.reshape(1, -1, module.in_features)
        for piece in flat.split(max(1, PIECE // module.in_features), dim=1):
            yield piece.cpu().double()
        return
    conv = cast(nn.Conv2d, module)
    spatial = len(conv.kernel_size)
    batch = x if x.dim() == spatial + 2 else x.unsqueeze(0)
    outputs = max(1, batch[0, 0].numel())
    samples = max(1, PIECE // (conv.in_channels * conv.weight[0, 0].numel() * outputs))
    for piece in batch.split(samples):
        yield _unfolded(conv, piece.cpu().double())


def _unfolded(conv: nn.Conv2d, x: Tensor) -> Tensor:
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    x = F.pad(x, cast(Any, conv)._reversed_padding_repeated_twice, mode=mode)
    kernel, stride, dilation = conv.kernel_size, conv.stride, conv.dilation
    if len(kernel) == 1:
        x, kernel, stride, dilation = x.unsqueeze(2), (1, *kernel), (1, *stride), (1, *dilation)
    columns = F.unfold(x, kernel, dilation=dilation, stride=stride)
    grouped = columns.reshape(x.shape[0], conv.groups, -1, columns.shape[-1])
    return grouped.permute(1, 0, 3, 2).flatten(1, 2)


def _path(model: nn.Module, module: nn.Module) -> str:
    return next(path for path, known in model.named_modules() if known is module)


def _input(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The first argument of a layer, whatever a class of its own calls it; None where it is called without."""
    return next(iter((*args, *kwargs.values())), None)


def first_inputs(model: nn.Module, layers: Mapping[str, nn.Module], inputs: Inputs) -> dict[str, Tensor]:
    """What reaches each of these modules first when the model is called; those that are not called with a tensor are
    left out."""
    first: dict[str, Tensor] = {}

    def keeper(name: str) -> Callable[..., None]:
        def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if isinstance(x := _input(args, kwargs), Tensor):
                first.setdefault(name, x)

        return keep

    handles = [module.register_forward_pre_hook(keeper(name), with_kwargs=True) for name, module in layers.items()]
    try:
        model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return first


def call(model: nn.Module, inputs: Inputs, number: int) -> Any:
    """The model's output on a batch; DataError says which batch it failed on."""
    try:
        return model(*inputs)
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"the model fails on calibration batch {number}: {error}") from error


def see(
    model: nn.Module,
    calls: Mapping[nn.Module, int],
    batch: tuple[int, Inputs],
    visit: Callable[[nn.Module, Tensor], None],
) -> None:
    """Run the model on a numbered batch; every input of the modules in `calls` goes to visit(module, input). The pass
    ends once each was called as often as `calls` says. DataError where an input is NaN or infinite."""
    number, inputs = batch
    left = dict(calls)

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x = _input(args, kwargs)
        if not torch.isfinite(x).all():
            raise DataError(f"calibration batch {number}: NaN or infinity goes into {_path(model, module)!r}")
        visit(module, x.detach())
        left[module] = left.get(module, 0) - 1
        if not left[module]:
            del left[module]
        if not left:
            raise Reached

    handles = [module.register_forward_pre_hook(hook, with_kwargs=True) for module in calls]
    try:
        call(model, inputs, number)
    except Reached:
        pass
    finally:
        for handle in handles:
            handle.remove()


def calls_of(model: nn.Module, modules: Sequence[nn.Module], batch: tuple[int, Inputs]) -> dict[nn.Module, int]:
    """How often each of the modules is called on a batch, in the order of their first calls; those that never are
    called as a module are missing."""
    counts: dict[nn.Module, int] = {}

    def hook(module: nn.Module, *_: Any) -> None:
        counts[module] = counts.get(module, 0) + 1

    handles = [module.register_forward_pre_hook(hook) for module in modules]
    try:
        call(model, batch[1], batch[0])
    finally:
        for handle in handles:
            handle.remove()
    return counts
