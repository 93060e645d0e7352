"""compression.keeping: after so many seconds, at once when a stop is asked for, never in between."""

import pytest

from secateur.compression.checkpoint import Checkpoints
from secateur.compression.interrupts import Stop
from secateur.compression.keeping import FolderKeeper


def test_it_keeps_when_it_is_time_and_stops_when_asked(tmp_path):
    now, stop = [0.0], Stop()
    states = Checkpoints(tmp_path, "state")
    keeper = FolderKeeper(states, stop, every_seconds=10, instead="do this", clock=lambda: now[0])
    made = []

    def state():
        made.append(now[0])
        return {"phase": "prune", "epoch": 3, "at": now[0]}

    for second in range(25):
        now[0] = float(second)
        keeper.step_done(state)
    assert made == [10.0, 20.0]
    assert keeper.load()["at"] == 20
    stop.asked = True
    with pytest.raises(KeyboardInterrupt, match="stopped in prune, epoch 3: do this"):
        keeper.step_done(state)
    assert keeper.load()["at"] == 24
