"""What a convolution in torch does besides its tensors, as one line of text: torch operators take no objects."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from torch import nn

from secateur.errors import KernelError
from secateur.kernels.accuracy import accuracy_limit
from secateur.kernels.balanced_choice import ACTIVATIONS, BYTES, FLOAT
from secateur.kernels.byte_maps import FLOATS, ByteMap, ByteMaps
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.shape import ConvShape

Pair = tuple[int, int]
Four = tuple[int, int, int, int]
Size = tuple[int, int, int]


@dataclass(frozen=True)
class ConvLayer:
    """y = activation(conv(x, weight) + bias + residual).

    stride, dilation   rows, columns
    padding            zeros above, below, left, right
    activation, slope  as in `kernels.epilogue.Epilogue`
    accuracy           class of `kernels.accuracy.ACCURACY`
    threads            0: as many as torch has when the layer is called
    sizes              (batch, height, width) of the inputs that a kernel is for, others are left to torch; empty: any
    activations        a row of `kernels.balanced_choice.ACTIVATIONS`
    maps               which of input, output and residual are tensors of codes; with activations in 8 bits alone
    transposed         whether weight is that of the `adjoint`, (c, k / groups, r, s): flipped in space, its channels of
                       input and output exchanged, it is the weight of this convolution
    """

    stride: Pair = (1, 1)
    padding: Four = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    activation: str = "none"
    slope: float = 0.01
    accuracy: str = "default"
    threads: int = 0
    sizes: tuple[Size, ...] = ()
    transposed: bool = False
    activations: str = FLOAT
    maps: ByteMaps = FLOATS

    def __post_init__(self) -> None:
        Epilogue(self.activation)
        accuracy_limit(self.accuracy)
        if self.activation == "leaky_relu" and not self.slope >= 0:
            raise KernelError(f"slope={self.slope} of leaky_relu must not be negative; apply it after the layer")
        if self.activations not in ACTIVATIONS:
            raise KernelError(f"activations={self.activations!r} is none of {', '.join(ACTIVATIONS)}")
        if self.maps != FLOATS and self.activations == FLOAT:
            raise KernelError(f"maps of bytes need activations={BYTES!r}")
        if self.threads < 0:
            raise KernelError(f"threads={self.threads} must be at least 1, or 0 for as many as torch has")
        if self.transposed and self.stride != (1, 1):
            raise KernelError(f"stride={self.stride} of a transposed layer must be (1, 1)")

    def text(self) -> str:
        """One line that `ConvLayer.read` understands."""
        sizes = ";".join("x".join(map(str, size)) for size in self.sizes)
        return (
            f"stride={_joined(self.stride)} padding={_joined(self.padding)} dilation={_joined(self.dilation)} "
            f"groups={self.groups} activation={self.activation} slope={self.slope} accuracy={self.accuracy} "
            f"threads={self.threads} sizes={sizes} transposed={int(self.transposed)} activations={self.activations} "
            f"maps={';'.join(_told(one) for one in (self.maps.takes, self.maps.gives, self.maps.adds))}"
        )

    @staticmethod
    @functools.lru_cache(maxsize=1024)
    def read(text: str) -> ConvLayer:
        """The other way; KernelError where the text is not one of `text`."""
        try:
            words = dict(word.split("=") for word in text.split(" "))
            rows, columns = map(int, words["stride"].split(","))
            down, across = map(int, words["dilation"].split(","))
            top, bottom, left, right = map(int, words["padding"].split(","))
            return ConvLayer(
                stride=(rows, columns),
                padding=(top, bottom, left, right),
                dilation=(down, across),
                groups=int(words["groups"]),
                activation=words["activation"],
                slope=float(words["slope"]),
                accuracy=words["accuracy"],
                threads=int(words["threads"]),
                sizes=tuple(_size(size) for size in words["sizes"].split(";") if size),
                transposed=bool(int(words["transposed"])),
                activations=words["activations"],
                maps=ByteMaps(*map(_map, words["maps"].split(";"))),
            )
        except (KeyError, ValueError) as error:
            raise KernelError(f"{text!r} describes no convolution ({error}); use ConvLayer(...).text()") from error

    def adjoint(self, taps: Pair) -> ConvLayer | None:
        """The convolution that takes the gradient of this one's output to that of its input, for the same weight.

        With y[i] = sum_t w[t] x[i + d t - p] the gradient is g_x[j] = sum_t w[r-1-t] g_y[j + d t - (d (r-1) - p)],
        again a convolution, and its adjoint is this one. None where it is not: stride above 1, padding above d (r-1).
        """
        reach = [d * (r - 1) for d, r in zip(self.dilation, taps, strict=True)]
        top, bottom, left, right = (reach[side // 2] - size for side, size in enumerate(self.padding))
        if self.stride != (1, 1) or min(top, bottom, left, right) < 0:
            return None
        return ConvLayer(
            padding=(top, bottom, left, right),
            dilation=self.dilation,
            groups=self.groups,
            accuracy=self.accuracy,
            threads=self.threads,
            sizes=tuple((n, *self.output_size(h, w, taps)) for n, h, w in self.sizes),
            transposed=not self.transposed,
        )

    def out_channels(self, weight: tuple[int, ...]) -> int:
        """Channels of the output."""
        return weight[1] * self.groups if self.transposed else weight[0]

    def shape(self, x: tuple[int, ...], weight: tuple[int, ...]) -> ConvShape:
        """The kernel's shape for an input (n, c, h, w) and a weight (k, c / groups, r, s), else KernelError."""
        channels_in = weight[0] if self.transposed else weight[1] * self.groups
        if len(x) != 4 or len(weight) != 4 or x[1] != channels_in:
            raise KernelError(f"input {x} and weight {weight} with {self.groups} groups do not fit together")
        channels, taps = (x[1], self.out_channels(weight)), (weight[2], weight[3])
        return ConvShape(x[0], x[2], x[3], *channels, taps, self.stride, self.padding, self.dilation, self.groups)

    def output_size(self, height: int, width: int, taps: Pair) -> Pair:
        """Rows and columns of the output; also for torch's symbolic sizes."""
        rows, columns = (
            (size + before + after - dilation * (r - 1) - 1) // stride + 1
            for size, before, after, dilation, r, stride in (
                (height, *self.padding[:2], self.dilation[0], taps[0], self.stride[0]),
                (width, *self.padding[2:], self.dilation[1], taps[1], self.stride[1]),
            )
        )
        return rows, columns


def _joined(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))


def _told(one: ByteMap | None) -> str:
    return "" if one is None else f"{'int8' if one.signed else 'uint8'}:{one.scale!r}"


def _map(text: str) -> ByteMap | None:
    if not text:
        return None
    kind, scale = text.split(":")
    return ByteMap(float(scale), {"int8": True, "uint8": False}[kind])


def _size(text: str) -> Size:
    n, h, w = map(int, text.split("x"))
    return n, h, w


def zeros_around(conv: nn.Conv1d | nn.Conv2d) -> Four:
    """Zeros that the convolution itself pads with: above, below, left, right. A Conv1d is one row high.

    'same' puts the odd one below and right, as torch does; modes other than zeros are padded before (no zeros here).
    """
    if conv.padding_mode != "zeros" or conv.padding == "valid":
        return (0, 0, 0, 0)
    if conv.padding == "same":
        total = [d * (r - 1) for d, r in zip(conv.dilation, conv.kernel_size, strict=True)]
        sides = [(all_of_it // 2, all_of_it - all_of_it // 2) for all_of_it in total]
    else:
        sides = [(int(size), int(size)) for size in conv.padding]
    (top, bottom), (left, right) = ((0, 0), *sides) if len(sides) == 1 else sides
    return top, bottom, left, right


def plane(numbers: tuple[int, ...]) -> Pair:
    """Per-axis numbers of a Conv1d or Conv2d as those of a Conv2d."""
    return (1, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])
