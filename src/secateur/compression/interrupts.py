"""Ctrl-C while a run trains: once stops after the step and keeps everything, twice stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

STEP = "stopping after this step and keeping the state; once more stops at once"
NO_STEP = (
    "no step is left to stop after: what was trained is packed and judged, and no other training begins; once more "
    "stops at once"
)
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Stop:
    """Whether somebody asked the run to stop. training: whether there are steps that can be stopped after."""

    asked: bool = False
    training: bool = True


@contextmanager
def stopping(say: Callable[[str], None]) -> Iterator[Stop]:
    """While inside, the first SIGINT or SIGTERM sets `asked`, the second raises KeyboardInterrupt.

    Only the main thread of a program can have handlers: in another one signals stay what they are.
    """
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        if stop.asked:
            raise KeyboardInterrupt("stopped at once; the state that was kept last is whole, the same command goes on")
        stop.asked = True
        say(STEP if stop.training else NO_STEP)

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
