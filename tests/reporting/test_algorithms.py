"""reporting.algorithms: a page that holds every algorithm, marks the best and needs nothing from elsewhere."""

import re

from secateur.maths.float_error import Sample
from secateur.maths.nesting import of_moduli, of_points
from secateur.reporting.algorithms import algorithms_page

SAMPLE = Sample(4, 4, 2)
MADE = [of_points(4, 3, (0, 1, -1, 2, -2)), of_points(4, 3, (0, 1, 2, 3, 4)), of_moduli(4, 3, "x, x^4-1")]


def test_page():
    measured = [(one, one.error("float32", SAMPLE)) for one in MADE]
    page = algorithms_page(measured)
    for algorithm, error in measured:
        assert page.count(f"<code>{algorithm.recipe}</code>") == 1
        assert f"{error.largest:.2g}" in page
    assert "F(4,3): products against error" in page
    assert f"N{str(SAMPLE)[1:]}" in page
    assert page.count('class="fill s1 best"') == 2, "0, 1, 2, 3, 4 is worse than 0, 1, -1, 2, -2 at as many products"
    assert not re.search(r"(src|href)=|@import|url\(", page)
    assert "--paper" in page, "the style is in the page"
