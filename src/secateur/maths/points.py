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
    (4, 2): "2/5 -2/5 5/4 -5/4",
    (5, 2): "0 2/3 -2/3 3/2 -3/2",
    (6, 2): "1/3 -1/3 4/5 -4/5 5/3 -5/3",
    (7, 2): "0 1/2 -1/2 1 -1 2 -2",
    (8, 2): "1/4 -1/4 2/3 -2/3 5/4 -5/4 2 -2",
    (2, 3): "0 1 -1",
    (3, 3): "2/5 -2/5 5/4 -5/4",
    (4, 3): "0 2/3 -2/3 3/2 -3/2",
    (5, 3): "1/4 -1/4 4/5 -4/5 5/3 -5/3",
    (6, 3): "0 1/2 -1/2 1 -1 2 -2",
    (7, 3): "1/4 -1/4 2/3 -2/3 5/4 -5/4 2 -2",
    (8, 3): "0 2/5 -2/5 4/5 -4/5 5/4 -5/4 5/2 -5/2",
    (2, 4): "2/5 -2/5 5/4 -5/4",
    (3, 4): "0 2/3 -2/3 3/2 -3/2",
    (4, 4): "1/4 -1/4 4/5 -4/5 5/3 -5/3",
    (5, 4): "0 1/2 -1/2 1 -1 2 -2",
    (6, 4): "1/4 -1/4 2/3 -2/3 5/4 -5/4 2 -2",
    (7, 4): "0 2/5 -2/5 4/5 -4/5 5/4 -5/4 5/2 -5/2",
    (8, 4): "1/5 -1/5 1/2 -1/2 1 -1 4/3 -4/3 5/2 -5/2",
    (2, 5): "0 2/3 -2/3 3/2 -3/2",
    (3, 5): "1/4 -1/4 4/5 -4/5 5/3 -5/3",
    (4, 5): "0 1/2 -1/2 1 -1 2 -2",
    (5, 5): "1/4 -1/4 2/3 -2/3 5/4 -5/4 2 -2",
    (6, 5): "0 2/5 -2/5 4/5 -4/5 5/4 -5/4 5/2 -5/2",
    (7, 5): "1/5 -1/5 1/2 -1/2 1 -1 4/3 -4/3 5/2 -5/2",
    (8, 5): "0 1/3 -1/3 2/3 -2/3 1 -1 3/2 -3/2 3 -3",
    (2, 6): "1/3 -1/3 4/5 -4/5 5/3 -5/3",
    (3, 6): "0 1/2 -1/2 1 -1 2 -2",
    (4, 6): "1/4 -1/4 2/3 -2/3 5/4 -5/4 2 -2",
    (5, 6): "0 2/5 -2/5 4/5 -4/5 5/4 -5/4 5/2 -5/2",
    (6, 6): "1/5 -1/5 1/2 -1/2 1 -1 4/3 -4/3 5/2 -5/2",
    (7, 6): "0 1/3 -1/3 2/3 -2/3 1 -1 3/2 -3/2 3 -3",
    (2, 7): "0 1/2 -1/2 1 -1 2 -2",
    (3, 7): "1/4 -1/4 2/3 -2/3 5/4 -5/4 2 -2",
    (4, 7): "0 2/5 -2/5 4/5 -4/5 5/4 -5/4 5/2 -5/2",
    (5, 7): "0 2/5 -2/5 3/4 -3/4 1 -1 5/3 -5/3 4",
    (6, 7): "0 1/3 -1/3 2/3 -2/3 1 -1 3/2 -3/2 3 -3",
    (9, 3): "0 2/5 -2/5 3/4 -3/4 1 -1 5/3 -5/3 4",
    (10, 3): "0 1/3 -1/3 2/3 -2/3 1 -1 3/2 -3/2 3 -3",
}
"""(outputs, taps) -> the finite points."""

POINTS_BESIDE: dict[str, dict[tuple[int, int], str]] = {
    "x^2+1": {
        (6, 3): "0 3/4 -3/4 4/3 -4/3",
        (7, 3): "1/3 -1/3 4/5 -4/5 3/2 -3/2",
        (8, 3): "0 3/5 -3/5 1 -1 5/3 -5/3",
        (9, 3): "1/4 -1/4 2/3 -2/3 1 -1 2 -2",
        (10, 3): "0 1/2 -1/2 4/5 -4/5 5/4 -5/4 2 -2",
        (4, 5): "0 3/4 -3/4 4/3 -4/3",
        (5, 5): "1/3 -1/3 4/5 -4/5 5/3 -5/3",
        (6, 5): "0 3/5 -3/5 1 -1 5/3 -5/3",
        (7, 5): "2/7 -2/7 3/4 -3/4 12/11 -12/11 11/6 -11/6",
        (8, 5): "0 1/2 -1/2 4/5 -4/5 5/4 -5/4 2 -2",
        (9, 5): "1/4 -1/4 7/11 -7/11 11/12 -11/12 9/7 -9/7 11/5 -11/5",
        (2, 7): "0 3/4 -3/4 4/3 -4/3",
        (3, 7): "1/3 -1/3 4/5 -4/5 3/2 -3/2",
        (4, 7): "0 3/5 -3/5 1 -1 5/3 -5/3",
        (5, 7): "1/4 -1/4 2/3 -2/3 1 -1 2 -2",
        (6, 7): "0 1/2 -1/2 4/5 -4/5 5/4 -5/4 2 -2",
        (7, 7): "1/5 -1/5 3/5 -3/5 1 -1 4/3 -4/3 5/2 -5/2",
    },
    "x^6-1": {
        (7, 5): "1/3 -1/3 5/3 -5/3",
        (8, 5): "0 3/5 -3/5 5/3 -5/3",
        (9, 5): "1/4 -1/4 3/4 -3/4 2 -2",
        (10, 5): "0 2/5 -2/5 5/4 -5/4 2 -2",
        (5, 7): "1/3 -1/3 5/3 -5/3",
        (6, 7): "0 3/5 -3/5 5/3 -5/3",
        (7, 7): "1/4 -1/4 3/4 -3/4 2 -2",
        (8, 7): "0 2/5 -2/5 5/4 -5/4 5/2 -5/2",
    },
}
"""Modulus -> (outputs, taps) -> the finite points that go with it and infinity, found in the same way; those of REFINED
refined after it."""
REFINED = (("x^2+1", (6, 5)), ("x^2+1", (7, 5)), ("x^2+1", (9, 5)))
"""Entries with the least largest growth of an output instead of the least mean (`point_search.refined`)."""

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


def points_beside(outputs: int, taps: int, beside: str) -> tuple[Fraction, ...]:
    """The finite points for F(outputs, taps) that stand beside a modulus, or alone where `beside` is empty.
    AlgorithmError for sizes without an entry."""
    if not beside:
        return good_points(outputs, taps)
    entry = POINTS_BESIDE.get(beside, {}).get((outputs, taps))
    if entry is None:
        raise AlgorithmError(f"no points are known for F({outputs},{taps}) beside {beside!r}: use points alone")
    return tuple(map(Fraction, entry.split()))


def moduli_beside(outputs: int, taps: int, beside: str) -> list[str]:
    """x - p for these points, `beside`, and infinity. AlgorithmError for sizes without an entry."""
    points = points_beside(outputs, taps, beside)
    return [*(f"x-{p}".replace("--", "+") if p else "x" for p in points), *[beside] * bool(beside), "inf"]
