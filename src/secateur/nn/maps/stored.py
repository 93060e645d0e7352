"""Quantized feature maps of an artifact: those of its graph, or, where it has none, those its header tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from secateur.errors import ArtifactError
from secateur.ir.artifact import Artifact
from secateur.ir.grid import WIDTHS
from secateur.ir.map_names import MAPS, keys_in, scale_key
from secateur.ir.strict_json import JSON
from secateur.nn.map_quantize import FrozenMap

FACT = "maps"
"""Key of the header's facts under which an artifact of weights alone tells its maps."""


@dataclass(frozen=True)
class StoredMap:
    """Width and sign of one map; its scale is a tensor of the artifact."""

    bits: int
    signed: bool


@dataclass(frozen=True)
class StoredMaps:
    """By keys as in `ir.map_names.key_of`; `inputs`: how many the model is called with."""

    maps: Mapping[str, StoredMap]
    inputs: int


def fact_of(maps: Mapping[str, FrozenMap], inputs: int) -> dict[str, JSON]:
    """What the header of an artifact without a graph says of the model's maps: nothing where there are none."""
    told: dict[str, JSON] = {key: [one.bits, one.signed] for key, one in maps.items()}
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
        found[key] = StoredMap(bits, bool(signed))
    return StoredMaps(found, len(graph.inputs))


def _told(artifact: Artifact) -> StoredMaps:
    fact = artifact.meta.get(FACT, {})
    maps, inputs = (fact.get("quantized", {}), fact.get("inputs", 0)) if isinstance(fact, dict) else (None, 0)
    found: dict[str, StoredMap] = {}
    for key, told in maps.items() if isinstance(maps, dict) else [("", None)]:
        bits, signed = told if isinstance(told, list) and len(told) == 2 else (0, 0)
        tensor = artifact.tensors.get(scale_key(key))
        if type(inputs) is not int or type(bits) is not int or bits not in WIDTHS or type(signed) is not bool:
            raise ArtifactError(f"the header says nonsense of the feature maps ({MAPS}): the file is damaged")
        if tensor is None or tensor.shape != ():
            raise ArtifactError(f"the artifact has no {scale_key(key)!r}, one number, the scale of a feature map")
        found[key] = StoredMap(bits, signed)
    assert isinstance(inputs, int)
    return StoredMaps(found, inputs)
