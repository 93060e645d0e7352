"""Where `fit` keeps its state during a run: in the run's folder, after every epoch and every so many seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from secateur.compression.checkpoint import Checkpoints
from secateur.compression.interrupts import Stop


class FolderKeeper:
    """A Keeper for `fit`.

    every_seconds  between two states inside an epoch, at least
    instead        what to tell somebody who stopped the run
    """

    def __init__(
        self,
        states: Checkpoints,
        stop: Stop,
        *,
        every_seconds: float,
        instead: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._states, self._stop, self._instead = states, stop, instead
        self._every, self._clock, self._last = every_seconds, clock, clock()

    def load(self) -> Mapping[str, Any] | None:
        """See Keeper."""
        return self._states.load()

    def save(self, state: Mapping[str, Any]) -> None:
        """See Keeper; stops afterwards where that was asked for."""
        self._states.save(state)
        self._last = self._clock()
        if self._stop.asked:
            raise KeyboardInterrupt(f"stopped in {state['phase']}, epoch {state['epoch']}: {self._instead}")

    def step_done(self, state: Callable[[], Mapping[str, Any]]) -> None:
        """See Keeper."""
        if self._stop.asked or self._clock() - self._last >= self._every:
            self.save(state())
