"""What the benchmark compares: one interface, and the table of all methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

import secateur as sct
from codeq import DeadZone
from fixed_point import FixedPoint
from orders import PruneThenQuantize, QuantizeThenPrune
from pattern_rival import PatternMagnitude
from rivals import DynamicThreshold, GradualMagnitude
from self_pruning import SelfPruning


class Method(Protocol):
    """One way to reach an exact density, or a file of so many bytes. The loop is the same for all: loss + penalty,
    optimizer step, `step`; after the pruning phase `harden`; then the masks stay and what is kept is fine-tuned.

    beside_file  bytes that a decoder needs beside the packed file, which then holds codes alone, and the network as it
                 is, is judged; None: nothing, and what the file holds is judged
    """

    beside_file: int | None

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

    def tuned(self, epoch: int, epochs: int) -> None:
        """After every epoch of fine-tuning: which it was, and of how many."""
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


METHODS: dict[str, Callable[..., Method]] = {
    "self_pruning": SelfPruning,
    "magnitude_masked": lambda *args, **options: GradualMagnitude(*args, dense_gradient=False, **options),
    "magnitude_dense": lambda *args, **options: GradualMagnitude(*args, dense_gradient=True, **options),
    "dst": DynamicThreshold,
    "prune_then_quantize": PruneThenQuantize,
    "quantize_then_prune": QuantizeThenPrune,
    "codeq": DeadZone,
    "pquantml": FixedPoint,
    "balanced": lambda *args, **options: SelfPruning(*args, method="balanced", **options),
    "sr_ste": lambda *args, **options: SelfPruning(*args, method="sr_ste", **options),
    "top_n": PatternMagnitude,
}
"""Name in the results -> method(model, example, density, steps, **options)."""
QUANTIZING = ("prune_then_quantize", "quantize_then_prune", "codeq", "pquantml")
"""Those that always quantize: their limit is packed_bytes, and bits are the widths they may take."""
PATTERNED = ("balanced", "sr_ste", "top_n")
"""Those that leave n of every m weights, options n and m, at the density of that pattern."""
