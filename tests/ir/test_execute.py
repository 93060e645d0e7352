"""interpret() runs an artifact as its graph says; weights alone say why they cannot run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from integer_networks import residual
from sample_artifacts import tiny
from sample_graphs import small_net

from secateur.errors import ArtifactError, DataError
from secateur.ir.artifact import Artifact
from secateur.ir.execute import integer_layers, interpret
from secateur.ir.formats import Dense, same_bits
from secateur.ir.interpret import run_graph


def artifact() -> Artifact:
    graph, arrays = small_net()
    return Artifact(graph, {name: Dense(array) for name, array in arrays.items()})


def test_an_artifact_computes_what_its_graph_computes():
    graph, arrays = small_net()
    x = np.random.default_rng(0).standard_normal((3, 1, 6, 6)).astype(np.float32)
    (expected,) = run_graph(graph, arrays, [x])
    found = interpret(artifact(), x)
    assert isinstance(found, np.ndarray)
    assert np.array_equal(found, expected)
    assert found.any()


def test_several_outputs_are_a_tuple():
    whole = artifact()
    assert whole.graph
    both = replace(whole, graph=replace(whole.graph, outputs=("scores", "flat")))
    scores, flat = interpret(both, np.ones((2, 1, 6, 6), dtype=np.float32))
    assert (scores.shape, flat.shape) == ((2, 3), (2, 8))


def test_loading_changes_no_result():
    x = np.ones((2, 1, 6, 6), dtype=np.float32)
    assert np.array_equal(interpret(tiny(), x), interpret(Artifact.from_bytes(tiny().to_bytes()), x))


def test_constants_are_made_dense_once_and_cannot_be_written():
    whole = tiny()
    first = whole.constants
    assert whole.constants is first
    assert set(first) == {"conv.weight", "conv.bias", "fc.weight", "fc.bias"}
    with pytest.raises(ValueError, match="read-only"):
        first["conv.bias"][0] = 1
    assert all(array.dtype == np.float32 for array in first.values())


def test_making_constants_leaves_the_tensors_writeable():
    array = np.zeros(2, dtype=np.float32)
    whole = replace(tiny(), tensors={**tiny().tensors, "conv.bias": Dense(array)})
    assert not whole.constants["conv.bias"].flags.writeable
    array[0] = 1


def test_inputs_that_do_not_fit_are_data_errors():
    with pytest.raises(DataError, match="image"):
        interpret(artifact(), np.ones((2, 1, 6, 7), dtype=np.float32))
    with pytest.raises(DataError, match="expected 1 inputs"):
        interpret(artifact())


def test_weights_alone_say_why_and_what_to_do():
    weights = replace(artifact(), graph=None, meta={"weights_only": "aten.roll is outside the list"})
    with pytest.raises(ArtifactError, match=r"aten\.roll is outside.*restore_\(model, artifact\)"):
        interpret(weights, np.ones(1, dtype=np.float32))
    assert weights.constants == {}


def quantized() -> tuple[Artifact, np.ndarray]:
    return Artifact(*residual()), np.random.default_rng(0).standard_normal((20, 3, 6, 6)).astype(np.float32)


def test_a_graph_with_quantized_maps_runs_in_integers_unless_told_otherwise():
    found, x = quantized()
    default, integer, real = (interpret(found, x, arithmetic=name) for name in (None, "integer", "float"))
    assert found.graph
    expected = run_graph(found.graph, found.constants, [x])
    for ours, asked, plain, wanted in zip(default, integer, real, expected, strict=True):
        assert same_bits(ours, asked)
        assert same_bits(plain, wanted)
        assert not np.array_equal(ours, plain)
        assert np.abs(ours - plain).max() < 0.1 * np.abs(plain).max()


def test_every_operation_is_listed_with_its_arithmetic():
    rows = integer_layers(quantized()[0])
    assert [(row.op, row.arithmetic) for row in rows[:3]] == [
        ("fake_quantize", "quantize"),
        ("conv", "integer"),
        ("relu", "integer"),
    ]
    assert rows[0].reason == "reads x, which is float32"
    assert {row.arithmetic for row in integer_layers(artifact())} == {"float"}
    assert integer_layers(artifact())[0].reason == "reads image, which is float32"


def test_arithmetics_that_make_no_sense_are_refused():
    x = np.ones((1, 1, 6, 6), dtype=np.float32)
    with pytest.raises(DataError, match="one of integer, float, not 'int8'"):
        interpret(artifact(), x, arithmetic="int8")
    with pytest.raises(DataError, match=r"no quantized maps.*arithmetic='float'"):
        interpret(artifact(), x, arithmetic="integer")
    with pytest.raises(ArtifactError, match="weights only"):
        integer_layers(replace(artifact(), graph=None))


def test_limits_hold_in_integers_too():
    found, x = quantized()
    with pytest.raises(DataError, match="allow more with max_bytes"):
        interpret(found, x, max_bytes=100_000)
