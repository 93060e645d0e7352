"""The oracle as a torch module gives what `interpret` gives."""

import numpy as np
import pytest
import torch

import secateur as sct
from secateur.cli.oracle import Oracle
from secateur.errors import ArtifactError, DataError
from secateur.ir.artifact import Artifact
from secateur.ir.graph import Graph, Node, ValueType


def test_equals_interpret(artifact):
    x = torch.randn(3, 8)[:, ::2]  # not contiguous
    np.testing.assert_array_equal(Oracle(artifact)(x).numpy(), sct.interpret(artifact, x.numpy()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_floating_point_inputs_are_read_as_float32(artifact, dtype):
    x = torch.randn(3, 4).to(dtype)
    np.testing.assert_array_equal(Oracle(artifact)(x).numpy(), sct.interpret(artifact, x.float().numpy()))


def test_weights_alone_are_refused():
    with pytest.raises(ArtifactError, match="no row for it"):
        Oracle(Artifact(None, {}, {"weights_only": "no row for it"}))


def test_limits_are_passed_on(artifact):
    for limits in ({"max_bytes": 1}, {"max_seconds": 0.0}):
        with pytest.raises(DataError, match="allowed"):
            Oracle(artifact, **limits)(torch.zeros(1, 4))


def test_a_fixed_batch_runs_in_turn_and_several_outputs_are_joined():
    types = {name: ValueType((2, 3)) for name in ("x", "relu", "tanh")}
    nodes = (Node("relu", ("x",), "relu"), Node("tanh", ("x",), "tanh"))
    oracle = Oracle(Artifact(Graph(("x",), ("relu", "tanh"), (), nodes, types), {}))
    x = torch.randn(6, 3)
    relu, tanh = oracle(x)
    torch.testing.assert_close(relu, x.relu())
    torch.testing.assert_close(tanh, x.tanh())
    with pytest.raises(DataError, match="batches of 2 alone"):
        oracle(x[:5])
