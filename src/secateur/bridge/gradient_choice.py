"""Whether a kernel computes the gradient of a convolution's input faster than torch: measured, and kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from time import perf_counter

import torch
from torch import Tensor

from secateur.bridge import by_torch
from secateur.bridge.layer import ConvLayer
from secateur.bridge.timing import compare
from secateur.kernels.choice import KEPT_CHOICES, now
from secateur.kernels.conv import Conv2dKernel
from secateur.kernels.emitters import emitters
from secateur.kernels.machine import machine_name
from secateur.kernels.object_cache import read_object, write_object

SECONDS = 0.1


@dataclass(frozen=True)
class Verdict:
    """Medians in microseconds: of torch, of the kernel, of packing weights for it once; and when it was measured."""

    before_us: float
    after_us: float
    faster: bool
    packing_us: float
    measured: str

    def pays(self, *, packing: bool) -> bool:
        """Whether the kernel is faster by more than noise, also if weights are packed anew for each call."""
        return self.faster and self.after_us + packing * self.packing_us < self.before_us

    def told(self) -> str:
        """For people, where it does not pay."""
        times = (
            f"{self.before_us:.0f} us; a kernel {self.after_us:.0f} us, packing its weights {self.packing_us:.0f} us"
        )
        return f"{times}; measured {self.measured}"


def against_torch(kernel: Conv2dKernel, layer: ConvLayer, weight: Tensor, pack: Callable[[], object]) -> Verdict:
    """What was measured on this machine, now or before, for a layer that is `transposed`; `pack` packs its weights."""
    parts = (
        emitters(),
        machine_name(),
        torch.__version__,
        kernel.shape,
        kernel.options,
        kernel.choice.chosen.algorithm,
        kernel.choice.zeros,
    )
    key = KEPT_CHOICES + "gradient-" + hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()
    kept = read_object(key)
    if kept is None:
        kept = json.dumps(asdict(_measured(kernel, layer, weight, pack))).encode()
        write_object(key, kept)
    return Verdict(**json.loads(kept))


def _seconds(function: Callable[[], object]) -> float:
    start = perf_counter()
    function()
    return perf_counter() - start


def _measured(kernel: Conv2dKernel, layer: ConvLayer, weight: Tensor, pack: Callable[[], object]) -> Verdict:
    n, h, w, c = kernel.shape.input_shape
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        grad = torch.randn(n, c, h, w).contiguous(memory_format=torch.channels_last)
        packing = min(_seconds(pack) for _ in range(2))
        weight = weight.detach()

        def by_kernel() -> Tensor:
            k = kernel.shape.out_channels
            size = (n, k, kernel.shape.out_height, kernel.shape.out_width)
            y = torch.empty(size, memory_format=torch.channels_last)
            kernel.run(grad.data_ptr(), y.data_ptr())
            return y

        found = compare(lambda: by_torch.summed(grad, weight, None, layer), by_kernel, seconds=SECONDS)
    return Verdict(found.before_us, found.after_us, found.faster, 1e6 * packing, now())
