"""Kernels with the packed weights of torch tensors that are alive: gone with the tensor, packed anew when it changes.

A kernel's weights are known by the tensor they came from, by its memory and by its version, which torch raises with
every change in place, also one by compiled code. Like autograd, this cannot see a change through `.data`:
`forget(weight)` is for that.
"""

from __future__ import annotations

import os
import threading
import weakref
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from secateur.bridge.gradient_choice import against_torch
from secateur.bridge.layer import ConvLayer
from secateur.bridge.map_bytes import dtype_of_map
from secateur.errors import KernelError
from secateur.kernels.byte_maps import ByteMap
from secateur.kernels.conv import Conv2dKernel, ConvOptions
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.shape import ConvShape

SHAPES = 8
"""A weight has kernels for at most so many shapes of input; others are left to torch. Each holds packed weights."""
NOTED = 4 * SHAPES
"""For at most so many shapes it is remembered what computes them."""
Size = tuple[int, ...]
Key = tuple[str, Size, int, int, bool]
"""Text of the layer, shape of the input, identity of the bias, threads, whether there is a residual."""
Request = tuple[ConvShape, Epilogue, ConvOptions]
Stamp = tuple[int, int, int, int]
"""Memory and version of weight and bias."""
FLOATS_ALONE = torch.float32, torch.float32, torch.float32


@dataclass(frozen=True)
class Kept:
    """A kernel, the size (n, k, h, w) of its output and the dtypes of input, output and residual, or why there is none;
    and what its weights came from.

    The storages are held so that no other weight can be at the same address.
    """

    kernel: Conv2dKernel | None
    size: tuple[int, ...]
    dtypes: tuple[torch.dtype, torch.dtype, torch.dtype]
    reason: str
    stamp: Stamp
    storages: tuple[object, ...]


class Kernels:
    """Kernels by weight."""

    def __init__(self) -> None:
        self._by_weight: dict[int, tuple[weakref.ref[Tensor], dict[Key, Kept]]] = {}
        self._lock = threading.RLock()
        os.register_at_fork(before=self._lock.acquire, after_in_parent=self._lock.release, after_in_child=self._renew)

    def find(self, x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, text: str) -> Kept:
        """The kernel for weights in float32 on the CPU, made or packed anew where that is needed."""
        key = (text, x.shape, id(bias), torch.get_num_threads(), residual is not None)
        found = self._known(key, weight, bias)
        if found is not None:
            return found
        with self._lock:
            return self._made(key, weight, bias)

    def ready(self, like: tuple[str, Size, bool], weight: Tensor, bias: Tensor | None) -> Kept | None:
        """What was found before for a layer's text, a size of input, with a residual or without, if it has a kernel and
        the weights are unchanged: so they are still float32 and on the CPU. Nothing is made."""
        text, size, residual = like
        found = self._known((text, size, id(bias), torch.get_num_threads(), residual), weight, bias)
        return None if found is None or found.kernel is None else found

    def _known(self, key: Key, weight: Tensor, bias: Tensor | None) -> Kept | None:
        entry = self._by_weight.get(id(weight))
        found = None if entry is None else entry[1].get(key)
        return found if found is not None and found.stamp == _stamp(weight, bias) else None

    def forget(self, weight: Tensor) -> None:
        """Drop a weight's kernels."""
        with self._lock:
            self._by_weight.pop(id(weight), None)

    def explain(self, weight: Tensor) -> str:
        """A line or more for every shape of input that was seen."""
        entry = self._by_weight.get(id(weight))
        lines = []
        for key, kept in list(entry[1].items()) if entry else ():
            told = kept.kernel.explain() if kept.kernel else f"{tuple(key[1])}: left to PyTorch: {kept.reason}"
            lines.append(f"gradient of the input: {told}" if ConvLayer.read(key[0]).transposed else told)
        return "\n".join(lines) or "not called yet"

    def __len__(self) -> int:
        return len(self._by_weight)

    def _made(self, key: Key, weight: Tensor, bias: Tensor | None) -> Kept:
        found, layer = self._kernels_of(weight), ConvLayer.read(key[0])
        stamp, old = _stamp(weight, bias), found.get(key)
        if old is not None and old.stamp == stamp:
            return old
        storages = tuple(t.untyped_storage() for t in (weight, bias) if t is not None)
        if old is not None and old.kernel is None:
            made = replace(old, stamp=stamp, storages=storages)
        elif old is not None and old.kernel is not None:
            made = replace(_packed_anew(old, layer, weight, bias), stamp=stamp, storages=storages)
            if layer.transposed and made.kernel is not None and made.kernel.choice != old.kernel.choice:
                made = _new(key, weight, bias, (stamp, storages))  # whether it is faster than torch is another question
        elif _like(layer, found) >= SHAPES:
            why = f"this weight has kernels for {SHAPES} other shapes of input"
            return Kept(None, (), FLOATS_ALONE, why, stamp, storages)
        else:
            made = _new(key, weight, bias, (stamp, storages))
        if made.kernel is not None or len(found) < NOTED:
            found[key] = made
        return made

    def _kernels_of(self, weight: Tensor) -> dict[Key, Kept]:
        number = id(weight)
        if number not in self._by_weight:
            self._by_weight[number] = weakref.ref(weight, lambda _: self._by_weight.pop(number, None)), {}
        return self._by_weight[number][1]

    def _renew(self) -> None:
        self._lock = threading.RLock()


def _like(layer: ConvLayer, found: dict[Key, Kept]) -> int:
    """How many kernels there are in the same direction, forward or back."""
    kernels = [key for key, kept in found.items() if kept.kernel is not None]
    return sum(ConvLayer.read(key[0]).transposed == layer.transposed for key in kernels)


def _stamp(weight: Tensor, bias: Tensor | None) -> Stamp:
    if bias is None:
        return weight.data_ptr(), weight._version, 0, 0
    return weight.data_ptr(), weight._version, bias.data_ptr(), bias._version


def _arrays(layer: ConvLayer, weight: Tensor, bias: Tensor | None) -> tuple[np.ndarray, np.ndarray | None]:
    weights = exchanged(_array(weight), layer.groups) if layer.transposed else _array(weight)
    return weights, None if bias is None else _array(bias)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def exchanged(weight: np.ndarray, groups: int) -> np.ndarray:
    """The weight (k, c / groups, r, s) of a layer as that of its adjoint, (c, k / groups, r, s)."""
    k, channels, *taps = weight.shape
    split = weight.reshape(groups, k // groups, channels, *taps).swapaxes(1, 2)[..., ::-1, ::-1]
    return np.ascontiguousarray(split).reshape(groups * channels, k // groups, *taps)


def request(key: Key, weight: Tensor) -> Request:
    """What is asked of a kernel; KernelError where tensors do not fit together."""
    layer = ConvLayer.read(key[0])
    shape = layer.shape(tuple(key[1]), tuple(weight.shape))
    epilogue = Epilogue(layer.activation, key[4], layer.slope)
    threads = layer.threads or key[3]
    options = ConvOptions(layer.accuracy, threads, activations=layer.activations, maps=layer.maps)
    return shape, epilogue, options


def _new(key: Key, weight: Tensor, bias: Tensor | None, origin: tuple[Stamp, tuple[object, ...]]) -> Kept:
    layer = ConvLayer.read(key[0])
    size = key[1][0], key[1][2], key[1][3]
    if layer.sizes and size not in layer.sizes:
        return Kept(None, (), FLOATS_ALONE, f"kernels are for {' and '.join(map(str, layer.sizes))} alone", *origin)
    shape, epilogue, options = request(key, weight)
    try:
        kernel = Conv2dKernel(shape, *_arrays(layer, weight, bias), epilogue=epilogue, options=options)
    except KernelError as error:
        return Kept(None, (), FLOATS_ALONE, str(error), *origin)
    if layer.transposed:
        verdict = against_torch(kernel, layer, weight, lambda: kernel.with_weights(*_arrays(layer, weight, bias)))
        if not verdict.pays(packing=weight.requires_grad):
            return Kept(None, (), FLOATS_ALONE, verdict.told(), *origin)
    n, h, w, c = shape.output_shape
    maps = layer.maps
    dtypes = _dtype(maps.takes), _dtype(maps.gives), _dtype(maps.adds)
    return Kept(kernel, (n, c, h, w), dtypes, "", *origin)


def _dtype(one: ByteMap | None) -> torch.dtype:
    return torch.float32 if one is None else dtype_of_map(one)


def _packed_anew(old: Kept, layer: ConvLayer, weight: Tensor, bias: Tensor | None) -> Kept:
    """With these weights; without a kernel where they are of none that takes the layer's maps."""
    assert old.kernel is not None
    try:
        return replace(old, kernel=old.kernel.with_weights(*_arrays(layer, weight, bias)))
    except KernelError as error:
        return replace(old, kernel=None, reason=str(error))


KERNELS = Kernels()
