"""Which layers of a traced model hand bytes to one another, and the graph in which they do.

A map can be bytes where a quantizer of 8 bits with a stored scale makes it: then its numbers are codes times that
scale, exactly, and a layer that reads codes gives the result that it gives for these numbers, while one that writes
codes does the quantizer's work. Both are said in the graph as `Codes` and `Numbers`, each a map from one form to the
other; `join` then takes out what undoes itself, also around what moves numbers without changing them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import fx, nn

from secateur.bridge.accelerated_conv import AcceleratedConv, Asked
from secateur.bridge.map_bytes import Codes, Numbers
from secateur.bridge.pooled_codes import pooling
from secateur.bridge.recognising import Chain, called, changes, only_user
from secateur.bridge.stored_maps import byte_map, why_no_bytes
from secateur.bridge.trial import Call, Handed, made_for
from secateur.errors import KernelError
from secateur.kernels.balanced_choice import BYTES, has_ways
from secateur.kernels.byte_maps import FLOATS, ByteMap, ByteMaps

MOVES = {torch.flatten, nn.Flatten, torch.reshape, "flatten", "reshape", "contiguous"}
"""Calls that move numbers about, codes as what these stand for. So does pooling by maxima, as scales are positive."""
NO_KERNEL = "it has no kernel in 8 bits"


def handed_over(module: fx.GraphModule, calls: Mapping[Chain, Call], able: Mapping[Chain, bool]) -> dict[Chain, Handed]:
    """For every chain of a traced model. able: whether it could compute on bytes."""
    makers = {only_user(chain.nodes[-1]) for chain in calls if able[chain]}
    inputs = {chain: _quantizer(chain.conv.args[0], module) for chain in calls}
    read = {q for chain, q in inputs.items() if able[chain] and byte_map(q, module)}
    found = {}
    for chain in calls:
        if not able[chain]:
            found[chain] = Handed(told=f"float32: {NO_KERNEL}")
            continue
        source, last, added = inputs[chain], only_user(chain.nodes[-1]), _quantizer(chain.residual, module)
        maps = ByteMaps(*(byte_map(one, module) if one in read else None for one in (source, last, added)))
        before = _module(source, module) if maps.takes and source not in makers else None
        after = _module(last, module) if maps.gives else None
        told = _told(maps, _why_in(source, module), _why_out(last, module))
        found[chain] = Handed(maps if maps.takes or maps.gives else FLOATS, told, before, after)
    return found


def on_bytes(call: Call) -> bool:
    """Whether there is a kernel on bytes for a layer."""
    conv = call.site.conv
    if call.refusal(BYTES) or (not isinstance(conv, nn.Linear) and conv.padding_mode != "zeros"):
        return False
    made = made_for(call.site, conv, Asked(activations=BYTES))
    try:
        shape, *_ = made.request(torch.empty(call.shape, device="meta"), residual=call.residual)
    except KernelError:
        return False
    return has_ways(shape, made.wide_weight.numpy(), BYTES)


def _quantizer(node: object, module: fx.GraphModule) -> fx.Node | None:
    """The quantizer whose numbers a node gives, moved about or as they are; None where something works on them in
    place."""
    while isinstance(node, fx.Node) and not any(changes(user, node, module) for user in node.users):
        if not _moves(node, module):
            return node if why_no_bytes(node, module) is not None else None
        node = node.args[0]
    return None


def _moves(node: fx.Node, module: fx.GraphModule) -> bool:
    """Whether a node does to codes what it does to numbers."""
    return bool(node.args) and (called(node, module) in MOVES or pooling(node, module) is not None)


def _module(node: fx.Node | None, module: fx.GraphModule) -> nn.Module | None:
    return None if node is None else module.get_submodule(str(node.target))


def _why_in(source: fx.Node | None, module: fx.GraphModule) -> str:
    return "no quantizer is before it" if source is None else why_no_bytes(source, module) or ""


def _why_out(last: fx.Node | None, module: fx.GraphModule) -> str:
    why = None if last is None else why_no_bytes(last, module)
    if why is None:
        return "no quantizer alone reads its output"
    return why or "nothing on bytes reads its output"


def _told(maps: ByteMaps, why_in: str, why_out: str) -> str:
    if not maps.takes and not maps.gives:
        return f"float32: {why_in}; {why_out}"
    into = "bytes in" if maps.takes else f"float32 in ({why_in})"
    out = "bytes out" if maps.gives else f"float32 out ({why_out})"
    return f"{into}, {out}"


def as_codes(module: fx.GraphModule, value: fx.Node, one: ByteMap | None, name: str) -> fx.Node:
    """A node for the codes of a value, at the place where the graph is written; the value itself where there is no
    map."""
    if one is None:
        return value
    module.add_submodule(name, Codes(one))
    return module.graph.call_module(name, (value,))


def as_numbers(module: fx.GraphModule, codes: fx.Node, one: ByteMap, name: str) -> fx.Node:
    """A node for what codes stand for, behind them."""
    module.add_submodule(name, Numbers(one))
    with module.graph.inserting_after(codes):
        return module.graph.call_module(name, (codes,))


def join(module: fx.GraphModule) -> None:
    """Read codes where they are made: what turns numbers into codes that were codes before goes, and quantizers whose
    numbers are read as codes alone make codes at once."""
    known: dict[fx.Node, fx.Node | None] = {}
    for node in list(module.graph.nodes):
        if called(node, module) is Codes:
            found = _codes(module, _read(node), _map_at(module, node), known)
            if found is not None:
                node.replace_all_uses_with(found)
    for node in reversed(list(module.graph.nodes)):
        kind = called(node, module)
        if not node.users and (_moves(node, module) or kind in (Codes, Numbers) or byte_map(node, module)):
            module.graph.erase_node(node)


def hands_bytes(module: fx.GraphModule) -> bool:
    """Whether codes are made anywhere."""
    layers = (one.plan.maps for one in module.modules() if isinstance(one, AcceleratedConv))
    return any(maps != FLOATS for maps in layers)


def _read(node: fx.Node) -> fx.Node:
    """What a node reads first."""
    first = node.args[0]
    assert isinstance(first, fx.Node)
    return first


def _map_at(module: fx.GraphModule, node: fx.Node) -> ByteMap:
    found = module.get_submodule(str(node.target))
    assert isinstance(found, Codes | Numbers)
    return found.map


def _codes(module: fx.GraphModule, node: fx.Node, one: ByteMap, known: dict[fx.Node, fx.Node | None]) -> fx.Node | None:
    """The codes of a value that lies on a map; None where they have to be made from it."""
    if node not in known:
        kind, made = called(node, module), None
        if kind is Numbers:
            made = _read(node) if _map_at(module, node) == one else None
        elif _moves(node, module) and (source := _codes(module, _read(node), one, known)) is not None:
            with module.graph.inserting_after(node):
                made = _moved(module, node, source)
        elif byte_map(node, module) == one:
            with module.graph.inserting_after(node):
                made = as_codes(module, _read(node), one, f"{node.target}_codes")
        known[node] = made
    return known[node]


def _moved(module: fx.GraphModule, node: fx.Node, codes: fx.Node) -> fx.Node:
    """A node that does to codes what `node` does to the numbers that it reads."""
    pool = pooling(node, module)
    if pool is None:
        return module.graph.node_copy(node, lambda value: codes if value is _read(node) else value)
    module.add_submodule(name := f"{node.name}_of_codes", pool)
    return module.graph.call_module(name, (codes,))
