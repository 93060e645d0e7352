"""One call of accelerate: what it asks of layers, who watches, code compiled ahead, times that hold for like layers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import prod

import torch

from secateur.bridge.accelerated_conv import AcceleratedConv, Asked, Conv
from secateur.bridge.folding import plain
from secateur.bridge.recognising import USUAL_SLOPE, hooked
from secateur.bridge.timing import Comparison
from secateur.errors import KernelError
from secateur.kernels.conv import compile_ahead


@dataclass(frozen=True)
class Progress:
    """How far it is: pieces of code compiled (phase "compile"), or layers decided ("measure", with the name)."""

    phase: str
    done: int
    total: int
    name: str = ""


def unwatched(_event: Progress) -> None:
    """Nobody looks."""


@dataclass(frozen=True)
class Trial:
    """asked: of all layers. measure: whether times decide. compared: what was measured, by what times depend on."""

    asked: Asked = field(default_factory=Asked)
    measure: bool = True
    watch: Callable[[Progress], None] = unwatched
    compared: dict[object, Comparison] = field(default_factory=dict)


@dataclass(frozen=True)
class Site:
    """A convolution as it is called in a model, and what can be done in the same call."""

    name: str
    conv: Conv
    activation: str = "none"
    slope: float = USUAL_SLOPE
    fused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Call:
    """A site with the shape and dtype of its input, and whether a residual is added."""

    site: Site
    shape: tuple[int, ...]
    dtype: torch.dtype
    residual: bool = False

    def refusal(self) -> str:
        """Why it is left to torch whatever its data; empty where nothing speaks against it."""
        reason = refusal(self.site.conv)
        if not reason and self.dtype != torch.float32:
            return f"its input is {self.dtype}; kernels are for float32"
        return reason or ("" if prod(self.shape) else "its input is empty")


def refusal(conv: torch.nn.Module) -> str:
    """Why a convolution is left to torch whatever its input; empty where nothing speaks against it."""
    kind = torch.nn.Conv1d if isinstance(conv, torch.nn.Conv1d) else torch.nn.Conv2d
    if not isinstance(conv, kind):
        return "only Conv1d and Conv2d have kernels"
    if type(conv).forward is not kind.forward or type(conv)._conv_forward is not kind._conv_forward:
        return f"{type(conv).__name__} computes in its own way"
    if hooked(conv):
        return "it has hooks"
    if conv.weight.dtype != torch.float32:
        return f"its weights are {conv.weight.dtype}; kernels are for float32"
    return "" if conv.weight.device.type == "cpu" else f"its weights are on {conv.weight.device}"


def compile_for(calls: Iterable[Call], trial: Trial) -> None:
    """Compile what the calls are likely to need, on all cores, before their times are measured."""
    requests = []
    for call in calls:
        if call.refusal():
            continue
        site, conv = call.site, call.site.conv
        without_data = plain(conv, conv.weight.to("meta"), None if conv.bias is None else conv.bias.to("meta"))
        light = AcceleratedConv(without_data, trial.asked, activation=site.activation, slope=site.slope)
        try:
            requests.append(light.request(torch.empty(call.shape, device="meta"), residual=call.residual))
        except KernelError:
            continue  # the reason is said when the layer is decided
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def watch(done: int, total: int) -> None:
        trial.watch(Progress("compile", done, total))

    try:
        compile_ahead(requests, processes=usable, watch=watch)
    except KernelError:
        return  # no kernels for this processor: said of every layer
