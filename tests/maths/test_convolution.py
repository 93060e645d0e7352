"""maths.convolution: the public function, its refusals, and the code in its document."""

import re
from pathlib import Path

import pytest

from secateur.errors import AlgorithmError
from secateur.maths.choosing import Wish
from secateur.maths.convolution import convolution

DOCUMENT = Path(__file__).parents[2] / "docs" / "convolution.md"


def test_moduli_points_and_wishes():
    assert convolution(outputs=6, taps=3, moduli="x, x^6-1").products == 10
    assert convolution(outputs=4, taps=3, points=(0, 1, -1, 2, -2)).products == 6
    assert convolution(4, 3) == convolution(4, 3, wish=Wish())
    assert convolution((6, 6), (3, 3), moduli="x, x^6-1").products == 88


def test_one_extent_stands_for_all_dimensions():
    assert convolution((4, 4), 3, points=(0, 1, -1, 2, -2)) == convolution(4, (3, 3), points=(0, 1, -1, 2, -2))
    assert convolution((2, 2, 2), 3, points=[0, 1, -1]).products == 64


def test_a_set_for_each_dimension():
    found = convolution((4, 6), (3, 2), moduli="x, x^4-1 | x, x^5-1")
    assert found.proves()
    assert found.recipe == "x, x^4-1, inf | x, x^5-1, inf"


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, 3), {}, "outputs=0"),
        ((4, 65), {}, "taps=65"),
        ((4.0, 3), {}, "outputs=4.0"),
        ((True, 3), {}, "outputs=True"),
        (((4, 4), (3, 3, 3)), {}, "one extent a dimension"),
        (((2, 2, 2, 2), 3), {}, "one to three dimensions"),
        (((), 3), {}, "one to three dimensions"),
        ((4, 3), {"moduli": "x", "points": (0,)}, "name one of"),
        ((4, 3), {"moduli": "x", "wish": Wish()}, "name one of"),
        (((4, 4), 3), {"moduli": "x | x | x"}, "3 sets of moduli for 2 dimensions"),
        ((6, 3), {"points": (0, 1, -1)}, "needs degrees that sum to 7"),
        ((6, 3), {"points": (0, 1, 1)}, "1 is repeated"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, options, message):
    with pytest.raises(AlgorithmError, match=re.escape(message)):
        convolution(*arguments, **options)


def test_the_document_runs(capsys):
    blocks = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    exec("\n".join(blocks), {})
    said = capsys.readouterr().out
    for promised in ("F(4,3) over x, x-1, x+1, x-2, x+2, inf: 6 products", "share the factor x-1", "\n46 88\n"):
        assert promised in said


def test_the_table_of_the_document_is_measured():
    """Products and additions exactly; errors within a factor of two, as other machines sum in other orders."""
    row = r"^\| F\((\d)x\d,(\d)x\d\) \| (.*?) \| (\d+) \| .*?x \| (\d+) \| (\S+) \|"
    rows = re.findall(row, DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) > 10
    for m, r, over, products, adds, error in rows:
        options = {"moduli": over}
        if over.startswith("points"):
            options = {"points": over.removeprefix("points ").split(",")}
        found = convolution((int(m),) * 2, (int(r),) * 2, **({} if over == "good points" else options))
        assert (found.products, found.adds.tile) == (int(products), int(adds))
        if found.products < 64:
            assert 0.5 < found.error().largest / float(error) < 2
