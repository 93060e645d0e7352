"""Shapes that the tests of fused operators share: of a weight, and of its thresholds or ranges, one or one a row."""

SHAPES = [
    ((7, 5), (1, 1)),
    ((7, 5), (7, 1)),
    ((3, 2, 3, 3), (3, 1, 1, 1)),
    ((1,), (1,)),
    ((4, 0), (1, 1)),
    ((4, 0), (4, 1)),
]
LARGE = [((300, 700), (1, 1)), ((300, 700), (300, 1)), ((3, 70_000), (3, 1)), ((1, 65_537), (1, 1))]
"""Of several cache-sized pieces."""
