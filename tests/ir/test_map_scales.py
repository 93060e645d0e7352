"""Scales of quantized maps: whatever a file says, they are positive, finite float16 numbers, one a map."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from random_networks import Net

from secateur.errors import ArtifactError
from secateur.ir.artifact import Artifact
from secateur.ir.formats import Dense, Stored
from secateur.ir.graph import Graph


def network(scale: Any = 0.125) -> tuple[Graph, dict[str, Stored]]:
    net = Net(-1, 4)
    x = net.quantize(net.add("relu", net.linear("x", "first", 5)), "map", 0.125, signed=False)
    net.linear(x, "second", 3)
    tensors: dict[str, Stored] = {name: Dense(array) for name, array in net.constants.items()}
    tensors["map.scale"] = Dense(np.asarray(scale, np.float32))
    return net.graph("v3"), tensors


@pytest.mark.parametrize("scale", [2.0**-24, 0.0999755859375, 1.0, 65504.0])
def test_float16_numbers_come_back(scale: float):
    artifact = Artifact(*network(scale))
    assert Artifact.from_bytes(artifact.to_bytes()) == artifact


@pytest.mark.parametrize("scale", [0.0, -0.0, -1.0, float("nan"), float("inf"), 0.1, 1e6, 1e-9, 65519.0])
def test_what_is_no_scale_is_refused_when_made_and_when_loaded(scale: float, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ArtifactError, match=r"scale 'map.scale' of a map is .*positive, finite and a float16 number"):
        Artifact(*network(scale))
    with monkeypatch.context() as patch:
        patch.setattr("secateur.ir.artifact.check_map_scales", lambda *_: None)
        hostile = Artifact(*network(scale)).to_bytes()
    with pytest.raises(ArtifactError, match="must be positive, finite"):
        Artifact.from_bytes(hostile)


def test_a_scale_a_channel_or_one_that_is_computed_is_refused():
    with pytest.raises(ArtifactError, match=r"float32 \(3,\), the graph expects float32 \(\)"):
        Artifact(*network(np.ones(3)))
    net = Net(-1, 4)
    scale = net.add("sum", net.constant("parts", np.ones(2)), axes=(0,), keepdims=False)
    net.add("fake_quantize", "x", scale, bits=4, signed=True)
    with pytest.raises(ArtifactError, match="scale of 'v1' is computed, by 'v0': store it as a constant"):
        Artifact(net.graph("v1"), {"parts": Dense(net.constants["parts"])})


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"bits": 0, "signed": False}, "2 to 8 bits, not 0"),
        ({"bits": 99, "signed": False}, "2 to 8 bits, not 99"),
        ({"bits": 3}, "lacks its attribute 'signed'"),
        ({"bits": 3.0, "signed": False}, "must be an int"),
        ({"bits": 3, "signed": 1}, "must be a bool"),
        ({"bits": 3, "signed": False, "zero": 0}, "has no attribute 'zero'"),
    ],
)
def test_damaged_attributes_are_refused(attributes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch):
    graph, tensors = network()
    nodes = tuple(
        type(node)(node.op, node.inputs, node.output, attributes) if node.op == "fake_quantize" else node
        for node in graph.nodes
    )
    damaged = Graph(graph.inputs, graph.outputs, graph.constants, nodes, graph.types)
    with monkeypatch.context() as patch:
        patch.setattr("secateur.ir.graph_json._verify", lambda *_: None)
        hostile = Artifact(damaged, tensors).to_bytes()
    with pytest.raises(ArtifactError, match=message):
        Artifact.from_bytes(hostile)
