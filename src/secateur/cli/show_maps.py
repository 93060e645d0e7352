"""What `secateur show` says of maps and arithmetic: bits, bytes, and which operations run in integers or why not."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from secateur.ir.artifact import Artifact
from secateur.ir.bit_count import MapBytes, count_bits
from secateur.ir.count import Count
from secateur.ir.execute import has_maps, integer_layers
from secateur.ir.map_names import keys_in, name_of
from secateur.ir.ops.sizes import show as show_shape


def maps_data(artifact: Artifact, counted: Count) -> dict[str, Any]:
    """Members of the graph's data; `arithmetic` is empty for a network without quantized maps."""
    assert artifact.graph is not None
    bits = count_bits(artifact.graph, artifact.tensors, counted)
    rows = integer_layers(artifact) if has_maps(artifact.graph) else ()
    named = {output: name_of(key) for output, key in keys_in(artifact.graph).items()}
    largest = bits.largest_map
    return {
        "bit_operations": bits.bit_operations,
        "map_bit_operations": bits.map_bit_operations,
        "largest_map_bytes": largest.bytes if largest else 0,
        "largest_map": _map(largest, named) if largest else None,
        "layers": [dataclasses.asdict(row) for row in bits.layers],
        "maps": [_map(row, named) for row in bits.maps],
        "arithmetic": [dataclasses.asdict(row) for row in rows],
    }


def _map(row: MapBytes, named: Mapping[str, str]) -> dict[str, Any]:
    """A map's row, and the name it has in the plan: None where it is not quantized, or nobody said."""
    return {**dataclasses.asdict(row), "map": named.get(row.name)}


def maps_lines(graph: Mapping[str, Any]) -> list[str]:
    """The same in words, of one example."""
    lines = [
        f"bit operations: {graph['bit_operations']:,} (MACs on non-zero weights x bits of both; float32 counts 32)"
    ]
    if products := graph["map_bit_operations"]:
        lines.append(f"bit operations of products of maps: {products:,}, not in those on weights")
    if largest := graph["largest_map"]:
        what = f"{largest['map'] or largest['name']} {show_shape(largest['shape'])}"
        lines.append(f"largest map: {what}, {largest['bits']} bits, {largest['bytes']:,} bytes")
    if rows := graph["arithmetic"]:
        whole = sum(row["arithmetic"] == "integer" for row in rows)
        lines.append(f"arithmetic: {whole} of {len(rows)} operations in integers; the others:")
        lines += [
            f"  {row['name']} {'quantizes float32' if row['arithmetic'] == 'quantize' else 'float32'}: {row['reason']}"
            for row in rows
            if row["arithmetic"] != "integer"
        ]
    return lines
