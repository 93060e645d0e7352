"""Which operations of a graph run in integers, and why the others do not: one closed table of rules, RULES."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

from secateur.ir.formats import Stored
from secateur.ir.graph import Graph, Node
from secateur.ir.integer import averages, moving, pointwise, products, quantizing
from secateur.ir.integer.dynamic import DYNAMIC, Dynamic
from secateur.ir.integer.integers import Found, Integers
from secateur.ir.integer.site import Lowered, Rule, Site

RULES: Mapping[str, Rule] = {
    "conv": products.LAYER,
    "conv_transpose": products.LAYER,
    "linear": products.LAYER,
    "matmul": products.PRODUCT,
    "fake_quantize": quantizing.REQUANTIZE,
    "relu": pointwise.CUT,
    "relu6": pointwise.CUT,
    "clip": pointwise.CUT,
    "add": pointwise.SUM,
    "sub": pointwise.SUM,
    "mul": pointwise.MULTIPLE,
    "max_pool": moving.LARGEST,
    "adaptive_max_pool": moving.LARGEST,
    "average_pool": averages.AVERAGE,
    "adaptive_average_pool": averages.AVERAGE,
    "mean": averages.REDUCTION,
    "sum": averages.REDUCTION,
    "reshape": moving.MOVING,
    "permute": moving.MOVING,
    "slice": moving.MOVING,
    "expand": moving.MOVING,
    "pad": moving.PAD,
    "concat": moving.CONCAT,
}
"""Operations with a meaning in integers. All others are float32, between dequantizing and quantizing."""

FLOAT = {
    **dict.fromkeys(("softmax", "log_softmax", "sigmoid", "tanh", "silu", "gelu", "elu"), "an exponential or the like"),
    **dict.fromkeys(("layer_norm", "group_norm"), "divides by what it finds in its input"),
    "batch_norm": "a norm that was not folded into a layer",
    "attention": "a softmax stands between its products",
    **dict.fromkeys(("lstm", "gru", "rnn"), "a recurrent layer, whose states are not quantized"),
    **dict.fromkeys(("hardswish", "hardsigmoid"), "a product of its input with itself, or shifted"),
    **dict.fromkeys(("leaky_relu", "prelu"), "a slope, which would be a scale by the sign of the input"),
    "embedding": "picks rows of a table",
    "div": "a quotient",
    "cast": "another type",
}
"""Why an operation without a rule is float32."""

FINDS = "finds its scales at run time"

MOST_COST = 4_000_000_000
SCALE_COST, POSITION_COST = 10_000, 1_000
TOO_LARGE = "the graph has more scales a channel than are derived for one graph"
"""A stranger's graph of few bytes can have billions; a network of a thousand layers has a hundredth of that."""


@dataclass(frozen=True)
class Step:
    """One node: "integer"; "quantize", where float32 becomes codes; or "float", and why. `dynamic` in place of
    `lowered` where scales are found at run time."""

    node: Node
    arithmetic: str
    reason: str = ""
    lowered: Lowered | None = None
    dynamic: Dynamic | None = None


@dataclass(frozen=True)
class Program:
    """A graph in integers, a step a node in its order. held: value -> what its integers stand for; found: the same
    where scales are found at run time."""

    graph: Graph
    steps: tuple[Step, ...]
    held: Mapping[str, Integers]
    found: Mapping[str, Found] = field(default_factory=dict)


def lower(graph: Graph, tensors: Mapping[str, Stored]) -> Program:
    """The program of a verified graph whose constants are among these tensors; its maps' scales were checked."""
    constants = {name: tensors[name] for name in graph.constants}
    held: dict[str, Integers] = {}
    found: dict[str, Found] = {}
    steps: list[Step] = []
    readers, cost = graph.consumers(), 0
    for node in graph.nodes:
        site = Site(node, graph, constants, held, readers, found)
        cost += _cost(site)
        step = _step(site, affordable=cost <= MOST_COST)
        steps.append(step)
        if step.lowered is not None:
            held[node.output] = step.lowered.result
        if step.dynamic is not None and step.dynamic.result is not None:
            found[node.output] = step.dynamic.result
    return Program(graph, tuple(steps), held, found)


def _cost(site: Site) -> int:
    """About the nanoseconds that deriving a step takes, by the weights it sums, its scales, and their positions."""
    weights = sum(prod(site.graph.types[name].shape) for name in site.node.inputs if name in site.tensors)
    inputs = [site.held[name] for name in site.node.inputs if name in site.held]
    by_channel = weights > 1 or any(x.places is not None for x in inputs)
    positions = max(map(abs, site.output), default=1) if by_channel and inputs else 0
    return weights + SCALE_COST * sum(len(x.scales) for x in inputs) + POSITION_COST * positions


def _step(site: Site, *, affordable: bool) -> Step:
    rule = RULES.get(site.node.op)
    if site.node.op in DYNAMIC and (rule is None or not site.found.keys().isdisjoint(site.node.inputs)):
        dynamic = DYNAMIC[site.node.op].lower(site) if affordable else TOO_LARGE
        if isinstance(dynamic, str):
            return Step(site.node, "float", dynamic)
        quantizes = site.node.op == "dynamic_quantize"
        return Step(site.node, "quantize" if quantizes else "integer", FINDS if quantizes else "", None, dynamic)
    if rule is None:
        return Step(site.node, "float", FLOAT[site.node.op])
    if site.graph.types[site.node.output].dtype != "float32":
        return Step(site.node, "float", "works on indices or masks")
    lowered = rule.lower(site) if affordable else TOO_LARGE
    if isinstance(lowered, Lowered):
        return Step(site.node, "integer", "", lowered)
    if site.node.op == "fake_quantize":
        return Step(site.node, "quantize", lowered, quantizing.codes_of_floats(site))
    return Step(site.node, "float", lowered)
