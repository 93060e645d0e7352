"""Replace the layers of a traced model: fold norms, take what follows into the same call, decide, rewrite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn

from secateur.bridge.accelerated_conv import AcceleratedConv
from secateur.bridge.byte_chains import as_codes, as_numbers, handed_over, hands_bytes, join, on_bytes
from secateur.bridge.deciding import Decision, decided
from secateur.bridge.folding import Foldable, folded, plain, plain_linear
from secateur.bridge.graph_forms import arguments_by_position, keep_what_is_read, to_channels_last
from secateur.bridge.recognising import Chain, chains, foldable_norms, only_user
from secateur.bridge.tracing import Seen, keep_layout_of_outputs, let_any_layout_pass, look
from secateur.bridge.trial import Call, Progress, Site, Trial, compile_for, is_layer, refusal
from secateur.kernels.acceleration import LayerReport
from secateur.kernels.balanced_choice import FLOAT
from secateur.nn.fx_graph import watched
from secateur.nn.plain_layers import own_way

FUNCTIONS = (
    *(torch.conv1d, torch.conv2d, torch.conv3d, torch.conv_transpose1d, torch.conv_transpose2d),
    nn.functional.linear,
)
MODULES = (nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Bilinear, nn.MultiheadAttention)


def replace_in_graph(module: fx.GraphModule, inputs: tuple[Any, ...], trial: Trial) -> list[LayerReport]:
    """Change the graph in place; a row for every convolution and linear layer."""
    arguments_by_position(module)
    keep_what_is_read(module)
    norms = _fold(module)
    let_any_layout_pass(module)
    seen = watched(module, inputs, look)
    keep_layout_of_outputs(module, seen)
    to_channels_last(module)
    in_bytes = trial.asked.activations != FLOAT
    taken = _taken(module, seen, in_bytes=in_bytes)
    sites = {chain: _site(module, chain, norms, trial.asked.activations) for chain in taken}
    if in_bytes:
        calls = {chain: _call(chain, site, seen) for chain, site in sites.items() if chain.conv in seen}
        able = {chain: on_bytes(call) for chain, call in calls.items()}
        handed = handed_over(module, calls, able)
        sites |= {chain: replace(sites[chain], handed=found) for chain, found in handed.items()}
    compile_for([_call(chain, site, seen) for chain, site in sites.items() if chain.conv in seen], trial)
    decider = _Decider(module, sites, trial)
    decider.run(*inputs)
    for chain in taken:
        _, made = decider.decisions[chain.conv]
        if made is not None:
            _rewrite(module, chain, made)
    join(module)
    if in_bytes and hands_bytes(module):
        module.requires_grad_(False)  # bytes end gradients: layers left to torch would ask for some in vain
    module.delete_all_unused_submodules()
    module.graph.lint()
    module.recompile()
    rows = {chain.conv: decider.decisions[chain.conv][0] for chain in taken}
    return [rows[node] for node in seen if node in rows] + _others(module, {row.name for row in rows.values()})


def _convs(module: fx.GraphModule) -> list[fx.Node]:
    calls = [node for node in module.graph.nodes if node.op == "call_module"]
    return [n for n in calls if is_layer(module.get_submodule(str(n.target))) and n.args]


def _fold(module: fx.GraphModule) -> set[fx.Node]:
    """Fold what can be; the convolutions that took a norm in."""
    done = set()
    for conv, norm in foldable_norms(module.graph, module, _convs(module)):
        layer, after = (module.get_submodule(str(node.target)) for node in (conv, norm))
        assert isinstance(layer, nn.Conv1d | nn.Conv2d)
        assert isinstance(after, Foldable)
        made = None if own_way(layer) else folded(layer, after)
        if made is not None:
            module.set_submodule(str(conv.target), made)
            norm.replace_all_uses_with(conv)
            module.graph.erase_node(norm)
            done.add(conv)
    module.recompile()
    return done


def _taken(module: fx.GraphModule, seen: dict[fx.Node, Seen], *, in_bytes: bool) -> list[Chain]:
    """One chain a convolution, none sharing a node; the largest layers choose first."""

    def macs(conv: fx.Node) -> int:
        layer = module.get_submodule(str(conv.target))
        assert is_layer(layer)
        return layer.weight[0].numel() * (prod(seen[conv].shape) if conv in seen else 0)

    found: list[Chain] = []
    used: set[fx.Node] = set()
    convs = [conv for conv in _convs(module) if conv.args[0] in seen]
    for conv in sorted(convs, key=macs, reverse=True):
        for chain in chains(conv, module, in_bytes=in_bytes):
            if used.isdisjoint(chain.nodes) and _alike(chain, seen):
                found.append(chain)
                used.update(chain.nodes)
                break
    return found


def _alike(chain: Chain, seen: dict[fx.Node, Seen]) -> bool:
    """Whether a residual has the shape and dtype of what it is added to."""
    if chain.residual is None:
        return True
    first, second = seen.get(chain.conv), seen.get(chain.residual)
    return first is not None and second is not None and (first.shape, first.dtype) == (second.shape, second.dtype)


def _site(module: fx.GraphModule, chain: Chain, norms: set[fx.Node], activations: str) -> Site:
    """With a convolution of torch's own, whose weight is evaluated once."""
    name = str(chain.conv.target)
    conv = module.get_submodule(name)
    assert is_layer(conv)
    if not refusal(conv, activations):
        conv = plain_linear(conv) if isinstance(conv, nn.Linear) else plain(conv, conv.weight, conv.bias)
    fused = (*(["batch norm"] if chain.conv in norms else []), *chain.fused)
    return Site(name, conv, chain.kind, chain.slope, fused)


def _call(chain: Chain, site: Site, seen: dict[fx.Node, Seen]) -> Call:
    source = chain.conv.args[0]
    assert isinstance(source, fx.Node)
    return Call(site, seen[source].shape, seen[source].dtype, chain.residual is not None)


class _Decider(fx.Interpreter):
    """Runs the graph by torch and decides every chain when its last node has run, with the real tensors."""

    def __init__(self, module: fx.GraphModule, sites: dict[Chain, Site], trial: Trial) -> None:
        super().__init__(module)
        self.decisions: dict[fx.Node, Decision] = {}
        self._sites, self._trial = sites, trial
        self._last = {chain.nodes[-1]: chain for chain in sites}
        self._needed = {node: node.args[0] for node in (chain.conv for chain in sites)}
        self._needed |= {chain.addition: chain.residual for chain in sites if chain.addition}
        self._kept: dict[fx.Node, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        needed = self._needed.get(n)
        if isinstance(needed, fx.Node):
            self._kept[n] = self.env[needed]
        value = super().run_node(n)
        if (chain := self._last.get(n)) is not None:
            x = self._kept.pop(chain.conv)
            residual = self._kept.pop(chain.addition) if chain.addition else None
            site = self._sites[chain]
            report, made = decided(site, x, residual, self._trial)
            if made is None:
                report = replace(report, fused=tuple(what for what in site.fused if what == "batch norm"))
            self.decisions[chain.conv] = report, made
            self._trial.watch(Progress("measure", len(self.decisions), len(self._sites), site.name))
        return value


def _rewrite(module: fx.GraphModule, chain: Chain, made: AcceleratedConv) -> None:
    """One call at the place of the chain's last node; of bytes, with the quantizer behind it."""
    name, last, maps = str(chain.conv.target), chain.nodes[-1], made.plan.maps
    if sum(node.op == "call_module" and node.target == name for node in module.graph.nodes) > 1:
        name = f"{name}_as_{chain.conv.name}"  # other calls of a shared module are decided on their own
    module.add_submodule(name, made)
    # Read off the graph: what the chain was made with may have been replaced since.
    own = (chain.conv, chain.between)
    residual = [value for value in chain.addition.args if value not in own] if chain.addition else []
    source = [value for value in (chain.conv.args[0], *residual) if isinstance(value, fx.Node)]
    given = zip(source, (maps.takes, maps.adds), ("codes", "residual_codes"), strict=False)
    with module.graph.inserting_before(last.next):
        read = [as_codes(module, value, one, f"{name}_{word}") for value, one, word in given]
        call = module.graph.call_module(name, tuple(read))
    if maps.gives is not None:
        quantizer = only_user(last)
        assert quantizer is not None
        quantizer.replace_all_uses_with(as_numbers(module, call, maps.gives, f"{name}_numbers"))
        module.graph.erase_node(quantizer)
    else:
        last.replace_all_uses_with(call)
    for node in reversed(chain.nodes):
        module.graph.erase_node(node)


def _others(module: fx.GraphModule, told: set[str]) -> list[LayerReport]:
    """Rows for what has many weights but is no Conv1d, Conv2d or Linear module that the graph calls, as those told."""
    rows: dict[str, list[LayerReport]] = {}
    for node in module.graph.nodes:
        if node.op == "call_function" and node.target in FUNCTIONS:
            why = "it is called as a function; only modules are replaced"
            rows[node.name] = [LayerReport(node.name, "", reason=why)]
        elif node.op == "call_module" and (name := str(node.target)) not in told:
            called = module.get_submodule(name)
            rows[name] = [_uncalled(name, called)] if is_layer(called) else inside(name, called)
    return [row for found in rows.values() for row in found]


def _uncalled(name: str, layer: nn.Module) -> LayerReport:
    return LayerReport(name, "", reason=refusal(layer) or "it is not called with a tensor")


def inside(name: str, module: nn.Module) -> list[LayerReport]:
    """Rows for the layers of a module of this name that computes on its own; one without a kernel stands for its
    parts."""
    below = {".".join(filter(None, (name, path))): one for path, one in module.named_modules()}
    rows = other_kinds(below)
    why = f"it is inside {type(module).__name__}, which computes on its own"
    whole = tuple(f"{row.name}." for row in rows)
    layers = [path for path, one in below.items() if is_layer(one) and not path.startswith(whole)]
    return [LayerReport(path, "", reason=why) for path in layers] + rows


def other_kinds(modules: Mapping[str, nn.Module]) -> list[LayerReport]:
    """Rows for those that have many weights but no kernels."""
    kinds = {name: type(module).__name__ for name, module in modules.items() if isinstance(module, MODULES)}
    why = "kernels compute Conv1d, Conv2d and Linear, not "
    return [LayerReport(name, "", reason=why + kind) for name, kind in kinds.items()]
