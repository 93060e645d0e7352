"""The state of fine-tuning that validated best: gone back to where going on from it made the network worse.

A trained network that learns on from the same images, without the augmentation it had, may learn them by heart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

MARGIN = 0.005
"""Half a point of a fraction, half a per cent of other scores. Less is noise, and then the last epoch, at the lowest
rate, is the better guess (ours)."""
UNTUNED = -1
"""The epoch before the first one."""


class BestEpoch:
    """The best state seen so far, copied. Where no score is a number there is none. The larger the score the better."""

    def __init__(self) -> None:
        self.epoch, self.score = UNTUNED, -math.inf
        self._state: dict[str, Tensor] = {}

    def see(self, model: nn.Module, epoch: int, score: float) -> None:
        """Of equal ones the later one is kept."""
        if score >= self.score:
            self.epoch, self.score = epoch, score
            self._state = {name: value.clone() for name, value in model.state_dict().items()}

    def return_(self, model: nn.Module, last: float) -> bool:
        """Put the best state into the model, if it is better than the last one, of this score, by more than MARGIN."""
        worse = self.score - last > MARGIN * max(1.0, abs(self.score))
        if worse:
            model.load_state_dict(self._state)
        return worse

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain data."""
        return {"epoch": self.epoch, "score": self.score, "state": dict(self._state)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.epoch, self.score, self._state = state["epoch"], state["score"], dict(state["state"])
