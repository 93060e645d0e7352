"""An exponential moving average of a model's weights, which usually validates better than the last step's.

Source: Polyak, Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J. Control Optim. 30 (1992); the
decay grows towards its value over the first steps, so that the start is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import TrainingError


class Average:
    """The average of every floating-point parameter and buffer (norms' statistics too) over the steps it was told of.

    decay  a weight of the average after many steps; after n steps min(decay, (1 + n) / (10 + n))
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._live = [t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()]
        self._mean = [t.detach().clone() for t in self._live]
        self._decay, self._steps = decay, 0

    @torch.no_grad()
    def step(self) -> None:
        """Take the weights of this step in."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for mean, live in zip(self._mean, self._live, strict=True):
            mean.lerp_(live, 1 - decay)

    @torch.no_grad()
    def use_(self) -> None:
        """The model gets the average, for good."""
        for live, mean in zip(self._live, self._mean, strict=True):
            live.copy_(mean)

    @contextmanager
    def used(self) -> Iterator[None]:
        """The model has the average inside, and its own weights again afterwards, bit for bit."""
        own = [t.detach().clone() for t in self._live]
        self.use_()
        try:
            yield
        finally:
            with torch.no_grad():
                for live, kept in zip(self._live, own, strict=True):
                    live.copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on exactly: tensors and plain numbers."""
        return {"mean": [t.clone() for t in self._mean], "steps": self._steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken; TrainingError, with nothing changed, if it is of another model."""
        mean: list[Tensor] = state["mean"]
        if [t.shape for t in mean] != [t.shape for t in self._mean]:
            raise TrainingError("this state is the average of another model: its tensors differ in number or shape")
        for ours, kept in zip(self._mean, mean, strict=True):
            ours.copy_(kept)
        self._steps = int(state["steps"])
