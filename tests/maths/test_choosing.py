"""maths.choosing: what a wish asks for is what it gets, with no fewer products among the candidates."""

import pytest

from secateur.errors import AlgorithmError
from secateur.maths.choosing import Wish, best, compared
from secateur.maths.family import candidates, count_products


def test_fewest_products_is_the_default_wish():
    found = best((4,), (3,), Wish())
    assert found.products == 6 == min(count_products([moduli]) for moduli in candidates(4, 3))
    assert found.proves()
    assert "2/3" in found.recipe, "the points with the least error"


def test_an_error_is_met_with_the_fewest_products_that_meet_it():
    wish = Wish(error=1e-3, dtype="float16")
    found = best((4, 4), (3, 3), wish)
    assert found.products in (42, 46)
    assert found.error("float16").largest <= 1e-3
    assert best((4, 4), (3, 3), Wish(error=1, dtype="float16")).products == 36


def test_integers():
    found = best((4, 2), (3, 3), Wish(integers=True))
    assert found.integer
    assert found.proves()
    assert found.products == 24


def test_an_impossible_wish_names_the_smallest_error():
    with pytest.raises(AlgorithmError, match="smallest error found is"):
        best((2,), (3,), Wish(error=1e-12))


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"error": -1}, "positive number"),
        ({"error": float("nan")}, "positive number"),
        ({"error": "small"}, "positive number"),
        ({"error": True}, "positive number"),
        ({"dtype": "float8"}, "use one of"),
        ({"integers": 1}, "True or False"),
    ],
)
def test_bad_wishes(wish, message):
    with pytest.raises(AlgorithmError, match=message):
        Wish(**wish)


def test_the_comparison_grows_in_products_and_proves():
    found = compared((2, 2), (3, 3))
    products = [algorithm.products for algorithm, _ in found]
    assert products == sorted(products)
    assert all(algorithm.proves() for algorithm, _ in found)
    assert len({algorithm.recipe for algorithm, _ in found}) == len(found) > 1
