"""A trained network in integers and in floats: the same choice, codes apart by one where a value lies at a half."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import secateur as sct
from bench_integer import NETWORKS, batches, compared, images, quantized, watched_outputs
from secateur.ir.artifact import Artifact
from secateur.ir.bit_count import count_bits
from secateur.ir.count import count
from secateur.ir.graph import Node
from secateur.ir.integer import run
from secateur.nn.map_sites import maps_of

torch.set_num_threads(1)
IMAGES = 500


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, Artifact]:
    """A residual block, joined branches, an average, a mean: half an epoch, 4 bits everywhere; hardened, and packed."""
    return quantized("branches", 4, 0, 0.5)


@pytest.fixture(scope="module")
def artifact(trained: tuple[nn.Module, Artifact]) -> Artifact:
    return Artifact.from_bytes(trained[1].to_bytes())


@pytest.fixture(scope="module")
def finer() -> Artifact:
    """The same with 6 bits: with 4 hardly a value in ten million lies that near to a half."""
    return Artifact.from_bytes(quantized("branches", 6, 0, 0.25)[1].to_bytes())


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return images("test")[0][:IMAGES].numpy()


def test_all_but_the_input_s_quantizer_runs_in_integers(artifact: Artifact):
    rows = sct.integer_layers(artifact)
    assert [(row.arithmetic, row.op) for row in rows if row.arithmetic != "integer"] == [("quantize", "fake_quantize")]
    ops = {row.op for row in rows}
    assert {"conv", "linear", "add", "concat", "average_pool", "mean", "relu"} <= ops


def test_integers_choose_what_floats_choose(artifact: Artifact, x: np.ndarray):
    found = compared(artifact, x)
    assert found["same_arg_max"] >= 0.998
    assert found["codes_apart"] < 1e-4
    assert found["most_steps_apart"] <= 2
    assert found["largest_difference"] <= found["last_scale"]
    assert 0 < found["mean_difference"] < 1e-3 * found["largest_output"]


def test_a_code_differs_where_the_exact_value_lies_at_a_half(finer: Artifact, x: np.ndarray, monkeypatch):
    """In the first map of an image that differs, the inputs were the same codes: float32's rounding of the sum, and
    that of the bias and the multiplier here, decided on which side of the half it fell."""
    graph, seen = finer.graph, {}
    assert graph is not None
    inner = run._run

    def watched(program, step, *arguments):
        seen[step.node.output] = inner(program, step, *arguments)
        return seen[step.node.output]

    maps = [node for node in graph.nodes if node.op == "fake_quantize"]
    every = tuple(dict.fromkeys((*(node.output for node in maps), *graph.outputs)))
    whole = Artifact(type(graph)(graph.inputs, every, graph.constants, graph.nodes, graph.types), finer.tensors)
    floats = watched_outputs(whole, x, "float")
    monkeypatch.setattr(run, "_run", watched)
    sct.interpret(finer, x)
    same = np.ones(IMAGES, bool)
    explained = 0
    for node in maps[1:]:
        scale = finer.constants[node.inputs[1]]
        apart = seen[node.output] != np.rint(floats[node.output] / scale)
        new = apart & same.reshape(-1, *(1,) * (apart.ndim - 1))
        places = exact_places(finer, node, seen[node.inputs[0]])[new]
        distance = np.abs(places - np.floor(places) - 0.5)
        assert distance.max(initial=0.0) < 1e-3
        explained += int(new.sum())
        same &= ~apart.reshape(IMAGES, -1).any(axis=1)
    assert explained > 0
    assert same.mean() > 0.5


def exact_places(artifact: Artifact, node: Node, integers: np.ndarray) -> np.ndarray:
    """Where integers lie on the grid of a quantizer, in float64."""
    held = artifact.program.held[node.inputs[0]]
    steps = np.array([float(scale) for scale in held.scales])[held.where(integers.shape[1])]
    steps = steps.reshape(1, -1, *(1,) * (integers.ndim - 2)) if held.axis == 1 else steps[0]
    return integers * steps / artifact.constants[node.inputs[1]].astype(np.float64)


def test_the_hardened_torch_model_chooses_the_same(trained: tuple[nn.Module, Artifact], x: np.ndarray):
    model, artifact = trained
    with torch.no_grad():
        theirs = model(torch.from_numpy(x)).numpy()
    ours, real = sct.interpret(artifact, x), sct.interpret(artifact, x, arithmetic="float")
    assert (ours.argmax(1) == theirs.argmax(1)).mean() >= 0.998
    assert np.median(np.abs(real - theirs).max(1)) < 1e-4 * np.abs(theirs).max()
    assert np.median(np.abs(ours - theirs).max(1)) < 1e-3 * np.abs(theirs).max()


@pytest.mark.parametrize("name", NETWORKS)
def test_what_harden_counts_is_what_the_file_holds(name: str):
    """Bit operations and the largest map, to the unit, where no weight was pruned by chance of a dead unit."""
    torch.manual_seed(0)
    model, rule = NETWORKS[name](), sct.Quantize(bits=4)
    sct.prepare_(model, sct.plan(model, images("train")[0][:2], quantize=rule, maps=rule))
    for x, _ in batches(1, 0.02):
        model.train()(x)
    for site in maps_of(model):
        site.quantizer.start()
    hardened = sct.harden_(model, sct.Target(bit_operations=10**12))
    artifact = sct.pack(model, images("train")[0][:2])
    assert artifact.graph is not None
    found = count_bits(artifact.graph, artifact.tensors, count(artifact.graph, artifact.constants))
    assert found.bit_operations == hardened.bit_operations
    assert found.largest_map is not None
    assert found.largest_map.bytes == hardened.largest_map_bytes
    assert len(found.maps) == len(maps_of(model))
