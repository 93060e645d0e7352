"""zstd (RFC 8878) frames without magic number, checksum or content size: the container announces and checks sizes."""

from __future__ import annotations

import zstandard
from zstandard import ZstdCompressionDict

from secateur.errors import ArtifactError
from secateur.ir.coding.varint import Bytes

WINDOW_BYTES = 1 << 20  # what a frame may make its reader keep beside the result; `squeeze` never needs more
SMALL_BYTES = 1 << 16
LEVEL = 19
# What is large here is noise with uneven bytes, where only the entropy coder earns anything: a short search for long
# matches comes within 0.1 % of level 19 in a tenth of its time (measured on exponents of weights and on masks).
LARGE = {
    "strategy": zstandard.STRATEGY_BTOPT,
    "window_log": 17,
    "chain_log": 10,
    "hash_log": 10,
    "search_log": 1,
    "min_match": 6,
    "target_length": 16,
}


def squeeze(data: bytes, dictionary: ZstdCompressionDict | None = None) -> bytes:
    """One frame holding `data`."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL,
        source_size=len(data),
        format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        write_content_size=0,
        write_checksum=0,
        write_dict_id=0,
        **(LARGE if len(data) > SMALL_BYTES else {}),
    )
    return zstandard.ZstdCompressor(dict_data=dictionary, compression_params=parameters).compress(data)


def unsqueeze(frame: Bytes, size: int, dictionary: ZstdCompressionDict | None = None) -> bytes:
    """The `size` bytes of one frame. Allocates little more than `size`; ArtifactError unless it holds exactly that."""
    try:
        found = zstandard.get_frame_parameters(frame, format=zstandard.FORMAT_ZSTD1_MAGICLESS)
        if found.content_size not in (zstandard.CONTENTSIZE_UNKNOWN, size):
            raise ArtifactError(f"damaged artifact: a frame announces {found.content_size} bytes where {size} belong")
        if found.window_size > max(WINDOW_BYTES, size):
            raise ArtifactError(f"damaged artifact: a stream of {size} bytes asks for {found.window_size} of memory")
        decompressor = zstandard.ZstdDecompressor(dict_data=dictionary, format=zstandard.FORMAT_ZSTD1_MAGICLESS)
        data = decompressor.decompress(frame, max_output_size=max(size, 1), allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ArtifactError(f"damaged artifact: a compressed stream of {size} bytes does not decode") from error
    if len(data) != size:
        raise ArtifactError(f"damaged artifact: a compressed stream holds {len(data)} bytes where {size} belong")
    return data
