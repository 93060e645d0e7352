"""Operations that move or regroup elements and compute nothing."""

from __future__ import annotations

from secateur.errors import GraphError
from secateur.nn.lowering.builder import Builder, Call, Result


def reshape(build: Builder, call: Call) -> str:
    """view, reshape, flatten, squeeze, unsqueeze: the result's shape says it all."""
    return build.reshape(build.value(call["self"]), call.shape)


def squeeze_all(build: Builder, call: Call) -> str:
    """squeeze() without a dimension: torch would also drop a batch of one, the graph never does."""
    x = build.value(call["self"])
    if any(size < 0 for size in build.shape(x)):
        build.note(f"{call.target} {call.where} keeps the batch dimension also for a batch of one")
    return build.reshape(x, call.shape)


def permute(build: Builder, call: Call) -> str:
    """aten.permute."""
    axes = tuple(int(axis) % len(call.shape) for axis in call["dims"])
    return _permuted(build, build.value(call["self"]), axes)


def transpose(build: Builder, call: Call) -> str:
    """aten.transpose and t."""
    x = build.value(call["self"])
    axes = list(range(len(build.shape(x))))
    if "dim0" in call.arguments:
        first, second = int(call["dim0"]), int(call["dim1"])
        axes[first], axes[second] = axes[second], axes[first]
    else:
        axes.reverse()
    return _permuted(build, x, tuple(axes))


def _permuted(build: Builder, x: str, axes: tuple[int, ...]) -> str:
    return x if axes == tuple(range(len(axes))) else build.emit("permute", x, axes=axes)


def expand(build: Builder, call: Call) -> str:
    """aten.expand and expand_as."""
    return build.expand(build.value(call["self"]), call.shape)


def repeat(build: Builder, call: Call) -> str:
    """aten.repeat and tile: copies side by side."""
    x = build.value(call["self"])
    repeats = tuple(call["repeats"] if "repeats" in call.arguments else call["dims"])
    x = build.reshape(x, (1,) * (len(repeats) - len(build.shape(x))) + build.shape(x))
    for axis, count in enumerate(repeats, len(build.shape(x)) - len(repeats)):
        if build.shape(x)[axis] == 1 and count != 1:
            shape = build.shape(x)
            x = build.expand(x, (*shape[:axis], call.shape[axis], *shape[axis + 1 :]))
        elif not isinstance(count, int):
            raise GraphError("repeats an axis as often as the batch is long: add a dimension and expand it")
        elif count != 1:
            x = build.emit("concat", *(x,) * count, axis=axis)
    return x


def slice_(build: Builder, call: Call) -> str:
    """aten.slice: torch cuts ends off to the length and counts negative ones from the back."""
    x = build.value(call["self"])
    axis = int(call["dim"]) % len(build.shape(x))
    size = build.shape(x)[axis]
    start, stop, step = call["start"], call["end"], call["step"]
    if size < 0 and call.shape == build.shape(x) and step == 1:
        return x
    if size < 0 or not (isinstance(start, int | None) and isinstance(stop, int | None)):
        raise GraphError("slices the batch, or by its size: do that outside the model")
    start, stop, step = slice(start, stop, step).indices(size)
    return build.slice(x, axis, start, stop, step)


def select(build: Builder, call: Call) -> str:
    """aten.select: one element of an axis, which goes away."""
    x = build.value(call["self"])
    axis = int(call["dim"]) % len(build.shape(x))
    size = build.shape(x)[axis]
    if size < 0 or not isinstance(call["index"], int):
        raise GraphError("picks one example of the batch, or by its size: do that outside the model")
    return _picked(build, x, axis, call["index"] % size)


def _picked(build: Builder, x: str, axis: int, index: int) -> str:
    shape = build.shape(x)
    return build.reshape(build.slice(x, axis, index, index + 1), (*shape[:axis], *shape[axis + 1 :]))


def split(build: Builder, call: Call) -> Result:
    """aten.split, split_with_sizes, chunk: a slice each, as long as the results say."""
    x = build.value(call["self"])
    axis = int(call["dim"]) % len(build.shape(x))
    pieces: list[str] = []
    start = 0
    for result in call.types:
        if result is None or result.shape[axis] < 0:
            raise GraphError("splits the batch: do that outside the model")
        pieces.append(build.slice(x, axis, start, start + result.shape[axis]))
        start += result.shape[axis]
    return tuple(pieces)


def unbind(build: Builder, call: Call) -> Result:
    """aten.unbind: a select each."""
    x = build.value(call["self"])
    axis = int(call["dim"]) % len(build.shape(x))
    if build.shape(x)[axis] < 0:
        raise GraphError("takes the batch apart: do that outside the model")
    return tuple(_picked(build, x, axis, index) for index in range(len(call.types)))


def concat(build: Builder, call: Call) -> str:
    """aten.cat. Empty one-dimensional tensors, which torch allows in the list, are left out."""
    rank = len(call.shape)
    names = [build.value(item) for item in call["tensors"]]
    names = [name for name in names if build.shape(name) != (0,)]
    return _joined(build, call, names, int(call["dim"]) % rank)


def stack(build: Builder, call: Call) -> str:
    """aten.stack: concat along a new axis."""
    axis = int(call["dim"]) % len(call.shape)
    names = [build.value(item) for item in call["tensors"]]
    shape = build.shape(names[0])
    return _joined(build, call, [build.reshape(name, (*shape[:axis], 1, *shape[axis:])) for name in names], axis)


def _joined(build: Builder, call: Call, names: list[str], axis: int) -> str:
    names = [build.cast(name, call.type.dtype) for name in names]
    return names[0] if len(names) == 1 else build.emit("concat", *names, axis=axis)


def upsample_nearest(build: Builder, call: Call) -> str:
    """aten.upsample_nearestNd by whole factors: every element repeated along each spatial axis."""
    x = build.real(call["input"])
    shape, wanted = build.shape(x), call.shape
    wide, spread = list(shape[:2]), list(shape[:2])
    for have, size in zip(shape[2:], wanted[2:], strict=True):
        if size % have:
            raise GraphError(f"resizes {shape[2:]} to {wanted[2:]}; the graph repeats elements by whole factors only")
        wide += [have, 1]
        spread += [have, size // have]
    return build.reshape(build.expand(build.reshape(x, tuple(wide)), tuple(spread)), wanted)
