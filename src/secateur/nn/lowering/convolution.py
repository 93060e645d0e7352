"""Convolution, transposed convolution, and padding."""

from __future__ import annotations

from secateur.errors import GraphError
from secateur.nn.lowering.builder import Builder, Call, per_dimension


def convolution(build: Builder, call: Call) -> str:
    """aten.conv1d, conv2d, conv3d, with padding as numbers or as "same" / "valid".

    Where "same" needs one more zero behind than before (an even kernel), a pad node adds it.
    """
    x, weight, kernel = _operands(build, call)
    stride, dilation = (per_dimension(call[name], len(kernel)) for name in ("stride", "dilation"))
    padding = call["padding"]
    if padding == "same":
        x, padding = _same(build, x, kernel, dilation)
    elif padding == "valid":
        padding = 0
    return build.emit(
        "conv",
        *(x, weight, *_bias(build, call)),
        stride=stride,
        padding=per_dimension(padding, len(kernel)),
        dilation=dilation,
        groups=int(call["groups"]),
    )


def transposed(build: Builder, call: Call) -> str:
    """aten.conv_transpose1d, conv_transpose2d, conv_transpose3d."""
    x, weight, kernel = _operands(build, call)
    spread = {
        name: per_dimension(call[name], len(kernel)) for name in ("stride", "padding", "output_padding", "dilation")
    }
    return build.emit("conv_transpose", x, weight, *_bias(build, call), **spread, groups=int(call["groups"]))


def either(build: Builder, call: Call) -> str:
    """aten.convolution: both in one call."""
    return transposed(build, call) if call["transposed"] else convolution(build, call)


def _operands(build: Builder, call: Call) -> tuple[str, str, tuple[int, ...]]:
    """Input, weight, and the kernel's shape."""
    x, weight = build.real(call["input"]), build.real(call["weight"])
    kernel = build.shape(weight)[2:]
    if len(build.shape(x)) != len(kernel) + 2:
        raise GraphError("convolves one example without a batch dimension: add it")
    return x, weight, kernel


def _bias(build: Builder, call: Call) -> tuple[str, ...]:
    return () if call["bias"] is None else (build.real(call["bias"]),)


def _same(build: Builder, x: str, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    pairs = [(total // 2, total - total // 2) for total in totals]
    if all(before == behind for before, behind in pairs):
        return x, tuple(before for before, _ in pairs)
    return _padded(build, x, pairs, "constant", 0.0), (0,) * len(kernel)


def pad(build: Builder, call: Call) -> str:
    """aten.pad: torch counts pairs from the last dimension; cutting (a negative pad) is a slice."""
    x = build.real(call["self"])
    sizes = [int(size) for size in call["pad"]]
    pairs = list(zip(sizes[::2], sizes[1::2], strict=True))[::-1]
    if min(sizes, default=0) >= 0:
        return _padded(build, x, pairs, str(call["mode"]), float(call["value"] or 0.0))
    if max(sizes) > 0:
        raise GraphError("pads and cuts at once: do one after the other")
    for axis, (before, behind) in enumerate(pairs, len(build.shape(x)) - len(pairs)):
        x = build.slice(x, axis, -before, build.shape(x)[axis] + behind)
    return x


def _padded(build: Builder, x: str, pairs: list[tuple[int, int]], mode: str, value: float) -> str:
    """A pad node over the trailing dimensions; x itself where there is nothing to add."""
    pairs = [(0, 0)] * (len(build.shape(x)) - len(pairs)) + pairs
    if not any(map(any, pairs)):
        return x
    return build.emit("pad", x, pads=tuple(size for pair in pairs for size in pair), mode=mode, value=value)
