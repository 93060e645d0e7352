"""A pass of the line without training: cut at once, from the weights alone or with some batches of training inputs."""

from __future__ import annotations

import copy
from itertools import islice

from secateur.compression.line import Line, Passed
from secateur.errors import TargetError
from secateur.ir.target import Target
from secateur.nn.prepare import prepare_
from secateur.train.one_shot import OneShotStep, one_shot_
from secateur.train.record import Fitted
from secateur.train.replay import start_epoch

AT_ONCE = "cut at once"


def cut_at_once(line: Line, target: Target, batches: int, seed: int) -> Passed:
    """Cut a prepared copy of the model and pack it. batches: how many of the training data are looked at, their labels
    unused; 0: the weights alone decide. It takes minutes at most, so that an interrupted pass begins anew."""
    if not target.wishes():
        raise TargetError("cutting at once does not search for a max_drop: name a density, macs or packed_bytes too")
    if target.max_drop is not None:
        line.refuse_unscored()
    model = prepare_(copy.deepcopy(line.task.model), line.plan)
    start_epoch(line.task.train, seed, 0)
    seen = list(islice(line.task.train, batches)) if batches else None

    def watch(step: OneShotStep) -> None:
        if line.stop.asked:
            raise KeyboardInterrupt("stopped while cutting at once: nothing was kept, the same command begins anew")
        line.watch(step)

    result = one_shot_(model, line.aim(target, fine_tuned=False), batches=seen, watch=watch)
    line.keep_histograms("state", model, result, AT_ONCE)
    return line.passed("state", model, Fitted((), result, line.score_dense, line.score(model)), target)
