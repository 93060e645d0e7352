"""bridge.stored_maps: which quantizers make maps of bytes, and what the others say."""

import pytest
import torch
from torch import fx, nn

from secateur.bridge.stored_maps import byte_map, why_no_bytes
from secateur.ir.rules import Quantize
from secateur.kernels.byte_maps import ByteMap
from secateur.nn.dynamic_map import DynamicMap
from secateur.nn.map_quantize import FrozenMap, MapQuantize


def learned(hard):
    found = MapQuantize(Quantize(bits=8), True, 6)
    found.start(127.0)
    if hard:
        found.harden(8)
    return found


def hooked():
    found = FrozenMap(0.5, 8, False)
    found.register_forward_hook(lambda *_: None)
    return found


def dynamic():
    found = DynamicMap(Quantize(bits=8), True, 6, "row")
    found.harden(8)
    return found


QUANTIZERS = {
    "frozen": (lambda: FrozenMap(0.5, 8, False), ByteMap(0.5), ""),
    "hardened": (lambda: learned(True), ByteMap(1.0, signed=True), ""),
    "learning": (lambda: learned(False), None, "still learned"),
    "narrow": (lambda: FrozenMap(0.5, 4, False), None, "has 4 bits"),
    "by row": (lambda: FrozenMap(0.5, 8, True, "row"), None, "at run time"),
    "dynamic": (dynamic, None, "at run time"),
    "hooked": (hooked, None, "hooks"),
}


@pytest.mark.parametrize("word", QUANTIZERS)
def test_every_quantizer(word):
    make, wanted, why = QUANTIZERS[word]
    graph = fx.GraphModule(model := nn.Sequential(make()), _graph(model))
    node = next(node for node in graph.graph.nodes if node.op == "call_module")
    assert byte_map(node, graph) == wanted
    found = why_no_bytes(node, graph)
    assert found is not None
    assert why in found
    assert (found == "") == (wanted is not None)


def _graph(model):
    graph = fx.Graph()
    graph.output(graph.call_module("0", (graph.placeholder("x"),)))
    return graph


def test_what_is_no_quantizer():
    graph = fx.symbolic_trace(nn.Sequential(nn.ReLU()))
    assert [why_no_bytes(node, graph) for node in graph.graph.nodes] == [None, None, None]
    assert byte_map(None, graph) is None
    assert torch.equal(graph(torch.ones(2)), torch.ones(2))
