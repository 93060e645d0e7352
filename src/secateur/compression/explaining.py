"""Where what a run lost on validation data was lost, in words."""

from __future__ import annotations

import math

from secateur.compression.line import Line, Passed
from secateur.train.one_shot_result import OneShot
from secateur.train.record import Record

POINT = 0.01
"""A loss beyond this is explained even where no max_drop was asked for: a point of a fraction, 1 % of other scores."""


def why(line: Line, passed: Passed, drop: float) -> list[str]:
    """Where a loss of more than a point comes from."""
    if math.isnan(drop):
        return [f"what this costs was not measured: {line.unscored or 'the metric gave NaN'}"]
    if drop <= POINT * max(1.0, abs(line.score_dense)):
        return []
    if isinstance(passed.fitted.hardening, OneShot):
        return [f"lost {drop:.4g} on validation (dense {line.score_dense:.6g}, file {passed.score:.6g}), more than one "
                "point: nothing was trained; training keeps more, and so does a looser target"]  # fmt: skip
    soft, hard = line.drop(passed.fitted.score_soft), line.drop(passed.fitted.score_hard)
    learned = any(record.phase == "prune" for record in passed.fitted.history)
    when = f"{soft:.4g} before hardening, {hard:.4g} right after it" if learned else f"{hard:.4g} right after the cut"
    told = [
        f"lost {drop:.4g} on validation (dense {line.score_dense:.6g}, file {passed.score:.6g}), more than one point: "
        f"{when}, {drop:.4g} after fine-tuning"
    ]
    if heart := _by_heart(line, passed.fitted.history, drop):
        told.append(heart)
    elif _gaining(line, passed.fitted.history, drop):
        told.append("fine-tuning was still gaining when it ended: more of its epochs may help")
    elif not learned:
        told.append(
            "no thresholds were learned, and fine-tuning gained no more: ask for less, or let self-pruning learn what "
            "goes"
        )
    elif soft > drop / 2:
        told.append(
            "the loss was there before hardening: this many weights may be too few for this network and data, or the "
            "epochs of self-pruning too few; ask for a larger density, or a max_drop to find the sparsest within it"
        )
    return told


def _by_heart(line: Line, history: tuple[Record, ...], drop: float) -> str:
    """Where half of the loss or more came while the training data was still learned better and better; else ""."""
    best = min(history, key=lambda record: line.drop(record.score), default=None)
    if best is None or history[-1].loss >= best.loss:
        return ""
    if line.drop(history[-1].score) - line.drop(best.score) < drop / 2:
        return ""
    return (
        f"the training data was learned by heart: from epoch {best.epoch + 1} of {best.phase} on its loss fell from "
        f"{best.loss:.3g} to {history[-1].loss:.3g}, and the score with it, from {best.score:.6g} to "
        f"{history[-1].score:.6g}. Let the loader augment as it did for the dense model, distill that (distill=), "
        "or train fewer epochs"
    )


def went_back(passed: Passed) -> list[str]:
    """Where fine-tuning made the network worse in the end."""
    epoch = passed.fitted.kept_epoch
    if epoch is None:
        return []
    tuned = [record.score for record in passed.fitted.history if record.phase == "finetune"]
    kept, when = (tuned[epoch], f"after epoch {epoch + 1}") if epoch >= 0 else (passed.fitted.score_hard, "before it")
    return [
        f"fine-tuning ended worse on validation ({tuned[-1]:.6g}) than the network was {when} ({kept:.6g}): that one "
        "is in the file"
    ]


def _gaining(line: Line, history: tuple[Record, ...], drop: float) -> bool:
    scores = [line.drop(record.score) for record in history if record.phase == "finetune"]
    half = len(scores) // 2
    return half > 0 and sum(scores[:half]) / half - sum(scores[half:]) / (len(scores) - half) > 0.25 * drop
