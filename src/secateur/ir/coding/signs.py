"""Floating-point values whose signs are coded by those beside them: in a layer that reads images, filters are smooth.

The magnitudes are a stream of `floats`. Then every sign is one adaptive decision, under what is known before it: the
signs to the left and above in the image, and the balance of the signs of its row so far.
"""

from __future__ import annotations

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir.coding.floats import decode_floats, encode_floats
from secateur.ir.coding.images import Image, best_image, matrix_shape
from secateur.ir.coding.range_coder import Decoder, Encoder, Models, affordable
from secateur.ir.coding.varint import Bytes, Reader, varint

MOST_VALUES = 50_000  # a tenth of a second of plain Python
BALANCE = 2  # rows with more of one sign than this are alike
CONTEXTS = 3 * (2 * BALANCE + 1)
US_A_SIGN = 2

Where = tuple[np.ndarray, tuple[int, ...]]
"""Where values lie: strictly increasing flat positions, and the shape of their tensor."""


def encode_signs(values: np.ndarray, where: Where) -> bytes | None:
    """The stream, or None for other dtypes and for more values than plain Python does quickly."""
    positions, shape = where
    if values.dtype.kind != "f" or not 0 < values.size <= MOST_VALUES:
        return None
    magnitudes = encode_floats(np.abs(values))
    if magnitudes is None:
        return None
    image, (_, columns) = best_image(positions, shape), matrix_shape(shape)
    encoder, models, contexts = Encoder(), Models(CONTEXTS), _Contexts(image, columns)
    for position, negative in zip(positions.tolist(), np.signbit(values).tolist(), strict=True):
        encoder.bit(models, contexts.at(position), negative)
        contexts.learn(position, negative)
    stream = image.to_bytes() + varint(len(magnitudes)) + magnitudes + encoder.finish()
    return stream if affordable(US_A_SIGN * values.size, len(stream)) else None


def decode_signs(stream: Bytes, dtype: str, count: int, where: Where) -> np.ndarray:
    """The `count` values; ArtifactError on any stream that `encode_signs` does not write."""
    positions, shape = where
    if not 0 < count <= MOST_VALUES:
        raise ArtifactError(f"damaged artifact: {count} values are not coded with their signs apart")
    if not affordable(US_A_SIGN * count, len(stream)):
        raise ArtifactError(f"damaged artifact: {len(stream)} bytes are too few for {count} signs")
    reader, (_, columns) = Reader(stream), matrix_shape(shape)
    image = Image.read(reader, columns)
    values = decode_floats(reader.take(reader.varint()), dtype, count)
    decoder, models, contexts = Decoder(reader.rest()), Models(CONTEXTS), _Contexts(image, columns)
    signs = []
    for position in positions.tolist():
        negative = decoder.bit(models, contexts.at(position))
        contexts.learn(position, negative)
        signs.append(negative)
    decoder.finish()
    if np.signbit(values).any():
        raise ArtifactError("damaged artifact: a magnitude of a tensor has a sign")
    return np.where(np.array(signs, dtype=np.bool_), -values, values)


class _Contexts:
    """What is known before each sign of a tensor."""

    __slots__ = ("balance", "columns", "image", "row", "signs")

    def __init__(self, image: Image, columns: int) -> None:
        self.image, self.columns = image, columns
        self.row, self.balance = -1, 0
        self.signs: dict[int, int] = {}  # of this row, by column

    def at(self, position: int) -> int:
        """The context of the sign at a position, not before the last one."""
        row, column = divmod(position, self.columns)
        if row != self.row:
            self.row, self.balance, self.signs = row, 0, {}
        near = sum(self.signs.get(other, 0) for other in self.image.before(column))
        return ((near > 0) - (near < 0) + 1) * (2 * BALANCE + 1) + max(-BALANCE, min(BALANCE, self.balance)) + BALANCE

    def learn(self, position: int, negative: int) -> None:
        sign = -1 if negative else 1
        self.signs[position % self.columns] = sign
        self.balance += sign
