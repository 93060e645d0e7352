"""swap_norms_(): other normalization layers in a model, or none, that compute the same in evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import PlanError
from secateur.nn.norms.lagrange_norm import LagrangeNorm, LagrangeNorm1d, LagrangeNorm2d, LagrangeNorm3d
from secateur.nn.norms.sites import Maker, makers

BATCH_NORMS: dict[type[nn.Module], type[LagrangeNorm]] = {
    nn.BatchNorm1d: LagrangeNorm1d,
    nn.BatchNorm2d: LagrangeNorm2d,
    nn.BatchNorm3d: LagrangeNorm3d,
}
"""What is replaced -> by what."""
OTHERS = (nn.SyncBatchNorm, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
"""Norms that stay, each listed with its reason."""


NEVER = Maker(reason="it is never called")


@dataclass(frozen=True)
class NormSwap:
    """One normalization layer: its name, what it was, what it is now, the layer whose weights do its work, or why it
    was kept."""

    name: str
    before: str
    after: str
    maker: str = ""
    reason: str = ""

    @property
    def swapped(self) -> bool:
        """Whether it was replaced."""
        return not self.reason


class NormSwaps(tuple[NormSwap, ...]):
    """A row a normalization layer; prints as a table."""

    def __str__(self) -> str:
        """Name, before -> after, and the reason where a layer was kept."""
        return "\n".join(
            f"{row.name}: {row.before} -> {row.after}, what it did is now in the weights of {row.maker}"
            if row.swapped
            else f"{row.name}: {row.before} kept, {row.reason}"
            for row in self
        )


def swap_norms_(model: nn.Module, kind: str, example: tuple[Any, ...] | Tensor, **options: Any) -> NormSwaps:
    """Replace normalization layers of a model, in place; in evaluation it computes the same.

    kind      "lagrange": batch norms become LagrangeNorm. Running statistics go into weights and bias (a new one where
              there is none) of the convolution or linear layer before the norm: what reaches the norm then has the
              statistics it is to be kept at. Swap before building the optimizer and before prepare_
              "folded": LagrangeNorms, gain and shift, go into the layer before them; an nn.Identity stays
    example   inputs of the model, (1, ...): its code is traced for which layer stands before which norm
    options   of LagrangeNorm: variance, mode, rho

    All is computed in float64 and rounded once. A norm that something else than one layer's output reaches stays, and
    its row says why. PlanError for another kind, for a model whose code cannot be traced, and where nothing could be
    swapped.
    """
    if kind not in KINDS:
        raise PlanError(f"norm {kind!r} is none of {', '.join(KINDS)}")
    inputs = example if isinstance(example, tuple) else (example,)
    rows = NormSwaps(_rows(model, KINDS[kind], inputs, options))
    if not any(row.swapped for row in rows):
        raise PlanError(f"no norm could be replaced: {rows or 'the model has no norm'}")
    return rows


def _rows(model: nn.Module, swap: _Swap, inputs: tuple[Any, ...], options: dict[str, Any]) -> Iterator[NormSwap]:
    found = makers(model, inputs, swap.kinds)
    for name, norm in list(model.named_modules()):
        before = type(norm).__name__
        if isinstance(norm, OTHERS):
            yield NormSwap(name, before, before, reason="its statistics are no constants in evaluation")
        elif isinstance(norm, swap.kinds):
            maker = found.get(name, NEVER)
            if reason := maker.reason or _unfit(norm):
                yield NormSwap(name, before, before, reason=reason)
                continue
            made = swap.convert(norm, model.get_submodule(maker.name), options)
            model.set_submodule(name, made)
            yield NormSwap(name, before, type(made).__name__, maker.name)


def _unfit(norm: Any) -> str:
    if type(norm) not in BATCH_NORMS and not isinstance(norm, LagrangeNorm):
        return f"a {type(norm).__name__} may do more than a batch norm"
    if norm.running_mean is None or norm.running_var is None:
        return "it has no running statistics (track_running_stats=False)"
    return ""


@torch.no_grad()
def _to_lagrange(norm: Any, maker: nn.Module, options: dict[str, Any]) -> LagrangeNorm:
    """A LagrangeNorm in place of a batch norm, whose statistics go into the layer before it."""
    made = BATCH_NORMS[type(norm)](norm.num_features, **options)
    made.train(norm.training).to(norm.running_mean)
    spread = (norm.running_var.double() + norm.eps).sqrt() / made.variance**0.5
    normalise_maker_(maker, norm.running_mean.double(), spread)
    made.weight.fill_(made.variance**-0.5)
    if norm.affine:
        made.weight.mul_(norm.weight)
        made.bias.copy_(norm.bias)
        made.weight.requires_grad_(norm.weight.requires_grad)
        made.bias.requires_grad_(norm.bias.requires_grad)
    return made


@torch.no_grad()
def _to_identity(norm: Any, maker: Any, options: dict[str, Any]) -> nn.Identity:
    """Nothing, once the layer before a LagrangeNorm has its gain and shift."""
    if options:
        raise PlanError(f"folding takes no options, got {', '.join(options)}")
    gain = norm.weight.double()
    weight, bias = maker.weight, None if maker.bias is None else maker.bias.double()
    weight.copy_(weight.double() * _broad(gain, weight))
    _give_bias_(maker, norm.bias.double() if bias is None else gain * bias + norm.bias.double())
    return nn.Identity().train(norm.training)


@torch.no_grad()
def normalise_maker_(maker: Any, mean: Tensor, spread: Tensor) -> None:
    """Weights and bias of a layer changed so that its output y becomes (y - mean) / spread; float64, (channels,)."""
    weight, bias = maker.weight, -mean if maker.bias is None else maker.bias.double() - mean
    weight.copy_(weight.double() / _broad(spread, weight))
    _give_bias_(maker, bias / spread)


def _give_bias_(maker: Any, bias: Tensor) -> None:
    if maker.bias is None:
        maker.bias = nn.Parameter(bias.to(maker.weight.dtype))
    else:
        maker.bias.copy_(bias)


def _broad(per_channel: Tensor, weight: Tensor) -> Tensor:
    return per_channel.reshape(-1, *(1,) * (weight.dim() - 1))


@dataclass(frozen=True)
class _Swap:
    """What is replaced, and how: convert(norm, the layer before it, options) gives what takes its place."""

    kinds: tuple[type[nn.Module], ...]
    convert: Callable[[Any, nn.Module, dict[str, Any]], nn.Module]


KINDS = {"lagrange": _Swap(tuple(BATCH_NORMS), _to_lagrange), "folded": _Swap((LagrangeNorm,), _to_identity)}
