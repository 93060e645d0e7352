"""Points with little float error, found once by `point_search.search(outputs, taps)`; infinity is implied.

How: all symmetric sets of fractions with numerators and denominators up to 5, exhaustively, for the least growth of
independent errors. Tests repeat the search for the short ones and compare the long ones with the points in use.
"""

from __future__ import annotations

from fractions import Fraction

from secateur.errors import AlgorithmError

POINTS: dict[tuple[int, int], str] = {
    (2, 2): "0 1",
    (3, 2): "0 1 -1",
    (4, 2): "0 3/4 -3/4 2",
    (5, 2): "0 2/3 -2/3 3/2 -3/2",
    (6, 2): "0 3/5 -3/5 1 -1 3",
    (7, 2): "0 1/2 -1/2 1 -1 2 -2",
    (8, 2): "0 1/2 -1/2 4/5 -4/5 4/3 -4/3 3",
    (2, 3): "0 1 -1",
    (3, 3): "0 3/4 -3/4 2",
    (4, 3): "0 2/3 -2/3 3/2 -3/2",
    (5, 3): "0 1/2 -1/2 1 -1 3",
    (6, 3): "0 1/2 -1/2 1 -1 2 -2",
    (7, 3): "0 2/5 -2/5 4/5 -4/5 4/3 -4/3 3",
    (8, 3): "0 2/5 -2/5 4/5 -4/5 5/4 -5/4 5/2 -5/2",
    (2, 4): "0 3/4 -3/4 2",
    (3, 4): "0 2/3 -2/3 3/2 -3/2",
    (4, 4): "0 1/2 -1/2 1 -1 3",
    (5, 4): "0 1/2 -1/2 1 -1 2 -2",
    (6, 4): "0 2/5 -2/5 4/5 -4/5 4/3 -4/3 4",
    (7, 4): "0 2/5 -2/5 4/5 -4/5 5/4 -5/4 5/2 -5/2",
    (8, 4): "0 2/5 -2/5 3/4 -3/4 1 -1 5/3 -5/3 4",
    (2, 5): "0 2/3 -2/3 3/2 -3/2",
    (3, 5): "0 1/2 -1/2 1 -1 3",
    (4, 5): "0 1/2 -1/2 1 -1 2 -2",
    (5, 5): "0 2/5 -2/5 4/5 -4/5 4/3 -4/3 4",
    (6, 5): "0 2/5 -2/5 4/5 -4/5 5/4 -5/4 5/2 -5/2",
    (7, 5): "0 2/5 -2/5 3/4 -3/4 1 -1 5/3 -5/3 4",
    (8, 5): "0 1/3 -1/3 2/3 -2/3 1 -1 3/2 -3/2 3 -3",
    (2, 6): "0 3/5 -3/5 1 -1 3",
    (3, 6): "0 1/2 -1/2 1 -1 2 -2",
    (4, 6): "0 2/5 -2/5 4/5 -4/5 4/3 -4/3 4",
    (5, 6): "0 2/5 -2/5 4/5 -4/5 5/4 -5/4 5/2 -5/2",
    (6, 6): "0 2/5 -2/5 3/4 -3/4 1 -1 5/3 -5/3 4",
    (7, 6): "0 1/3 -1/3 2/3 -2/3 1 -1 3/2 -3/2 3 -3",
    (2, 7): "0 1/2 -1/2 1 -1 2 -2",
    (3, 7): "0 2/5 -2/5 4/5 -4/5 4/3 -4/3 3",
    (4, 7): "0 2/5 -2/5 4/5 -4/5 5/4 -5/4 5/2 -5/2",
    (5, 7): "0 2/5 -2/5 3/4 -3/4 1 -1 5/3 -5/3 4",
    (6, 7): "0 1/3 -1/3 2/3 -2/3 1 -1 3/2 -3/2 3 -3",
    (9, 3): "0 2/5 -2/5 3/4 -3/4 1 -1 5/3 -5/3 4",
    (10, 3): "0 1/3 -1/3 2/3 -2/3 1 -1 3/2 -3/2 3 -3",
}
"""(outputs, taps) -> the finite points."""

POINTS_BESIDE_I: dict[tuple[int, int], str] = {
    (4, 5): "0 3/4 -3/4 4/3 -4/3",
    (5, 5): "0 3/5 -3/5 1 -1 5/2",
    (6, 5): "0 1/2 -1/2 1 -1 5/3 -5/3",
    (7, 5): "0 1/2 -1/2 4/5 -4/5 4/3 -4/3 3",
    (8, 5): "0 1/2 -1/2 4/5 -4/5 5/4 -5/4 2 -2",
    (2, 7): "0 3/4 -3/4 4/3 -4/3",
    (3, 7): "0 3/5 -3/5 1 -1 5/2",
    (4, 7): "0 3/5 -3/5 1 -1 5/3 -5/3",
    (5, 7): "0 1/2 -1/2 4/5 -4/5 4/3 -4/3 3",
    (6, 7): "0 1/2 -1/2 4/5 -4/5 5/4 -5/4 2 -2",
}
"""(outputs, taps) -> the finite points that go with x^2 + 1 (the points +-i) and infinity, found in the same way."""

LONGEST = max(m + r - 1 for m, r in POINTS)
"""The longest tile for which points are known."""


def good_points(outputs: int, taps: int) -> tuple[Fraction, ...]:
    """The finite points for F(outputs, taps): its own entry, else one of a tile as long, whose growth is close.

    AlgorithmError beyond `LONGEST` inputs.
    """
    inputs = outputs + taps - 1
    if inputs <= 2:
        return (Fraction(0),) * (inputs - 1)
    entry = POINTS.get((outputs, taps)) or next((p for (m, r), p in POINTS.items() if m + r - 1 == inputs), None)
    if entry is None:
        raise AlgorithmError(
            f"F({outputs},{taps}) has tiles of {inputs} inputs and no points are known beyond {LONGEST}: "
            "ask for fewer outputs, or name points or moduli"
        )
    return tuple(map(Fraction, entry.split()))


def moduli_beside_i(outputs: int, taps: int) -> list[str]:
    """x^2 + 1, x - p for its points, and infinity, for F(outputs, taps). AlgorithmError for sizes without an entry."""
    entry = POINTS_BESIDE_I.get((outputs, taps))
    if entry is None:
        raise AlgorithmError(f"no points are known for F({outputs},{taps}) over x^2+1: leave x^2+1 out")
    return [*(f"x-{p}".replace("--", "+") if p != "0" else "x" for p in entry.split()), "x^2+1", "inf"]
