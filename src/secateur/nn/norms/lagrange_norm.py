"""LagrangeNorm: layers trained to mean 0 and variance s per channel, and left with nothing to normalize.

Published (US20200097829A1), for batches of 8 or less, 1 included: minimise

    L = L_task + sum_kl lambda_kl mu_kl^2 + sum_kl nu_kl (v_kl - s_kl)^2

over the weights, by gradient ascent in the multipliers; mu and v are mean and variance of channel k of layer l before
its activation, s is 1 or trained. In evaluation the layer is y = gain x + shift, which folds into the layer before it.

Our reading: such multipliers only grow, so "squared" caps them. "augmented" has the signed constraints c = mu and
c = v - s in an augmented Lagrangian, lambda c + rho/2 c^2, whose multipliers settle. Both are means over a layer's
channels: `terms` says why. "running" is the same with running
statistics as the constraint's value and the batch's as its gradient: one example of a fully connected layer has no
variance of its own.
"""

from __future__ import annotations

import warnings
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.errors import PlanError, SecateurWarning

MODES = ("augmented", "squared", "running")
RHO = 0.1
"""Weight of a layer's penalty, shared by its channels."""
FORGOTTEN = 16
"""Forward passes in training without a call of norm_penalty, after which the layer says so."""
REENTRANT = (
    "is computed again in the backward pass, by torch.utils.checkpoint with use_reentrant=True it seems, after a "
    "forward pass without gradients that norm_penalty could not see: checkpoint(..., use_reentrant=False) and call "
    "norm_penalty(model) between forward and backward pass"
)


class LagrangeNorm(nn.Module):
    """Base of LagrangeNorm1d, 2d and 3d, which differ in the inputs they take: (batch, channels, positions...).

    channels   size of axis 1
    variance   s: a number above 0, or "trained": one a channel, starting at 1
    mode       "augmented", "squared" or "running"
    rho        weight of the layer's penalty, a mean over channels

    weight and bias (gain and shift) are parameters of shape (channels,), `multipliers` one of shape (2, channels): of
    means and of variances, in units of rho / channels.
    The gradient of a multiplier is minus its ascent, in proportion to the weights' rate: any optimizer that descends in
    the weights makes multipliers ascend. Add norm_penalty(model) to the loss, or nothing is constrained. PlanError for
    options that do not fit.
    """

    dimensions: tuple[int, ...] = ()
    running_mean: Tensor
    running_var: Tensor
    batch_mean: Tensor
    batch_variance: Tensor
    eps = 0.0

    def __init__(
        self, channels: int, *, variance: float | str = 1.0, mode: str = "augmented", rho: float = RHO
    ) -> None:
        super().__init__()
        _check(variance, mode, rho)
        self.channels, self.mode, self.rho = channels, mode, rho
        self.variance = 1.0 if isinstance(variance, str) else float(variance)
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.multipliers = nn.Parameter(torch.full((2, channels), float(mode == "squared")))
        self.log_variance = nn.Parameter(torch.zeros(channels)) if isinstance(variance, str) else None
        for name, start in (("running_mean", 0.0), ("running_var", 1.0)):  # what evaluation takes away: nothing
            self.register_buffer(name, torch.full((channels,), start))
        if mode == "running":
            self.register_buffer("batch_mean", torch.zeros(channels))
            self.register_buffer("batch_variance", torch.full((channels,), self.variance))
        self._seen: list[Tensor] = []
        self._taken = False
        self.register_load_state_dict_pre_hook(_refuse_statistics)

    def forward(self, x: Tensor) -> Tensor:
        """gain x + shift; in training with gradients, x is kept for norm_penalty, but not where a backward pass
        computes again what activation checkpointing had dropped."""
        if x.dim() not in self.dimensions or x.shape[1] != self.channels:
            raise ValueError(
                f"{type(self).__name__}({self.channels}) takes (batch, {self.channels}, ...) of {self.dimensions} "
                f"dimensions, got {tuple(x.shape)}"
            )
        if self.training and torch.is_grad_enabled() and x.numel():
            # Compiled, it cannot be asked: what a backward pass computes again is forgotten at its end (`keep_first`).
            if torch.compiler.is_compiling() or torch._C._current_graph_task_id() == -1:
                if len(self._seen) >= FORGOTTEN:
                    self._forget()
                self._seen.append(x)
            elif not (self._seen or self._taken):
                raise PlanError(f"{type(self).__name__}({self.channels}) {REENTRANT}")
            still = self._buffers  # at batch 1 a step is as long as its calls: the shortest way to the operator
            numbers = self.weight, self.bias, still["running_mean"], still["running_var"]
            return torch.batch_norm(x, *numbers, False, 0.0, self.eps, False)  # type: ignore[arg-type]
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)

    def _forget(self) -> None:
        self._seen.clear()
        warnings.warn(
            f"{FORGOTTEN} forward passes in training without norm_penalty: add norm_penalty(model) to the loss, "
            "or nothing keeps mean and variance",
            SecateurWarning,
            stacklevel=3,
        )

    def wanted_variance(self) -> Tensor | float:
        """s: a number, or one a channel."""
        return self.variance if self.log_variance is None else self.log_variance.exp()

    def constraints(self) -> list[nn.Parameter]:
        """What belongs to the constraints alone: multipliers, and s where it is trained."""
        return [p for p in (self.multipliers, self.log_variance) if p is not None]

    def largest(self) -> float:
        """The largest size of a multiplier."""
        return float(self.multipliers.detach().abs().max())

    def take(self) -> list[Tensor]:
        """The inputs of every forward pass in training since the last call."""
        seen = self._seen[:]
        self._seen.clear()
        self._taken = bool(seen)
        return seen

    def kept(self) -> int:
        """How many inputs the next `take` would give now."""
        return len(self._seen)

    def keep_first(self, count: int) -> None:
        """Forget inputs but the first ones: what activation checkpointing computed again belongs to no new pass."""
        del self._seen[count:]

    def extra_repr(self) -> str:
        """As the layer is printed."""
        s = "trained" if self.log_variance is not None else f"{self.variance:g}"
        return f"{self.channels}, variance={s}, mode={self.mode!r}, rho={self.rho:g}"

    def __getstate__(self) -> dict[str, Any]:
        """Without inputs that belong to a loss under way: they can neither be copied nor saved."""
        return {**self.__dict__, "_seen": []}


class LagrangeNorm1d(LagrangeNorm):
    """For (batch, channels) and (batch, channels, length)."""

    dimensions = (2, 3)


class LagrangeNorm2d(LagrangeNorm):
    """For (batch, channels, height, width)."""

    dimensions = (4,)


class LagrangeNorm3d(LagrangeNorm):
    """For (batch, channels, depth, height, width)."""

    dimensions = (5,)


def _refuse_statistics(_: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Statistics of a batch norm, which evaluation alone would take away; the last argument collects what is wrong."""
    for name, wanted in (("running_mean", 0.0), ("running_var", 1.0)):
        found = state.get(prefix + name)
        if isinstance(found, Tensor) and bool((found != wanted).any()):
            rest[-1].append(
                f"{prefix}{name} is not {wanted:g}: statistics of a batch norm; load them into the model that has "
                "batch norms, then swap_norms_"
            )


def _check(variance: float | str, mode: str, rho: float) -> None:
    if mode not in MODES:
        raise PlanError(f"mode {mode!r} is none of {', '.join(MODES)}")
    if variance != "trained" and not _above_0(variance):
        raise PlanError(f'variance={variance!r}: a number above 0, or "trained"')
    if not _above_0(rho):
        raise PlanError(f"rho={rho!r}: the weight of a penalty is a number above 0")


def _above_0(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 < float(value) < float("inf")
