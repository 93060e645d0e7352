"""What the code of a fast convolution is told about a layer, in one record, and where things lie in the workspace.

A block of tiles goes through three stages. Transformed input: [point][channel block][tile][lane]; products:
[point][output channel block][tile][lane]; weights: [point][panel][channel][output channel of the panel]. A point is one
product of the algorithm, a channel block `lanes` channels, a panel the output channels of one register tile.
"""

from __future__ import annotations

from secateur.kernels.memory import CACHE_LINE_BYTES
from secateur.kernels.record import Record

LAYER = Record(
    *("height", "width", "image_bytes", "row_bytes", "pixel_bytes"),
    *("channels", "channel_blocks", "pad_top", "pad_left", "step_rows", "step_columns"),
    *("out_height", "out_width", "out_image_bytes", "out_row_bytes", "out_pixel_bytes"),
    *("out_channels", "out_blocks", "panels", "chunk_panels"),
    *("tile_columns", "image_tiles", "tiles", "block_tiles", "blocks"),
    *("v_point_bytes", "m_point_bytes", "block_bytes"),
    *("weight_point_bytes", "weight_panel_bytes", "m_offset_bytes", "group_bytes", "shared", "stages"),
    *("parts", "points"),
    *("weights", "bias", "slope", "input_stage", "output_stage"),
)
"""Sizes in elements, distances in bytes, addresses. `step_rows`, `step_columns`: pixels of the input from tile to
tile. `shared`: all threads work on one block at a time (1), or each takes blocks of its own (0). `stages`: which of the
STAGES run, as bits."""
CALL = Record("source", "target", "residual", "workspace", *(f"_{i}" for i in range(4)), "next_block", "arrived")
"""What differs between calls; the last two are counters between threads and start at 0."""
STAGES = {"input": 1, "products": 2, "output": 4}


def spread(size_bytes: int) -> int:
    """At least size_bytes, an odd number of cache lines: places this far apart take all sets of a cache in turn."""
    return -(-size_bytes // CACHE_LINE_BYTES) // 2 * 2 * CACHE_LINE_BYTES + CACHE_LINE_BYTES
