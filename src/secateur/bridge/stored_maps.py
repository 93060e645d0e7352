"""Quantizers of a traced model whose numbers can be handed on as bytes."""

from __future__ import annotations

from torch import fx, nn

from secateur.kernels.byte_maps import ByteMap
from secateur.nn.dynamic_map import DynamicMap
from secateur.nn.map_quantize import FrozenMap, MapQuantize

BYTE_BITS = 8


def byte_map(node: fx.Node | None, model: nn.Module) -> ByteMap | None:
    """The map of bytes that a node makes; None where it makes none."""
    if node is None or why_no_bytes(node, model) != "":
        return None
    module = model.get_submodule(str(node.target))
    frozen = module.frozen() if isinstance(module, MapQuantize) else module
    assert isinstance(frozen, FrozenMap)
    return ByteMap(float(frozen.scale), frozen.signed)


def why_no_bytes(node: fx.Node, model: nn.Module) -> str | None:
    """Why the numbers of a quantizer are no codes of bytes, empty where they are; None for what is no quantizer."""
    module = model.get_submodule(str(node.target)) if node.op == "call_module" else None
    if not isinstance(module, MapQuantize | FrozenMap):
        return None
    if module._forward_hooks or module._forward_pre_hooks:
        return "the quantizer has hooks"
    if isinstance(module, DynamicMap) or (isinstance(module, FrozenMap) and module.per):
        return "the scale is found at run time"
    bits = module.bits if isinstance(module, FrozenMap) else module.hard_width
    if bits is None:
        return "the quantizer is still learned"
    return "" if bits == BYTE_BITS else f"the map has {bits} bits"
