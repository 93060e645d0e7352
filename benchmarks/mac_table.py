"""Times fewer multiply-accumulates at equal accuracy: two curves of (MACs, accuracy) compared over the accuracies that
both reach, as in Bjontegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33 (2001), with
straight lines in log(MACs) between the points instead of a cubic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

OURS = ("mac_aware relative", "mac_aware sensitivity")
BARS = {"uniform threshold": 1.5, "global magnitude": 1.2}
"""Rival -> how many times fewer MACs are asked for."""
ALIKE = ("network", "steps", "lr")
"""What runs that are compared have in common, beside the seed."""
POINTS = 100


@dataclass(frozen=True)
class Fewer:
    """How many times fewer MACs one curve needs than another, the geometric mean over the accuracies from `low` to
    `high`, which both reach. at_least: there are none, as the first is above the other everywhere."""

    times: float
    low: float
    high: float
    at_least: bool = False


def times_fewer(ours: Sequence[tuple[float, float]], rival: Sequence[tuple[float, float]]) -> Fewer | None:
    """Of two curves of (MACs, accuracy); None where nothing can be said."""
    if not ours or not rival:
        return None
    (x, y), (u, v) = _rising(ours), _rising(rival)
    low, high = max(y[0], v[0]), min(y[-1], v[-1])
    if y[0] > v[-1]:
        return Fewer(float(np.exp(u[-1] - x[0])), float(v[-1]), float(y[0]), at_least=True)
    if not low < high:
        return None
    levels = np.linspace(low, high, POINTS)
    return Fewer(float(np.exp(np.mean(np.interp(levels, v, u) - np.interp(levels, y, x)))), float(low), float(high))


def _rising(curve: Iterable[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """log(MACs) and the best accuracy with so many or fewer, ascending; of equal accuracies the fewest MACs."""
    points = np.array(sorted(curve), float)
    best = np.maximum.accumulate(points[:, 1])
    first = np.append(True, best[1:] > best[:-1])
    return np.log(points[first, 0]), best[first]


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Markdown: by network and retraining, what every way reaches at every share, then the ratios, seed by seed."""
    rows = []
    for name in dict.fromkeys(tuple(line[key] for key in ALIKE) for line in lines):
        alike = [line for line in lines if tuple(line[key] for key in ALIKE) == name]
        rows += [f"**{', '.join(f'{key} {value}' for key, value in zip(ALIKE, name, strict=True))}**", ""]
        rows += [*_accuracies(alike), "", *_ratios(alike), ""]
    return "\n".join(rows)


def _accuracies(alike: Sequence[dict[str, Any]]) -> list[str]:
    shares = sorted({line["share"] for line in alike}, reverse=True)
    rows = [
        "| way | " + " | ".join(f"{share:.3g} of the MACs" for share in shares) + " |",
        "|---" * (1 + len(shares)) + "|",
    ]
    for way in dict.fromkeys(line["way"] for line in alike):
        cells = []
        for share in shares:
            found = [line for line in alike if line["way"] == way and line["share"] == share]
            both = (
                [f"{np.mean([r[key] for r in found]):.2%}" for key in ("accuracy_at_once", "accuracy")] if found else []
            )
            cells.append(f"{both[0]} then {both[1]} ({len(found)})" if found else "-")
        rows.append(f"| {way} | {' | '.join(cells)} |")
    return rows


def _ratios(alike: Sequence[dict[str, Any]]) -> list[str]:
    rows = []
    for way in OURS:
        for rival, bar in BARS.items():
            told = [_told(alike, way, rival, seed) for seed in sorted({line["seed"] for line in alike})]
            rows.append(f"- {way} against {rival} (asked: {bar}): {'; '.join(told)}")
    return rows


def _told(alike: Sequence[dict[str, Any]], way: str, rival: str, seed: int) -> str:
    curves = [
        [(line["macs"], line["accuracy"]) for line in alike if line["way"] == name and line["seed"] == seed]
        for name in (way, rival)
    ]
    found = times_fewer(*curves)
    if found is None:
        return f"seed {seed} no common accuracy"
    least = "at least " if found.at_least else ""
    return f"seed {seed} {least}{found.times:.2f} times fewer from {found.low:.2%} to {found.high:.2%}"
