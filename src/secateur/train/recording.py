"""What fit notes after an epoch: densities, thresholds, costs, widths, and how well constraints of norms hold."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from secateur.nn.learned_width import LearnedWidth
from secateur.nn.map_sites import maps_of
from secateur.nn.norms.distance import watched_norms
from secateur.nn.norms.penalty import lagrange_norms
from secateur.nn.patterns import group_counts
from secateur.nn.transform import Transformed, transforms_of
from secateur.train.budget import Budget
from secateur.train.loop_state import LoopState
from secateur.train.record import Record
from secateur.train.task import score


@torch.no_grad()
def recorded(run: LoopState, budget: Budget | None) -> Record:
    """The state of a run after an epoch, the validation score taken now."""
    sites, maps = transforms_of(run.task.model), maps_of(run.task.model)
    held = lagrange_norms(run.task.model)
    pruned = [site for site in sites if site.transform.prunes]
    quantized = [(site.name, site.transform.quantize) for site in sites]
    costs = {name: float(cost) for name, cost in budget.costs().items()} if budget else {}
    references = budget.references() if budget else {}
    with watched_norms(run.task.model) as norms:
        found = score(run.task)
    return Record(
        run.phase,
        run.epoch,
        run.terms["task"],
        found,
        density={site.name: float(site.count()) / site.original.numel() for site in pruned},
        thresholds={site.name: site.transform.prune.threshold(site.original) for site in pruned},
        multipliers=dict(budget.multipliers) if budget else {},
        costs={name: (cost, references[name]) for name, cost in costs.items()},
        terms=dict(run.terms),
        bits={name: float(stage.expected_bits()) for name, stage in quantized if stage is not None},
        map_bits={site.name: float(site.quantizer.expected_bits()) for site in maps},
        shares=_shares([*quantized, *((site.name, site.quantizer) for site in maps)]),
        rounding=budget.rounding() if budget else {},
        norms={name: (*norms[name].worst, layer.largest()) for name, layer in held.items() if name in norms},
        balance={site.name: _balance(site) for site in pruned if site.transform.prune.patterns},
    )


def _balance(site: Transformed) -> float:
    stage = site.transform.prune
    mask = stage.keeps(site.original) if stage.mask is None else stage.mask
    return group_counts(site, mask, mask).balance


def _shares(quantized: Sequence[tuple[str, LearnedWidth | None]]) -> dict[str, dict[str, float]]:
    """Where widths learn, the probability of every one."""
    learning = ((name, stage) for name, stage in quantized if stage is not None and stage.learning is not None)
    return {
        name: dict(zip(map(str, stage.widths), stage.shares().tolist(), strict=True))
        for name, stage in learning
        if stage.theta is not None
    }
