"""maths.bilinear: known algorithms come out, the value describes itself, and its JSON survives strangers."""

import dataclasses
import json
from fractions import Fraction

import numpy as np
import pytest

from secateur.errors import AlgorithmError
from secateur.maths.bilinear import Bilinear
from secateur.maths.convolution import convolution
from secateur.maths.exact_matrix import ExactMatrix, exact
from secateur.maths.nesting import nested, of_moduli, of_points, split_fields

half, quarter, sixth = Fraction(1, 2), Fraction(1, 4), Fraction(1, 6)

# A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks", 2015, section 4.
LAVIN_F23 = (
    [[1, 1, 1, 0], [0, 1, -1, -1]],
    [[1, 0, 0], [half, half, half], [half, -half, half], [0, 0, 1]],
    [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
)
LAVIN_F43 = (
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    [
        [quarter, 0, 0],
        [-sixth, -sixth, -sixth],
        [-sixth, sixth, -sixth],
        [Fraction(1, 24), Fraction(1, 12), sixth],
        [Fraction(1, 24), -Fraction(1, 12), sixth],
        [0, 0, 1],
    ],
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
)


def directions(matrix: ExactMatrix) -> list[tuple[Fraction, ...]]:
    """Every row up to a factor."""
    rows = []
    for row in matrix.rows():
        first = next(entry for entry in row if entry)
        rows.append(tuple(entry / first for entry in row))
    return rows


def same_up_to_scaling(algorithm: Bilinear, known) -> bool:
    """Whether a diagonal scaling, the same product on all three sides, maps one onto the other."""
    at, g, bt = map(exact, known)
    mine = zip(directions(algorithm.at.transposed()), directions(algorithm.g), directions(algorithm.bt), strict=True)
    return sorted(mine) == sorted(zip(directions(at.transposed()), directions(g), directions(bt), strict=True))


def test_lavin_and_gray_are_special_cases():
    assert same_up_to_scaling(of_points(2, 3, (0, 1, -1)), LAVIN_F23)
    assert same_up_to_scaling(of_points(4, 3, (0, 1, -1, 2, -2)), LAVIN_F43)
    assert same_up_to_scaling(of_moduli(2, 3, "x, x^2-1"), LAVIN_F23), "the same points, said as moduli"


def test_the_comparison_can_fail():
    assert not same_up_to_scaling(of_points(4, 3, (0, 1, -1, 2, half)), LAVIN_F43)


@pytest.mark.parametrize("points", [(0, 1, -1, 2), (0, 1, -1, half, "-3/2")])
def test_cook_toom_multiplies_polynomials(points):
    """Transposed back, at and bt multiply: evaluate at the points, multiply, interpolate (Toom 1963, Cook 1966)."""
    taps = len(points) - 1
    made = of_points(3, taps, points)
    a, w = np.array([3.0, -1, 2]), np.arange(1.0, taps + 1)
    at, g, bt = (np.asarray(matrix) for matrix in (made.at, made.g, made.bt))
    np.testing.assert_allclose(bt.T @ ((at.T @ a) * (g @ w)), np.convolve(a, w), atol=1e-12)


def test_it_describes_itself():
    made = nested(of_points(4, 3, (0, 1, -1, 2, -2)), of_moduli(2, 3, "x, x^2-1"))
    assert (made.name, made.products, made.inputs, made.gain) == ("F(4x2,3x3)", 24, (6, 4), 3.0)
    assert (
        str(made) == "F(4x2,3x3) over x, x-1, x+1, x-2, x+2, inf | x, x^2-1, inf: 24 products, 3.00x fewer than direct"
    )
    assert made.integer
    assert not of_points(4, 3, (0, 1, -1, half, -2)).integer
    assert made.adds.tile == made.adds.input + made.adds.output


def test_additions_of_lavins_transforms():
    """They count 32 and 24 additions for the 4x4 tile of F(2x2,3x3), and 28 flops for the filter."""
    one = of_points(2, 3, (0, 1, -1))
    adds = nested(one, one).adds
    assert (adds.input, adds.output, adds.filter) == (32, 24, 21)


def test_condition_of_direct_convolution_is_1():
    assert of_points(1, 1, ()).condition == 1
    assert of_points(4, 3, (0, 1, -1, 2, -2)).condition > of_points(2, 3, (0, 1, -1)).condition > 1


ALGORITHMS = [
    of_points(4, 3, (0, 1, -1, half, "-3/2")),
    nested(of_points(2, 3, (0, 1, -1)), of_moduli(3, 2, "x, x^2+1")),
    split_fields((4, 4), (3, 3), ("x, x^4-1", "x, x^4-1")),
    nested(split_fields((2, 2), (2, 2), ("x, x-1", "x, x-1")), of_points(1, 2, (0,))),
]


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=str)
def test_json_both_ways(algorithm):
    text = algorithm.to_json()
    found = Bilinear.from_json(text)
    assert found == algorithm
    assert found.to_json() == text


def spoiled(change):
    """The JSON of a small algorithm after a change to its data."""
    data = json.loads(of_points(2, 3, (0, 1, -1)).to_json())
    change(data)
    return json.dumps(data)


HOSTILE = {
    "no JSON": lambda data: "{",
    "not an object": lambda data: "[1]",
    "another version": lambda data: data.update(secateur_algorithm=2),
    "a missing key": lambda data: data.pop("g"),
    "an unknown key": lambda data: data.update(more=1),
    "no dimension": lambda data: data.update(outputs=[]),
    "a huge extent": lambda data: data.update(outputs=[10**9]),
    "a boolean extent": lambda data: data.update(taps=[True]),
    "ragged rows": lambda data: data["at"][0].pop(),
    "no rows": lambda data: data.update(at=[]),
    "a float entry": lambda data: data["g"].__setitem__(0, [0.5, 0, 0]),
    "a zero denominator": lambda data: data["g"].__setitem__(0, ["1/0", 0, 0]),
    "an endless number": lambda data: data["g"].__setitem__(0, [10**200, 0, 0]),
    "a wrong number": lambda data: data["g"].__setitem__(0, [2, 0, 0]),
    "a huge repetition": lambda data: data["input_transform"][0].update(before=2**40),
    "a wide stage": lambda data: data["input_transform"][0].update(before=2**19),
    "stages that do not fit": lambda data: data["input_transform"].append(data["filter_transform"][0]),
    "no stages": lambda data: data.update(input_transform=[]),
    "another transform": lambda data: data["filter_transform"][0]["matrix"].reverse(),
    "itself as its axes": lambda data: data.update(axes=[dict(data, secateur_algorithm=1)]),
    "code in the recipe": lambda data: data.update(recipe='x"""; print(1); """'),
    "a long text": lambda data: data.update(recipe="x" * 2000),
    "a text for a list": lambda data: data.update(known="all"),
    "other extents": lambda data: data.update(outputs=[3]),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_json_is_a_clear_error(what):
    change = HOSTILE[what]
    text = change({}) if what in ("no JSON", "not an object") else spoiled(change)
    with pytest.raises(AlgorithmError):
        Bilinear.from_json(text)


def test_deep_and_long_json_is_refused():
    for text in ("[" * 100_000, '{"secateur_algorithm": ' + "9" * 5000 + "}", " " * (2**26 + 1)):
        with pytest.raises(AlgorithmError):
            Bilinear.from_json(text)


def test_axes_that_are_not_its_own_are_noticed():
    one, two = of_points(2, 3, (0, 1, -1)), of_points(2, 3, (0, 1, 2))
    wrong = dataclasses.replace(nested(one, one), axes=(one, two))
    assert not wrong.proves()
    assert not dataclasses.replace(one, outputs=(3,)).proves()


def test_what_would_take_hours_to_prove_is_refused():
    """A few hundred bytes can announce tiles of 64 x 64 x 64, or stages whose product is a matter of hours."""
    plain = json.loads(convolution(outputs=2, taps=3).to_json())
    stages = [{"before": 32, "after": 1, "matrix": [[10**100] * 32] * 32}] * 4
    with pytest.raises(AlgorithmError, match="take too long to multiply"):
        Bilinear.from_json(json.dumps(plain | {"output_transform": stages}))
    ones = {"at": [[1]] * 4096, "g": [[1] * 4], "bt": [[1] * 65**2]}
    forms = {
        f"{name}_transform": [{"before": 1, "after": 1, "matrix": ones[key]}]
        for name, key in (("output", "at"), ("filter", "g"), ("input", "bt"))
    }
    with pytest.raises(AlgorithmError, match="too large to be proved"):
        Bilinear.from_json(json.dumps(plain | ones | forms | {"outputs": [64, 64], "taps": [2, 2], "axes": []}))
    nested = json.loads(convolution(outputs=(2, 2), taps=(3, 3)).to_json())
    assert nested["axes"]
    nested["axes"][0]["axes"] = [dict(nested["axes"][0])]
    with pytest.raises(AlgorithmError, match="axes of their own"):
        Bilinear.from_json(json.dumps(nested))
