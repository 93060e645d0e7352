"""Which outputs of a convolution see which taps: rectangles of the output where no tap falls into the padding.

With them a direct convolution needs neither a padded copy nor a test per pixel: every rectangle is a convolution
without padding over a part of the taps.
"""

from __future__ import annotations

from dataclasses import dataclass

from secateur.kernels.shape import ConvShape


@dataclass(frozen=True)
class Segment:
    """Outputs start..stop-1 of one axis, whose taps first..last-1 lie inside the input; none where first == last."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def count(self) -> int:
        """How many outputs."""
        return self.stop - self.start

    @property
    def taps(self) -> int:
        """How many taps each of them sees."""
        return self.last - self.first


def segments(shape: ConvShape, axis: int) -> list[Segment]:
    """Axis 0 (rows) or 1 (columns) cut where the taps inside the input change."""
    size, count = ((shape.height, shape.out_height), (shape.width, shape.out_width))[axis]
    stride, dilation, taps, before = shape.stride[axis], shape.dilation[axis], shape.taps[axis], shape.padding[2 * axis]
    found: list[Segment] = []
    for output in range(count):
        origin = output * stride - before
        first = max(0, -(origin // dilation))
        last = max(first, min(taps, -(-(size - origin) // dilation)))
        first, last = (first, last) if first < last else (0, 0)
        if found and (found[-1].first, found[-1].last) == (first, last):
            found[-1] = Segment(found[-1].start, output + 1, first, last)
        else:
            found.append(Segment(output, output + 1, first, last))
    return found


def flattened(shape: ConvShape) -> ConvShape:
    """The same layer as one long row of pixels where that is possible: 1x1, stride 1, no padding."""
    if shape.taps != (1, 1) or shape.stride != (1, 1) or any(shape.padding):
        return shape
    pixels = shape.batch * shape.height * shape.width
    return ConvShape(
        min(1, pixels), 1, max(1, pixels), shape.in_channels, shape.out_channels, (1, 1), groups=shape.groups
    )
