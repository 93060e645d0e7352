"""One call of accelerate: what it asks of layers, who watches, code compiled ahead, times that hold for like layers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import prod
from typing import TypeGuard

import torch

from secateur.bridge.accelerated_conv import AcceleratedConv, Asked, Layer
from secateur.bridge.accelerated_linear import AcceleratedLinear
from secateur.bridge.folding import plain
from secateur.bridge.recognising import USUAL_SLOPE
from secateur.bridge.timing import Comparison
from secateur.errors import KernelError
from secateur.kernels.balanced_choice import FLOAT, balanced_count
from secateur.kernels.byte_maps import FLOATS, ByteMaps
from secateur.kernels.conv import compile_ahead
from secateur.kernels.sparse_choice import LEAST_ZEROS, zeros_of
from secateur.nn.plain_layers import hooked, own_way


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
class Handed:
    """Which maps of a layer can be bytes, and a word of which are not and why.

    before, after   the quantizer before it, where torch makes the codes that it takes; the one behind it, whose work it
                    does where it gives codes
    """

    maps: ByteMaps = FLOATS
    told: str = ""
    before: torch.nn.Module | None = None
    after: torch.nn.Module | None = None


@dataclass(frozen=True)
class Site:
    """A convolution or linear layer as it is called in a model, and what can be done in the same call."""

    name: str
    conv: Layer
    activation: str = "none"
    slope: float = USUAL_SLOPE
    fused: tuple[str, ...] = ()
    handed: Handed = field(default_factory=Handed)


@dataclass(frozen=True)
class Call:
    """A site with the shape and dtype of its input, and whether a residual is added."""

    site: Site
    shape: tuple[int, ...]
    dtype: torch.dtype
    residual: bool = False

    def refusal(self, activations: str = FLOAT) -> str:
        """Why it is left to torch whatever its data; empty where nothing speaks against it."""
        reason = refusal(self.site.conv, activations)
        if not reason and self.dtype != torch.float32:
            return f"its input is {self.dtype}; kernels are for float32"
        return reason or ("" if prod(self.shape) else "its input is empty")


def is_layer(module: torch.nn.Module) -> TypeGuard[Layer]:
    """Whether a module gets a row of the report."""
    return isinstance(module, torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Linear)


def made_for(site: Site, conv: Layer, asked: Asked, maps: ByteMaps = FLOATS) -> AcceleratedConv:
    """What replaces a site whose layer is `conv`."""
    if isinstance(conv, torch.nn.Linear):
        return AcceleratedLinear(conv, asked, activation=site.activation, slope=site.slope, maps=maps)
    return AcceleratedConv(conv, asked, activation=site.activation, slope=site.slope, maps=maps)


def refusal(conv: torch.nn.Module, activations: str = FLOAT) -> str:
    """Why a layer is left to torch whatever its input; empty where nothing speaks against it. activations: how a linear
    layer may read them."""
    if not is_layer(conv):
        return "only Conv1d and Conv2d have kernels"
    if own_way(conv):
        return f"{type(conv).__name__} computes in its own way"
    if isinstance(conv, torch.nn.Linear):
        return _refused(conv) or ("" if activations != FLOAT else _dense(conv))
    return _refused(conv)


def _without_data(conv: Layer) -> Layer:
    if isinstance(conv, torch.nn.Linear):
        bias = conv.bias is not None
        return torch.nn.Linear(conv.in_features, conv.out_features, bias=bias, device="meta")
    return plain(conv, conv.weight.to("meta"), None if conv.bias is None else conv.bias.to("meta"))


def _dense(linear: torch.nn.Linear) -> str:
    weight = linear.weight.detach().numpy()
    zeros = zeros_of(weight)
    if zeros >= LEAST_ZEROS or balanced_count(weight) is not None:
        return ""
    return f"{zeros:.0%} zeros, not n of 16; linear layers have kernels for n of 16 and from {LEAST_ZEROS:.0%} zeros on"


def _refused(conv: Layer) -> str:
    if hooked(conv):
        return "it has hooks"
    if conv.weight.dtype != torch.float32:
        return f"its weights are {conv.weight.dtype}; kernels are for float32"
    return "" if conv.weight.device.type == "cpu" else f"its weights are on {conv.weight.device}"


def compile_for(calls: Iterable[Call], trial: Trial) -> None:
    """Compile what the calls are likely to need, on all cores, before their times are measured."""
    requests = []
    for call in calls:
        if call.refusal(trial.asked.activations):
            continue
        light = made_for(call.site, _without_data(call.site.conv), trial.asked)
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
