"""Progress of long work: a bar in a terminal, plain lines now and then anywhere else (a file, a pipe, a CI log)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self, TextIO

EVERY_SECONDS = 5.0
"""At least this long between two plain lines of one phase."""


class Progress(Protocol):
    """A context manager that is told how far each phase has come."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def advance(self, phase: str, done: int, total: int, detail: str = "") -> None:
        """`done` of `total` steps of a phase are over; detail is what else there is to say, one line."""

    def say(self, line: str) -> None:
        """A line that stays."""


def progress_on(stream: TextIO) -> Progress:
    """Bars where the stream is a terminal that can move its cursor, else plain lines."""
    moving = stream.isatty() and os.environ.get("TERM") != "dumb"
    return BarProgress(stream) if moving else LineProgress(stream)


class LineProgress:
    """One line every few seconds, one at the end of each phase."""

    def __init__(
        self, stream: TextIO, *, every_seconds: float = EVERY_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream, self._every, self._clock = stream, every_seconds, clock
        self._phase, self._began, self._spoke = "", 0.0, 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def advance(self, phase: str, done: int, total: int, detail: str = "") -> None:
        """See Progress."""
        now = self._clock()
        if phase != self._phase:
            self._phase, self._began, self._spoke = phase, now, now
        if done < total and now - self._spoke < self._every:
            return
        self._spoke = now
        elapsed = now - self._began
        left = f", about {duration(elapsed * (total - done) / done)} left" if 0 < done < total else ""
        share = f"{100 * done // total} %" if total else "100 %"
        self.say(f"{phase}: {done}/{total} ({share}) in {duration(elapsed)}{left}{f'; {detail}' if detail else ''}")

    def say(self, line: str) -> None:
        """See Progress."""
        print(line, file=self._stream, flush=True)


class BarProgress:
    """One bar a phase, drawn by rich."""

    def __init__(self, stream: TextIO) -> None:
        from rich import progress  # loaded for a terminal only: `show` and `run` start without it
        from rich.console import Console

        self._console = Console(file=stream, highlight=False)
        self._bars = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[detail]}", markup=False),
            console=self._console,
        )
        self._tasks: dict[str, progress.TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def advance(self, phase: str, done: int, total: int, detail: str = "") -> None:
        """See Progress."""
        if phase not in self._tasks:
            self._tasks[phase] = self._bars.add_task(phase, total=total, detail=detail)
        self._bars.update(self._tasks[phase], completed=done, total=total, detail=detail)

    def say(self, line: str) -> None:
        """See Progress."""
        self._console.print(line, markup=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """Minutes and seconds, as a person says them: 7 s, 3 min 20 s."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"
