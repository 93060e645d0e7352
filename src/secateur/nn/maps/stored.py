"""Quantized feature maps of an artifact: those of its graph, or, where it has none, those its header tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from secateur.errors import ArtifactError
from secateur.ir.artifact import Artifact
from secateur.ir.graph import Graph, Node
from secateur.ir.grid import WIDTHS
from secateur.ir.map_names import MAPS, keys_in, scale_key
from secateur.ir.plan_rows import EXAMPLE, ROW, scaled_axes
from secateur.ir.strict_json import JSON
from secateur.nn.map_quantize import FrozenMap

FACT = "maps"
"""Key of the header's facts under which an artifact of weights alone tells its maps."""


@dataclass(frozen=True)
class StoredMap:
    """Width and sign of one map; its scale is a tensor of the artifact. per: what a scale found at run time is for, ""
    where the stored one is the scale."""

    bits: int
    signed: bool
    per: str = ""


@dataclass(frozen=True)
class StoredMaps:
    """By keys as in `ir.map_names.key_of`; `inputs`: how many the model is called with."""

    maps: Mapping[str, StoredMap]
    inputs: int


def fact_of(maps: Mapping[str, FrozenMap], inputs: int) -> dict[str, JSON]:
    """What the header of an artifact without a graph says of the model's maps: nothing where there are none."""
    told: dict[str, JSON] = {key: [one.bits, one.signed, *([one.per] if one.per else [])] for key, one in maps.items()}
    return {FACT: {"inputs": inputs, "quantized": told}} if told else {}


def stored_maps(artifact: Artifact) -> StoredMaps:
    """The maps that an artifact quantizes. ArtifactError for a header that tells nonsense of them."""
    graph = artifact.graph
    if graph is None:
        return _told(artifact)
    nodes, found = graph.producers(), dict[str, StoredMap]()
    for output, key in keys_in(graph).items():
        bits, signed = nodes[output].attributes["bits"], nodes[output].attributes["signed"]
        assert isinstance(bits, int)  # the graph is verified
        found[key] = StoredMap(bits, bool(signed), _per(graph, nodes[output]))
    return StoredMaps(found, len(graph.inputs))


def _per(graph: Graph, node: Node) -> str:
    if node.op != "dynamic_quantize":
        return ""
    rank = len(graph.types[node.output].shape)
    for per in (ROW, EXAMPLE):
        if node.attributes["axes"] == scaled_axes(per, rank):
            return per
    raise ArtifactError(
        f"a scale of {node.output!r} is neither a row's nor an example's: no torch quantizer is like it"
    )


def _told(artifact: Artifact) -> StoredMaps:
    fact = artifact.meta.get(FACT, {})
    maps, inputs = (fact.get("quantized", {}), fact.get("inputs", 0)) if isinstance(fact, dict) else (None, 0)
    found: dict[str, StoredMap] = {}
    for key, told in maps.items() if isinstance(maps, dict) else [("", None)]:
        one = _map(told)
        if type(inputs) is not int or one is None:
            raise ArtifactError(f"the header says nonsense of the feature maps ({MAPS}): the file is damaged")
        tensor = artifact.tensors.get(scale_key(key))
        if tensor is None or tensor.shape != ():
            raise ArtifactError(f"the artifact has no {scale_key(key)!r}, one number, the scale of a feature map")
        found[key] = one
    assert isinstance(inputs, int)
    return StoredMaps(found, inputs)


def _map(told: JSON) -> StoredMap | None:
    """A map as the header tells it; None for nonsense."""
    bits, signed, per = (*told, "")[:3] if isinstance(told, list) and len(told) in (2, 3) else (0, 0, "")
    if type(bits) is not int or bits not in WIDTHS or type(signed) is not bool or type(per) is not str:
        return None
    fits = per in (ROW, EXAMPLE) if isinstance(told, list) and len(told) == 3 else not per
    return StoredMap(bits, signed, per) if fits else None
