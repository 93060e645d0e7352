"""How wide the weights of a network that is cut at once should be under a limit on bytes: narrower codes leave room for
more weights. Which mean width serves best depends on the network and on the limit, so it is tried (ours)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from torch import nn

from secateur.errors import TargetError
from secateur.ir.target import Target
from secateur.nn.transform import transforms_of

T = TypeVar("T")


def widths_to_try(model: nn.Module, target: Target) -> tuple[int, ...]:
    """Mean widths of a prepared model's weights, ascending; none where target or plan leave no choice: where bytes are
    not limited, where density, patterns or mean width are given, or where there is one width."""
    transforms = [site.transform for site in transforms_of(model)]
    free = any(each.prunes and not each.prune.is_fixed for each in transforms)
    if target.packed_bytes is None or target.density is not None or target.average_bits is not None or not free:
        return ()
    widths = sorted({bits for each in transforms if each.quantize is not None for bits in each.quantize.widths})
    return tuple(widths) if len(widths) > 1 else ()


def best_width(
    widths: Sequence[int], target: Target, attempt: Callable[[Target], tuple[float, T]]
) -> tuple[T, dict[int, float]]:
    """What the attempt with the least loss gave, and the loss of every width that was tried: downhill from the middle
    one, so that few are.

    attempt  target with a mean width -> (what is lost, what to keep of it); TargetError where it cannot be met
    TargetError where no attempt succeeded.
    """
    lost: dict[int, float] = {}
    best: tuple[float, T] | None = None
    failed = TargetError("no width was tried")

    def at(place: int) -> float:
        nonlocal best, failed
        bits = widths[place]
        if bits not in lost:
            try:
                found = attempt(replace(target, average_bits=bits))
            except TargetError as error:
                lost[bits], failed = float("inf"), error
            else:
                lost[bits] = found[0]
                best = found if best is None or found[0] < best[0] else best
        return lost[bits]

    place, nearest = -1, (len(widths) - 1) // 2
    while nearest != place:
        place = nearest
        around = (place, place + 1, place - 1)  # of two alike the one in hand, else the wider
        nearest = min((near for near in around if 0 <= near < len(widths)), key=at)
    if best is None:
        raise failed
    return best[1], dict(sorted(lost.items()))
