"""maths.source: generated C, compiled, and generated numpy, executed, against direct convolution; golden texts."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from secateur.maths.nesting import nested, of_moduli, of_points, split_fields

GOLDEN = Path(__file__).parents[1] / "golden"
COMPILER = shutil.which("gcc") or shutil.which("cc")
ALGORITHMS = {
    "one": of_points(4, 3, (0, 1, -1, 2, "-1/2")),
    "fractions": of_points(4, 3, (0, "2/3", "-2/3", "3/2", "-3/2")),
    "nested": nested(of_points(2, 3, (0, 1, -1)), of_moduli(3, 2, "x, x^2+1")),
    "split": split_fields((4, 4), (3, 3), ("x, x^4-1",) * 2),
    "box": nested(*[of_points(2, 2, (0, 1))] * 3),
    "trivial": of_points(1, 1, ()),
}


def wanted(x, w, outputs):
    """Direct convolution of one tile."""
    y = np.zeros(outputs)
    for i in np.ndindex(*outputs):
        y[i] = (x[tuple(slice(a, a + r) for a, r in zip(i, w.shape, strict=True))] * w).sum()
    return y


def drawn(algorithm):
    random = np.random.default_rng(0)
    return random.standard_normal(algorithm.inputs), random.standard_normal(algorithm.taps)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_numpy_source_computes_the_convolution(name):
    algorithm = ALGORITHMS[name]
    x, w = drawn(algorithm)
    module: dict = {}
    exec(algorithm.to_numpy(), module)
    found = module["convolution_tile"](x.ravel(), w.ravel())
    np.testing.assert_allclose(found.reshape(algorithm.outputs), wanted(x, w, algorithm.outputs), atol=1e-9)
    single = module["convolution_tile"](x.reshape(-1, 1).astype(np.float32), w.reshape(-1, 1).astype(np.float32))
    assert single.dtype == np.float32


@pytest.mark.skipif(COMPILER is None, reason="no C compiler on this machine: generated C is not run")
@pytest.mark.parametrize("real", ["float", "double"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_c_source_compiles_without_a_warning_and_computes_the_convolution(name, real, tmp_path):
    algorithm = ALGORITHMS[name]
    (tmp_path / "tile.c").write_text(algorithm.to_c())
    library = tmp_path / "tile.so"
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-shared", "-fPIC", f"-DREAL={real}"]
    subprocess.run([str(COMPILER), *flags, "-o", library, tmp_path / "tile.c"], check=True, capture_output=True)
    dtype = np.float32 if real == "float" else np.float64
    x, w = (part.astype(dtype) for part in drawn(algorithm))
    y = np.zeros(algorithm.outputs, dtype)
    pointers = [part.ctypes.data_as(ctypes.c_void_p) for part in (x, w, y)]
    ctypes.CDLL(str(library)).convolution_tile(*pointers)
    tolerance = 1e-4 if real == "float" else 1e-10
    np.testing.assert_allclose(y, wanted(x.astype(float), w.astype(float), algorithm.outputs), atol=tolerance)


@pytest.mark.parametrize("ending", ["c", "py.txt"])
def test_golden_text(ending):
    """Every byte of a small algorithm's source: a change of the generator is seen, and decided on."""
    algorithm = of_points(2, 3, (0, 1, "-1/2"))
    text = algorithm.to_c() if ending == "c" else algorithm.to_numpy()
    assert text == (GOLDEN / f"convolution-f23.{ending}").read_text(encoding="utf-8")


def test_a_remark_cannot_end_the_comment():
    from secateur.maths.source import c_source

    programs = {
        "input_transform": ALGORITHMS["trivial"].input_transform.program,
        "filter_transform": ALGORITHMS["trivial"].filter_transform.program,
        "output_transform": ALGORITHMS["trivial"].output_transform.program,
    }
    assert "evil */" not in c_source(programs, "evil */ int x;")
