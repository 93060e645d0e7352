"""Self-pruning, alone or together with learned bit widths, on the library's own API: one of the methods compared."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

import secateur as sct
from secateur.nn.refit import refit_
from secateur.nn.transform import transforms_of
from secateur.train.refitting import is_due

MAP_LIMITS = ("largest_map_bytes", "bit_operations")


class SelfPruning:
    """Secateur: every layer's threshold and sharpness learned under one budget over the whole network.

    packed_bytes   the target is a file of so many bytes, and no density
    bits           a width or a list of them to choose from: what stays is quantized, and biases have eight bits. None:
                   float16 values
    rule           the thresholds' rate `threshold_lr`, widths of feature maps `maps` with the limits of a Target on
                   them, and what `Prune` takes
    """

    beside_file: int | None = None

    def __init__(
        self,
        model: nn.Module,
        example: Tensor,
        density: float,
        steps: int,
        *,
        packed_bytes: int | None = None,
        bits: int | list[int] | None = None,
        **rule: Any,
    ) -> None:
        self.model, self.example, self.bits = model, example, bits
        self.threshold_lr = rule.pop("threshold_lr", 1e-2)
        maps = rule.pop("maps", None)
        limits = {name: rule.pop(name) for name in MAP_LIMITS if name in rule}
        self.target = sct.Target(density=density, **limits)
        if packed_bytes is not None:
            self.target = sct.Target(packed_bytes=packed_bytes, values="float16" if bits is None else "int8", **limits)
        rules = {"quantize": bits, "maps": maps}
        chosen = {name: sct.Quantize(widths) for name, widths in rules.items() if widths is not None}
        sct.prepare_(model, sct.plan(model, example, prune=sct.Prune(**rule), **chosen))
        self.budget = self.under_limit(steps)

    def under_limit(self, steps: int, **options: Any) -> sct.Budget:
        """The budget of so many steps that heads for the target."""
        sort = self.bits is not None
        return sct.Budget(self.model, self.target, steps=steps, example=self.example, sort=sort, **options)

    def groups(self) -> list[dict[str, Any]]:
        return sct.param_groups(self.model, threshold_lr=self.threshold_lr)

    def penalty(self) -> Tensor:
        return self.budget()

    def step(self) -> None:
        self.budget.step()

    def harden(self) -> None:
        sct.harden_(self.model, self.target, example=self.example, sort=self.bits is not None)

    def tuned(self, epoch: int, epochs: int) -> None:
        if is_due(epoch, epochs):
            refit_(self.model, self.target, self.example, sort=self.bits is not None)

    def packed(self, example: Tensor) -> sct.Artifact | None:
        if self.bits is None:
            return None
        refit_(self.model, self.target, example, sort=True)
        return sct.pack(self.model, example, values="int8", sort=True)

    def strip(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", sct.SecateurWarning)  # maps are float again: the file is what is judged
            sct.strip_(self.model)

    @torch.no_grad()
    def densities(self) -> dict[str, float]:
        return {s.name: float(s.count()) / s.original.numel() for s in transforms_of(self.model)}

    def state_dict(self) -> dict[str, Any]:
        return self.budget.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.budget.load_state_dict(state)
