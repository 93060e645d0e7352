"""Which weights stay: of all scores the largest that a target allows, of tensors with a pattern those it allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from secateur.errors import TargetError
from secateur.ir.target import Target
from secateur.nn.exporting import Example
from secateur.nn.map_sites import float_maps_of
from secateur.nn.map_widths import refuse_large_floats
from secateur.nn.measure import packed_bytes
from secateur.nn.packing import Packing
from secateur.nn.patterns import Patterns, refuse_other_density
from secateur.nn.structure import structured
from secateur.nn.transform import Transformed
from secateur.nn.widths import Widths

SHARE = 250
"""Files are packed to find how many weights fit: to one 250th of them."""


@dataclass(frozen=True)
class MaskOptions:
    """How masks are chosen. structure, example, sort: as in `harden_`; widths: of what is quantized, narrowed where a
    target asks for it; energies: of the weights, site by site, which decide between patterns (None: squares of the
    scores)."""

    structure: float = 0.0
    example: Example | None = None
    widths: Widths = field(default_factory=lambda: Widths(()))
    energies: list[Tensor] | None = None
    sort: bool = False


PLAIN = MaskOptions()


def masks_by_score(
    model: nn.Module,
    sites: tuple[Transformed, ...],
    scores: list[Tensor],
    target: Target | None,
    options: MaskOptions = PLAIN,
) -> tuple[list[Tensor], float]:
    """The mask of every pruned site that keeps the largest scores of all and meets the target, and the smallest score
    that stays (1 where there is no such site); where a site has patterns, the largest scores of every group. Without a
    target every score above 1 stays."""
    choice = _Choice(sites, scores, options)
    keep = int((choice.flat > 1).sum())
    if target is not None:
        target.refuse_without_size()
        refuse_other_density(sites, target)
        keep = _Wish(model, choice, target, options).keep(keep)
    factor = float(choice.flat[choice.order[keep - 1]]) if keep else math.inf
    masks = choice.named(keep)
    return [masks[site.name] for site in sites], factor if choice.sites else 1.0


def by_name(sites: Iterable[Transformed], masks: list[Tensor]) -> dict[str, Tensor]:
    return dict(zip((site.name for site in sites), masks, strict=True))


class _Choice:
    """Which weights stay, given how many of those without a pattern."""

    def __init__(self, sites: tuple[Transformed, ...], scores: list[Tensor], options: MaskOptions) -> None:
        energies = [score.square() for score in scores] if options.energies is None else options.energies
        rows = list(zip(sites, scores, energies, strict=True))
        free = [row for row in rows if not row[0].transform.prune.patterns]
        self.patterns = Patterns(*_columns([row for row in rows if row[0].transform.prune.patterns]))
        self.sites, self.scores, _ = _columns(free)
        self.all_sites, self.structure = sites, options.structure
        self.flat = torch.cat([score.flatten() for score in self.scores]) if self.scores else torch.zeros(0)
        self.order = self.flat.sort(descending=True, stable=True).indices

    def named(self, keep: int) -> dict[str, Tensor]:
        """By name of the site the masks of all, `keep` weights altogether in those without a pattern."""
        masks = _split(_top(self.order, keep), self.sites)
        if self.structure:
            pairs = zip(self.scores, masks, strict=True)
            masks = [structured(score, int(mask.sum()), self.structure) for score, mask in pairs]
        return {**self.patterns.masks, **by_name(self.sites, masks)}


def _columns(
    rows: list[tuple[Transformed, Tensor, Tensor]],
) -> tuple[tuple[Transformed, ...], list[Tensor], list[Tensor]]:
    return tuple(row[0] for row in rows), [row[1] for row in rows], [row[2] for row in rows]


def _top(order: Tensor, keep: int) -> Tensor:
    mask = torch.zeros(len(order), dtype=torch.bool, device=order.device)
    mask[order[:keep]] = True
    return mask


def _split(mask: Tensor, sites: tuple[Transformed, ...]) -> list[Tensor]:
    parts = mask.split([site.original.numel() for site in sites])
    return [part.reshape(site.original.shape).to(site.original.device) for part, site in zip(parts, sites, strict=True)]


class _Wish:
    """How many weights may stay under a target; widths become narrower where nothing else helps. Sizes are measured
    where there is an example, else estimated."""

    def __init__(self, model: nn.Module, choice: _Choice, target: Target, options: MaskOptions) -> None:
        self._model, self._choice, self._target, self._widths = model, choice, target, options.widths
        self._packing: Packing | None = None
        if options.example is not None and target.limits_size:
            self._packing = Packing(model, options.example, target.values, sort=options.sort)

    def keep(self, learned: int) -> int:
        """The number of weights that stay. learned: how many stay by their own thresholds."""
        density, total, patterns = self._target.density, len(self._choice.flat), self._choice.patterns
        if self._target.bit_operations is not None and not self._widths.are_operations_known:
            raise TargetError(
                "bit operations are counted of the tensors that a plan changes, and this plan changes none whose "
                "multiply-accumulates are known: plan with quantize= or prune= as well"
            )
        if density is not None and not self._choice.all_sites:
            raise TargetError("a density is of the weights in pruned tensors, and this plan prunes none")
        if patterns.choose:
            self._widths.begin(self._choice.named(learned))
            patterns.fit(lambda: self._too_dense() or self._excess(learned), self._target)
        if density is not None:
            learned = self._left_by(density)
        masks = self._choice.named(learned or total)  # no range fits no weights
        self._widths.begin(masks)
        if self._target.largest_map_bytes is not None:
            refuse_large_floats(float_maps_of(self._model), self._target.largest_map_bytes)
            self._widths.maps.fit(self._target.largest_map_bytes)
        self._average(masks)
        while self._operations(masks) and self._widths.narrow_operations(masks):
            pass
        if density is not None:
            if problem := self._narrowed(learned):
                raise TargetError(f"density {density} leaves {problem}: allow more, or leave the density to the limit")
            self._widened(learned)
            return learned
        if problem := self._narrowed(0):
            if patterns.sites:
                raise TargetError(
                    f"with the fewest weights that this plan's patterns allow this model has {problem}: let them keep "
                    "fewer of every m, or give them several n to choose from"
                )
            if not self._choice.sites:
                raise TargetError(
                    f"in the narrowest widths of this plan's rules this model has {problem}: allow narrower ones, or "
                    "prune"
                )
            raise TargetError(
                f"even with every pruned weight gone this model has {problem}: the rest of it must shrink"
            )
        if not self._choice.sites:
            self._widened(0)
        return self._most(total)

    def _most(self, total: int) -> int:
        """The largest number of weights that holds, in widths and ranges that suit those."""
        most = total
        while True:
            keep = 0 if self._estimated(0) else _between(self._estimated, 0, most + 1)
            keep = _around(self._excess, keep, most) if self._packing else keep
            masks = self._choice.named(keep)
            self._widths.begin(masks)
            if self._average(masks):
                most = total  # narrower ones leave room for more weights
            elif not keep or not self._excess(keep):
                return keep
            else:
                most = keep - 1  # the ranges of fewer weights can take more bytes

    def _too_dense(self) -> str:
        """What is dense beyond the target's density, of the tensors with patterns alone."""
        density, patterns = self._target.density, self._choice.patterns
        if density is not None and patterns.kept > max(1, round(density * patterns.size)):
            return f"density {patterns.kept / patterns.size:.4g}, the limit is {density:g}"
        return ""

    def _left_by(self, density: float) -> int:
        """Weights that a density leaves to the tensors without a pattern."""
        free, patterns = len(self._choice.flat), self._choice.patterns
        if not patterns.sites:
            return max(1, round(density * free))
        if patterns.choose and not self._choice.sites and (problem := self._too_dense()):
            raise TargetError(f"the fewest weights that this plan's patterns allow leave {problem}")
        left = round(density * (free + patterns.size)) - patterns.kept
        if self._choice.sites and not 0 < left <= free:
            raise TargetError(
                f"density {density:g} leaves {left:,} weights to the {free:,} of tensors without a pattern, as those "
                f"with one keep {patterns.kept:,} of {patterns.size:,}: ask for another density, or other patterns"
            )
        return left if self._choice.sites else 0

    def _average(self, masks: dict[str, Tensor]) -> bool:
        """Narrower widths until their mean is within its limit; whether that took any."""
        limit = self._target.average_bits
        if limit is None:
            return False
        narrowed = False
        if not self._widths.bits:
            raise TargetError("average_bits is of the weights in quantized tensors, and this plan quantizes none")
        while self._too_wide(masks):
            if not self._widths.narrow(masks):
                average = self._widths.average(masks)
                raise TargetError(
                    f"{average:.4g} bits a weight is the least that this plan's widths allow, the limit is {limit:g}"
                )
            narrowed = True
        return narrowed

    def _too_wide(self, masks: dict[str, Tensor]) -> bool:
        limit = self._target.average_bits
        return limit is not None and self._widths.average(masks) > limit

    def _narrowed(self, keep: int) -> str:
        """What exceeds the target with so many weights, whatever the widths."""
        masks = self._choice.named(keep)
        while (problem := self._excess(keep)) and self._target.packed_bytes is not None:
            if not self._widths.narrow(masks):
                break
        return problem

    def _widened(self, keep: int) -> None:
        """Widths as wide as the target lets them be where so many weights stay."""
        masks = self._choice.named(keep)
        self._widths.widen(lambda: not self._too_wide(masks) and not self._excess(keep))

    def _operations(self, masks: dict[str, Tensor]) -> str:
        limit = self._target.bit_operations
        if limit is not None and (found := self._widths.operations(masks)) > limit:
            return f"{found:,} bit operations, the limit is {limit:,}"
        return ""

    def _excess(self, keep: int) -> str:
        if self._packing is None:
            return self._estimated(keep)
        masks = self._choice.named(keep)
        return self._operations(masks) or self._packing.excess(masks, self._target, self._widths.bits)

    def _estimated(self, keep: int) -> str:
        masks, target = self._choice.named(keep), self._target
        if problem := self._operations(masks):
            return problem
        if target.macs is not None:
            macs = sum(site.transform.row.reuse * int(masks[site.name].sum()) for site in self._choice.all_sites)
            if macs > target.macs:
                return f"{macs:,} macs, the limit is {target.macs:,}"
        if target.packed_bytes is not None:
            size = packed_bytes(self._model, masks, target.values, self._widths.bits)
            if size > target.packed_bytes:
                return (
                    f"{size:,} packed bytes by an estimate (with an example or batches the file is measured), the "
                    f"limit is {target.packed_bytes:,}"
                )
        return ""


def _between(excess: Callable[[int], str], low: int, high: int, share: int = 0) -> int:
    """Bisection: the largest count from low, which holds, to below high, which does not; to 1/share of it, if any."""
    while high - low > max(1, low // share if share else 1):
        middle = (low + high) // 2
        low, high = (low, middle) if excess(middle) else (middle, high)
    return low


def _around(excess: Callable[[int], str], guess: int, total: int) -> int:
    """The same, with few questions, from a guess: up in growing steps, or down. Where a weight more makes the file
    smaller (another unit dies), any count that holds may be found."""
    if excess(guess):
        return _between(excess, 0, guess, SHARE)
    low, step = guess, max(1, guess // 16)
    while low < total:
        high = min(total, low + step)
        if excess(high):
            return _between(excess, low, high, SHARE)
        low, step = high, 2 * step
    return total
