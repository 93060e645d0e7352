"""swap_norms_(): other normalization layers in a model, or none, that compute the same in evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import PlanError
from secateur.ir.rules import near
from secateur.nn.fx_graph import difference
from secateur.nn.norms.evaluation import evaluated, rounding
from secateur.nn.norms.lagrange_norm import LagrangeNorm, LagrangeNorm1d, LagrangeNorm2d, LagrangeNorm3d
from secateur.nn.norms.sites import Maker, makers
from secateur.nn.norms.undo import Record
from secateur.nn.plain_layers import hooked

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
LAGRANGE_NORMS: dict[int, type[LagrangeNorm]] = {
    2: LagrangeNorm1d,
    3: LagrangeNorm1d,
    4: LagrangeNorm2d,
    5: LagrangeNorm3d,
}
"""Dimensions of what a batch norm takes, those of the weights before it -> what replaces it."""
OTHERS = (nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
"""Norms that stay, each listed with its reason."""
OPTIONS = ("variance", "mode", "rho")
"""Of LagrangeNorm."""

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
    example   inputs of the model, (1, ...), on its device: its code is traced for which layer stands before which norm,
              and it is evaluated on them before and after
    options   of LagrangeNorm: variance, mode, rho

    All is computed in float64 and rounded once. A norm that something else than one layer's output reaches stays, and
    its row says why; so does one whose layer is not torch's own, has hooks, or has weights that something else reads.
    What was frozen stays frozen: gain and shift of a norm that had none (affine=False) are not trained, and a new bias
    is trained where the layer's weights are; multipliers are trained in any case.

    All or nothing: an error leaves the model as it was. PlanError for another kind or option, for a model whose code
    cannot be traced or that does not take the example, where nothing could be swapped, and, with the first norm that
    does it, where outputs on the example then differ by more than rounding can: the square root of the coarsest
    precision, relative to the largest (in float32 3.5e-4).
    """
    if kind not in KINDS:
        raise PlanError(f"norm {kind!r} is none of {', '.join(KINDS)}")
    swap = KINDS[kind]
    for name in options:
        if name not in swap.options:
            takes = f"its options are {', '.join(swap.options)}" if swap.options else "it takes no options"
            raise PlanError(f"{kind!r} has no option {name!r}: {takes}{near(name, swap.options)}")
    inputs = example if isinstance(example, tuple) else (example,)
    swapping = _Swapping(model, swap, makers(model, inputs, swap.kinds), options)
    expected, done = evaluated(model, inputs), False
    try:
        rows = NormSwaps(swapping.rows())
        if not any(row.swapped for row in rows):
            raise PlanError(f"no norm could be replaced: {rows or 'the model has no norm'}")
        swapping.refuse_other_outputs(inputs, expected)
        done = True
    finally:
        if not done:
            swapping.record.restore()
    return rows


class _Swapping:
    """One call: what stands before which norm, how norms are replaced, and the model before."""

    def __init__(self, model: nn.Module, swap: _Swap, found: dict[str, Maker], options: dict[str, Any]) -> None:
        self.model, self.swap, self.found, self.options = model, swap, found, options
        pairs = [(name, one.name) for name, one in found.items() if not one.reason]
        self.record = Record(model, [(model.get_submodule(norm), model.get_submodule(maker)) for norm, maker in pairs])

    def rows(self) -> Iterator[NormSwap]:
        """Every norm of the model, swapped where it can be before its row is given."""
        for name, norm in list(self.model.named_modules()):
            before = type(norm).__name__
            if isinstance(norm, OTHERS):
                yield NormSwap(
                    name, before, before, reason="it normalizes every example by itself, in training at least"
                )
            elif isinstance(norm, self.swap.kinds):
                maker = self.found.get(name, NEVER)
                if reason := _unfit(norm) or maker.reason:
                    yield NormSwap(name, before, before, reason=reason)
                    continue
                made = self.swap.convert(norm, self.model.get_submodule(maker.name), self.options)
                self.record.put(norm, made)
                yield NormSwap(name, before, type(made).__name__, maker.name)

    def refuse_other_outputs(self, inputs: tuple[Any, ...], expected: Any) -> None:
        """PlanError where the model, swapped, gives something else than before."""
        limit = rounding(self.model, expected)
        if difference(expected, evaluated(self.model, inputs)) <= limit:
            return
        self.record.restore()
        name, maker, found = "", "", 0.0
        for row in self.rows():  # one after the other, to find which of them it is
            if row.swapped:
                name, maker, found = row.name, row.maker, difference(expected, evaluated(self.model, inputs))
                if not found <= limit:
                    break
        raise PlanError(
            f"with {name} swapped the outputs on the example differ by {found:.1e} of the largest, more than the "
            f"{limit:.1e} of rounding: something else reads it, or {maker}, whose weights do its work then, or numbers "
            "leave the range of their type. The model is as it was"
        )


def _unfit(norm: Any) -> str:
    kind = type(norm)
    if kind not in (*BATCH_NORMS, *LAGRANGE_NORMS.values()) or "forward" in vars(norm):
        return f"a {kind.__name__} of its own may do more than torch's, or than a LagrangeNorm"
    if norm.running_mean is None or norm.running_var is None:
        return "it has no running statistics (track_running_stats=False)"
    return "it has hooks, which would be gone with it" if hooked(norm) else ""


@torch.no_grad()
def _to_lagrange(norm: Any, maker: Any, options: dict[str, Any]) -> LagrangeNorm:
    """A LagrangeNorm in place of a batch norm, whose statistics go into the layer before it."""
    made = LAGRANGE_NORMS[maker.weight.dim()](norm.num_features, **options)
    made.train(norm.training).to(norm.running_mean)
    spread = (norm.running_var.double() + norm.eps).sqrt() / made.variance**0.5
    normalise_maker_(maker, norm.running_mean.double(), spread)
    made.weight.fill_(made.variance**-0.5)
    if norm.affine:
        made.weight.mul_(norm.weight)
        made.bias.copy_(norm.bias)
    made.weight.requires_grad_(norm.affine and norm.weight.requires_grad)
    made.bias.requires_grad_(norm.affine and norm.bias.requires_grad)
    return made


@torch.no_grad()
def _to_identity(norm: Any, maker: Any, _: dict[str, Any]) -> nn.Identity:
    """Nothing, once the layer before a LagrangeNorm has its gain and shift."""
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
        maker.bias = nn.Parameter(bias.to(maker.weight.dtype), requires_grad=maker.weight.requires_grad)
    else:
        maker.bias.copy_(bias)


def _broad(per_channel: Tensor, weight: Tensor) -> Tensor:
    return per_channel.reshape(-1, *(1,) * (weight.dim() - 1))


@dataclass(frozen=True)
class _Swap:
    """What is replaced, and how: convert(norm, the layer before it, options) gives what takes its place."""

    kinds: tuple[type[nn.Module], ...]
    options: tuple[str, ...]
    convert: Callable[[Any, nn.Module, dict[str, Any]], nn.Module]


KINDS = {"lagrange": _Swap(BATCH_NORMS, OPTIONS, _to_lagrange), "folded": _Swap((LagrangeNorm,), (), _to_identity)}
