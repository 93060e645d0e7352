"""What the benchmark compares: one interface, self-pruning on the library's own API, and the table of all methods."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

import secateur as sct
from rivals import DynamicThreshold, GradualMagnitude
from secateur.nn.transform import transforms_of
from secateur.nn.trim import trim_

MAP_LIMITS = ("largest_map_bytes", "bit_operations")


class Method(Protocol):
    """One way to reach an exact density. The loop is the same for all: loss + penalty, optimizer step, `step`; after
    the pruning phase `harden`; then the masks stay and what is kept is fine-tuned."""

    def groups(self) -> list[dict[str, Any]]:
        """Optimizer groups; the rate of a group called "thresholds" stays constant."""
        ...

    def penalty(self) -> Tensor:
        """Added to the loss in the pruning phase."""
        ...

    def step(self) -> None:
        """After every optimizer step of the pruning phase."""
        ...

    def harden(self) -> None:
        """From soft to exact; afterwards the density is met to the weight."""
        ...

    def packed(self, example: Tensor) -> sct.Artifact | None:
        """The hardened model as a file, where it is more than the plain model's weights: quantized. Else None."""
        ...

    def strip(self) -> None:
        """Leave a plain model with zeros in its weights."""
        ...

    def densities(self) -> dict[str, float]:
        """Fraction kept, layer by layer."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What the model's own state does not hold."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; the model's state is loaded first."""
        ...


class SelfPruning:
    """Secateur: every layer's threshold and sharpness learned under one budget over the whole network.

    packed_bytes   the target is a file of so many bytes, and no density
    bits           a width or a list of them to choose from: what stays is quantized, and biases have eight bits. None:
                   float16 values
    rule           the thresholds' rate `threshold_lr`, widths of feature maps `maps` with the limits of a Target on
                   them, and what `Prune` takes
    """

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
        self.budget = sct.Budget(model, self.target, steps=steps)

    def groups(self) -> list[dict[str, Any]]:
        return sct.param_groups(self.model, threshold_lr=self.threshold_lr)

    def penalty(self) -> Tensor:
        return self.budget()

    def step(self) -> None:
        self.budget.step()

    def harden(self) -> None:
        sct.harden_(self.model, self.target, example=self.example)

    def packed(self, example: Tensor) -> sct.Artifact | None:
        if self.bits is None:
            return None
        artifact = sct.pack(self.model, example, values="int8", sort=True)
        limit = self.target.packed_bytes
        if limit is None or len(artifact.to_bytes()) <= limit:
            return artifact
        trim_(self.model, self.target, example)  # fine-tuning moves codes, and with them the file's size
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


METHODS: dict[str, Callable[..., Method]] = {
    "self_pruning": SelfPruning,
    "magnitude_masked": lambda *args, **options: GradualMagnitude(*args, dense_gradient=False, **options),
    "magnitude_dense": lambda *args, **options: GradualMagnitude(*args, dense_gradient=True, **options),
    "dst": DynamicThreshold,
}
"""Name in the results -> method(model, example, density, steps, **options)."""
