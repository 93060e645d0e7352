"""A pass of the line without training: cut or quantized at once, from the weights alone or with some batches of
training inputs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from torch import nn

from secateur.compression.line import Line, Passed
from secateur.errors import TargetError
from secateur.ir.target import Target
from secateur.nn.copying import copied
from secateur.nn.harden import harden_
from secateur.nn.prepare import prepare_
from secateur.train.calibrate import calibrate_
from secateur.train.one_shot import one_shot_, one_shot_by_file_
from secateur.train.one_shot_result import OneShot, OneShotStep
from secateur.train.record import Fitted
from secateur.train.replay import start_epoch

AT_ONCE, QUANTIZED = "cut at once", "quantized at once"
"""What weights are called in histograms."""


def cut_at_once(line: Line, target: Target, batches: int, seed: int) -> Passed:
    """Cut a prepared copy of the model and pack it, or, under a plan that prunes nothing, quantize it. It takes minutes
    at most, so that an interrupted pass begins anew.

    batches  how many of the training data are looked at, their labels unused; 0: the weights alone decide
    """
    if not target.wishes():
        raise TargetError("cutting at once does not search for a max_drop: name a density, macs or packed_bytes too")
    model = prepare_(copied(line.task.model), line.plan)
    start_epoch(line.task.train, seed, 0)
    seen = list(islice(line.task.train, batches)) if batches else None

    def watch(step: OneShotStep) -> None:
        if line.stop.asked:
            raise KeyboardInterrupt("stopped while cutting at once: nothing was kept, the same command begins anew")
        line.watch(step)

    aim = line.aim(target)
    if line.plan.pruned and seen is not None:
        result = one_shot_(model, aim, batches=seen, watch=watch)
    elif line.plan.pruned:
        result = one_shot_by_file_(model, aim, line.task.example)
    else:
        result = _quantized(line, model, aim, seen, watch)
    line.keep_histograms("state", model, result, AT_ONCE if line.plan.pruned else QUANTIZED)
    return line.passed("state", model, Fitted((), result, line.score_dense, line.score(model)), target)


def _quantized(
    line: Line, model: nn.Module, aim: Target, seen: list[Any] | None, watch: Callable[[OneShotStep], None]
) -> OneShot:
    """Ranges from the batches, the widths the target asks for, and biases that suit them."""
    if line.plan.quantized_maps and not seen:
        raise TargetError("the ranges of feature maps come from data: let it see a batch or more (--batches)")

    def told(done: int, total: int, layer: str) -> None:
        watch(OneShotStep("calibrate", done, total, layer))

    samples = calibrate_(model, seen, told=told).samples if seen else 0
    found = harden_(model, aim, example=line.task.example)
    if seen:
        calibrate_(model, seen, dense=line.task.model, told=told)
    return OneShot(found.factor, found.tensors, "", (), samples, maps=found.maps, bit_operations=found.bit_operations)
