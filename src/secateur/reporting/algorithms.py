"""Products against error of convolution algorithms, as one page that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Sequence

from secateur.maths.bilinear import Bilinear
from secateur.maths.float_error import FloatError
from secateur.reporting.charts.axes import Axis
from secateur.reporting.charts.scatter import Across, Dot, scatter_chart
from secateur.reporting.templating import filled

Measured = tuple[Bilinear, FloatError]


def algorithms_page(measured: Sequence[Measured]) -> str:
    """A chart and a table of algorithms for the same outputs and taps, with their measured errors."""
    (first, error), *_ = measured
    title = f"{first.name}: products against error"
    dots = [Dot(_short(one), one.products, loss.largest, _is_best(one, loss, measured)) for one, loss in measured]
    chart = scatter_chart(
        title, dots, Across("products a tile"), Axis(f"largest error, {error.dtype}", "{:.2g}".format, log=True)
    )
    return filled(
        "algorithms.html",
        title=title,
        dtype=error.dtype,
        how=_capital(error.how),
        chart=chart,
        rows=[_row(*pair) for pair in measured],
    )


def _row(algorithm: Bilinear, error: FloatError) -> dict[str, str]:
    return {
        "recipe": _short(algorithm),
        "products": f"{algorithm.products}",
        "gain": f"{algorithm.gain:.2f}x",
        "largest": f"{error.largest:.2g}",
        "rms": f"{error.rms:.2g}",
        "adds": f"{algorithm.adds.tile}",
    }


def _is_best(algorithm: Bilinear, error: FloatError, others: Sequence[Measured]) -> bool:
    """Whether nothing has fewer products and no larger error, or as many and a smaller one."""
    mine = (algorithm.products, error.largest)
    pairs = [(other.products, loss.largest) for other, loss in others]
    return not any(p <= mine[0] and e <= mine[1] and (p, e) != mine for p, e in pairs)


def _short(algorithm: Bilinear) -> str:
    """The moduli, once where they are the same in every dimension."""
    parts = algorithm.recipe.split(" | ")
    return parts[0] if len(set(parts)) == 1 else algorithm.recipe


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
