"""The best values of the weights that stay, for given inputs and wanted outputs: least squares on a fixed support.

A layer y = w x has inputs x and should give the outputs t of the dense layer. With H = sum x x^T and R = sum t x^T over
the samples, the weights of one output under the mask m minimise

    w H w^T - 2 R w^T + ridge |w - start|^2    over w with w = 0 outside m

The idea of repairing kept weights layer by layer is that of Hassibi and Stork (optimal brain surgeon, 1993), Frantar
and Alistarh (optimal brain compression, arXiv 2208.11580; SparseGPT, arXiv 2301.00774). Solving it by conjugate
gradients on the masked rows, from the weights as they are and with the ridge towards them, is ours: every step lowers
the objective, so the error at the end is never larger than at the start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

TOLERANCE = 1e-7
"""A row is solved when its preconditioned residual fell by this factor."""
STEPS = 100
"""At most so many steps of conjugate gradients; in exact arithmetic as many as kept weights in a row are enough."""


def masked_least_squares(
    gram: Float[np.ndarray, "n n"],
    wanted: Float[np.ndarray, "out n"],
    start: Float[np.ndarray, "out n"],
    mask: Bool[np.ndarray, "out n"],
    *,
    ridge: float,
    steps: int = STEPS,
) -> Float[np.ndarray, "out n"]:
    """All rows at once; gram is H, wanted R, start the weights as they are, ridge > 0 in units of gram's diagonal."""
    w = np.where(mask, start, 0.0)
    inverse = np.where(mask, 1.0 / (np.diag(gram) + ridge), 0.0)
    residual = np.where(mask, wanted - w @ gram, 0.0)
    direction = inverse * residual
    energy = _rows(residual, direction)
    goal = TOLERANCE**2 * energy
    for _ in range(steps):
        if (energy <= goal).all():
            break
        image = np.where(mask, direction @ gram + ridge * direction, 0.0)
        length = _quotient(energy, _rows(direction, image))
        w += length * direction
        residual -= length * image
        scaled = inverse * residual
        before, energy = energy, _rows(residual, scaled)
        direction = scaled + _quotient(energy, before) * direction
    return w


def exact(
    gram: Float[np.ndarray, "n n"],
    wanted: Float[np.ndarray, "out n"],
    start: Float[np.ndarray, "out n"],
    mask: Bool[np.ndarray, "out n"],
    *,
    ridge: float,
) -> Float[np.ndarray, "out n"]:
    """The same in closed form, a row at a time: (H_mm + ridge I) w_m = R_m + ridge start_m. The definition."""
    w = np.zeros_like(start)
    for row, kept in enumerate(mask):
        inner = gram[np.ix_(kept, kept)] + ridge * np.eye(int(kept.sum()))
        w[row, kept] = np.linalg.solve(inner, wanted[row, kept] + ridge * start[row, kept])
    return w


def squared_error(
    gram: Float[np.ndarray, "n n"], wanted: Float[np.ndarray, "out n"], energy: float, w: Float[np.ndarray, "out n"]
) -> float:
    """sum |w x - t|^2 over samples and outputs, energy being sum |t|^2."""
    return max(0.0, energy + float(np.sum((w @ gram - 2 * wanted) * w)))


def _rows(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", a, b)[:, None]


def _quotient(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)
