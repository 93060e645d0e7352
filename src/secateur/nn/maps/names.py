"""Names of feature maps: what a person would call the value that a call makes, the same for plan and model."""

from __future__ import annotations

from torch import fx

from secateur.ir.naming import fresh
from secateur.nn.fx_graph import Calls
from secateur.nn.maps.operations import function_of


def names_of(calls: Calls) -> dict[fx.Node, str]:
    """Node -> the name of what it makes, by the graph alone.

    A module's path; a function behind the path of the module whose code calls it, "layer1.0.add"; of several results
    of a call "lstm.0"; an input's, a parameter's own name. What comes again under a name gets "_1", "_2".
    """
    names: dict[fx.Node, str] = {}
    taken: set[str] = set()
    for node in calls.module.graph.nodes:
        if node.op != "output":
            names[node] = fresh(_wish(node, calls, names), taken)
            taken.add(names[node])
    return names


def _wish(node: fx.Node, calls: Calls, names: dict[fx.Node, str]) -> str:
    if node.op in ("placeholder", "get_attr", "call_module"):
        return str(node.target)
    function = function_of(node)
    if function == "getitem" and isinstance(node.args[1], int) and isinstance(node.args[0], fx.Node):
        return f"{names[node.args[0]]}.{node.args[1]}"
    scope = calls.scopes.get(node.name, "")
    return f"{scope}.{function}" if scope else function
