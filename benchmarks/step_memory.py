"""How much memory a step takes while it runs, as the allocator tells torch.profiler."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch.profiler import ProfilerActivity, profile


def grown_bytes(step: Callable[[], None], *, steps: int = 1) -> int:
    """The most bytes that the last of so many steps held at once beyond what was there before it.

    The profiler does not know the size of what was allocated before it looked: in a first step gradients that the step
    frees and makes again count as new, in a second they do not.
    """
    for _ in range(steps - 1):
        _profiled(step)
    profiled = _profiled(step)
    assert profiled.profiler is not None
    assert profiled.profiler.kineto_results is not None
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda e: e.start_ns())
    return int(np.cumsum([e.nbytes() for e in events]).max())


def _profiled(step: Callable[[], None]) -> profile:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    return profiled
