"""interpret() runs an artifact as its graph says; weights alone say why they cannot run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sample_artifacts import tiny
from sample_graphs import small_net

from secateur.errors import ArtifactError, DataError
from secateur.ir.artifact import Artifact
from secateur.ir.execute import interpret
from secateur.ir.formats import Dense
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
