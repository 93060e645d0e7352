"""`conv` prints an algorithm with its proof and numbers, writes files that work, and explains what is refused."""

import json

import numpy as np
import pytest

from secateur.cli.conv import parse_sizes, parse_wish
from secateur.errors import DataError
from secateur.maths.bilinear import Bilinear
from secateur.maths.choosing import Wish

LAVIN = ("conv", "4,3", "--points", "0, 1, -1, 2, -2")


def test_matrices_proof_products_additions_and_errors(secateur):
    ran = secateur(*LAVIN)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("F(4,3) over x, x-1, x+1, x-2, x+2, inf: 6 products, 2.00x fewer than direct\n")
    for said in ("proved: ", "input 12, filter 6, output 10", "bt, input transform, 6 x 6", "4   0  -5   0   1  0"):
        assert said in ran.out
    for dtype in ("float32", "bfloat16", "float16"):
        assert f"\n{dtype} " in ran.out
    assert "N(0,1) input, He weights, 64 channels" in ran.out


def test_large_matrices_are_told_by_size(secateur):
    out = secateur("conv", "6x6,3x3", "--moduli", "x, x^6-1").out
    assert "88 products" in out
    assert "at, output transform, 36 x 88: write it with -o" in out


def test_rows_that_are_not_minimal_are_said_so(secateur):
    assert "not minimal (nested Karatsuba)" in secateur("conv", "6,3", "--moduli", "x, x^7-1").out


def test_json_holds_the_algorithm_and_what_is_known(secateur):
    data = secateur(*LAVIN, "--json").json
    assert (data["products"], data["proved"], data["adds"]) == (6, True, {"output": 10, "filter": 6, "input": 12})
    assert data["errors"]["float32"]["largest"] < data["errors"]["float32"]["bound"]
    assert data["bt"][0] == [4, 0, -5, 0, 1, 0]


def test_files(secateur, tmp_path):
    files = [tmp_path / f"tile.{ending}" for ending in ("json", "c", "py", "html")]
    ran = secateur("conv", "2x2,3x3", *(word for file in files for word in ("-o", file)))
    assert ran.status == 0
    assert ran.err.count("wrote ") == 4
    algorithm = Bilinear.from_json(files[0].read_text(encoding="utf-8"))
    assert algorithm.products == 16
    assert files[1].read_text(encoding="utf-8") == algorithm.to_c()
    module: dict = {}
    exec(files[2].read_text(encoding="utf-8"), module)
    np.testing.assert_allclose(module["convolution_tile"](np.ones(16), np.ones(9)), [9, 9, 9, 9])
    page = files[3].read_text(encoding="utf-8")
    assert "<svg" in page
    assert "F(2x2,3x3): products against error" in page
    assert algorithm.recipe.split(" | ")[0] in page


def test_a_wish(secateur):
    data = json.loads(secateur("conv", "4,3", "--wish", "integers, dtype=float16, error=1e-3", "--json").out)
    assert data["errors"]["float16"]["largest"] <= 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("4;3",), "write outputs and taps as"),
        (("4,3", "--moduli", "x, x-1, x^2-1"), "share the factor x-1"),
        (("4,3", "--points", "0, 1, 1.5"), None),
        (("4,3", "--points", "0, a"), "no exact point"),
        (("4,3", "--wish", "small"), "'small' is no wish"),
        (("4,3", "--wish", "error=0"), "positive number"),
        (("4,3", "--wish", "error=1e-12"), "smallest error found"),
        (("4,3", "--moduli", "x", "--points", "0"), "name one of"),
        (("4,3", "-o", "tile.txt"), "written as .json, .c or .py"),
        (("4,3", "-o", "no/such/folder/tile.c"), "cannot write into"),
        (("99999,3",), "write outputs and taps as"),
        (("65,3",), "an extent is an integer from 1 to 64"),
    ],
)
def test_what_is_refused_is_one_line_and_status_2(secateur, arguments, message):
    ran = secateur("conv", *arguments)
    assert ran.status == 2
    assert ran.out == ""
    assert message is None or message in ran.err
    assert ran.err.count("\n") == 1


def test_parsing():
    assert parse_sizes("F(6x4, 3x2)") == ((6, 4), (3, 2))
    assert parse_wish("") == Wish()
    assert parse_wish("integers,error=.5e-3") == Wish(error=5e-4, integers=True)
    for text in ("", "6", "6,3,1", "x,3", "6x,3"):
        with pytest.raises(DataError):
            parse_sizes(text)
