"""`run` gives what the oracle gives, says how, and refuses everything it should not read."""

import zipfile

import numpy as np
import pytest

from secateur.ir.artifact import Artifact
from secateur.ir.execute import interpret
from secateur.ir.graph import Graph, Node, ValueType


@pytest.fixture
def x(tmp_path):
    array = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", array)
    return array


@pytest.fixture
def two_ended(tmp_path):
    """Two inputs, two outputs, one of which has the name of an argument of np.savez."""
    types = {name: ValueType((-1, 2)) for name in ("a", "b", "file", "product")}
    nodes = (Node("add", ("a", "b"), "file"), Node("mul", ("a", "b"), "product"))
    Artifact(Graph(("a", "b"), ("file", "product"), (), nodes, types), {}).save(tmp_path / "two.secat")
    return tmp_path / "two.secat"


def test_npy_in_npy_out(secateur, packed, artifact, x, tmp_path):
    ran = secateur("run", packed, tmp_path / "x.npy", "-o", tmp_path / "y.npy")
    assert (ran.status, ran.err) == (0, "")
    assert "interpreted in numpy" in ran.out
    assert " ms" in ran.out
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), interpret(artifact, x))


def test_json_says_shapes_and_time(secateur, packed, x, tmp_path):
    data = secateur("run", packed, tmp_path / "x.npy", "-o", tmp_path / "y.npy", "--json").json
    (output,) = data["outputs"].values()
    assert output == {"shape": [5, 2], "dtype": "float32"}
    assert data["seconds"] > 0


def test_several_inputs_and_outputs_go_by_name(secateur, two_ended, tmp_path):
    a, b = np.arange(4, dtype=np.float32).reshape(2, 2), np.full((2, 2), 3, np.float32)
    np.savez(tmp_path / "in.npz", b=b, a=a)
    ran = secateur("run", two_ended, tmp_path / "in.npz", "-o", tmp_path / "out.npz")
    assert ran.status == 0
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_array_equal(found["file"], a + b)
        np.testing.assert_array_equal(found["product"], a * b)


def test_an_existing_file_is_replaced_and_named(secateur, packed, x, tmp_path):
    (tmp_path / "y.npy").write_bytes(b"old")
    ran = secateur("run", packed, tmp_path / "x.npy", "-o", tmp_path / "y.npy", "--json")
    assert ran.json["outputs"]
    assert "y.npy was there and has been replaced" in ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.secat", "x.npy", "y.npy"]


def refusal(ran):
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    assert "Traceback" not in ran.err
    return ran.err


def test_inputs_that_do_not_fit(secateur, packed, two_ended, tmp_path):
    np.save(tmp_path / "double.npy", np.zeros((1, 4)))
    np.save(tmp_path / "wide.npy", np.zeros((1, 5), np.float32))
    np.savez(tmp_path / "names.npz", a=np.zeros((1, 2), np.float32), c=np.zeros((1, 2), np.float32))
    out = tmp_path / "y.npy"
    assert "expected float32" in refusal(secateur("run", packed, tmp_path / "double.npy", "-o", out))
    assert "float32 (1, 5)" in refusal(secateur("run", packed, tmp_path / "wide.npy", "-o", out))
    found = refusal(secateur("run", two_ended, tmp_path / "names.npz", "-o", tmp_path / "y.npz"))
    assert "holds a, c, the model's inputs are a, b" in found
    assert "expected 2 inputs (a, b), got one" in refusal(
        secateur("run", two_ended, tmp_path / "wide.npy", "-o", tmp_path / "y.npz")
    )
    assert not out.exists()


def test_pickles_and_damaged_files_are_never_read(secateur, packed, tmp_path):
    np.save(tmp_path / "pickle.npy", np.array([object()]), allow_pickle=True)
    np.savez(tmp_path / "pickle.npz", input=np.array([object()]))
    np.save(tmp_path / "cut.npy", np.zeros((100, 4), np.float32))
    cut = (tmp_path / "cut.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(cut[:200])
    (tmp_path / "huge.npy").write_bytes(cut[:128].replace(b"(100, 4), }        ", b"(99999999999, 4), }"))
    (tmp_path / "text.npy").write_text("1, 2, 3")
    (tmp_path / "empty.npy").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as archive:
        archive.writestr("input.npy", b"not an array")
    for name in ("pickle.npy", "pickle.npz", "cut.npy", "huge.npy", "text.npy", "empty.npy", "bad.npz", "missing.npy"):
        found = refusal(secateur("run", packed, tmp_path / name, "-o", tmp_path / "y.npy"))
        assert name in found
        assert "unsafe" not in found


def test_outputs_that_cannot_be_written(secateur, packed, two_ended, x, tmp_path):
    source = tmp_path / "x.npy"
    (tmp_path / "folder.npy").mkdir()
    assert "name it .npy or .npz" in refusal(secateur("run", packed, source, "-o", tmp_path / "y.csv"))
    assert "name a .npz" in refusal(secateur("run", two_ended, source, "-o", tmp_path / "y.npy"))
    assert "no ordinary file" in refusal(secateur("run", packed, source, "-o", tmp_path / "folder.npy"))
    assert "cannot write into" in refusal(secateur("run", packed, source, "-o", tmp_path / "none" / "y.npy"))


def test_weights_alone_do_not_run(secateur, x, tmp_path):
    Artifact(None, {}, {"weights_only": "its loop has no row"}).save(tmp_path / "w.secat")
    found = refusal(secateur("run", tmp_path / "w.secat", tmp_path / "x.npy", "-o", tmp_path / "y.npy"))
    assert "its loop has no row" in found


def test_limits_are_those_of_the_user(secateur, packed, x, tmp_path):
    ask = ("run", packed, tmp_path / "x.npy", "-o", tmp_path / "y.npy")
    assert "40 are allowed" in refusal(secateur(*ask, "--max-bytes", 40))
    assert "allow more with max_seconds" in refusal(secateur(*ask, "--max-seconds", 0))
    assert secateur(*ask, "--max-bytes", 2**40, "--max-seconds", 1e9).status == 0


def test_a_model_with_quantized_maps_runs_in_integers_or_in_floats(secateur, quantized_maps, tmp_path):
    path, artifact = quantized_maps
    x = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    for arithmetic, in_integers in ((None, True), ("integer", True), ("float", False)):
        options = ["--arithmetic", arithmetic] if arithmetic else []
        ran = secateur("run", path, tmp_path / "x.npy", "-o", tmp_path / "y.npy", *options)
        assert ran.status == 0
        assert ("in integers" in ran.out) == in_integers
        np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), interpret(artifact, x, arithmetic=arithmetic))
    assert not np.array_equal(*(interpret(artifact, x, arithmetic=name) for name in ("integer", "float")))


def test_an_arithmetic_that_a_model_does_not_have(secateur, packed, x, tmp_path):
    out = tmp_path / "y.npy"
    said = refusal(secateur("run", packed, tmp_path / "x.npy", "-o", out, "--arithmetic", "integer"))
    assert "no quantized maps" in said
    said = refusal(secateur("run", packed, tmp_path / "x.npy", "-o", out, "--arithmetic", "int8"))
    assert "one of integer, float" in said
