"""Names of quantized feature maps: in a plan, in a model's state dict, and of the constants that hold their scales."""

from __future__ import annotations

from secateur.ir.graph import Graph

MAPS = "secateur_maps"
"""The module of a model's root that holds the quantizers: a ModuleDict by `key_of` a map's name."""
QUANTIZERS = ("fake_quantize", "dynamic_quantize")
"""Operations that put a map on the grid of its codes: at the scale that is their second input, or at scales found at
run time, none of which is smaller than that."""
_WORDS = (
    "T_destination add_module apply bfloat16 buffers call_super_init children clear compile cpu cuda double "
    "dump_patches eval extra_repr float floats forward get_buffer get_extra_state get_parameter get_submodule "
    "half ipu items keys load_state_dict modules mtia named_buffers named_children named_modules named_parameters "
    "parameters pop register_backward_hook register_buffer register_forward_hook register_forward_pre_hook "
    "register_full_backward_hook register_full_backward_pre_hook register_load_state_dict_post_hook "
    "register_load_state_dict_pre_hook register_module register_parameter register_state_dict_post_hook "
    "register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule share_memory state_dict to "
    "to_empty train training type update values xpu zero_grad"
)
TAKEN = frozenset(_WORDS.split())
"""Attributes of nn.ModuleDict, under which it can hold no module."""
_FIRST, _LAST = f"{MAPS}.", ".scale"


def key_of(name: str) -> str:
    """The key of a map's quantizer: a module's name may hold no dot, and be no name that torch's containers have for
    something else, which gets a ":" behind it."""
    return name + ":" if name in TAKEN else name.replace(".", ":")


def name_of(key: str) -> str:
    """The name of a map by the key of its quantizer."""
    return key.removesuffix(":").replace(":", ".")


def scale_key(key: str) -> str:
    """The state-dict key of a frozen map's scale, and so the name of a constant in an artifact's graph."""
    return f"{_FIRST}{key}{_LAST}"


def is_scale(name: str) -> bool:
    """Whether a constant is the scale of a map, by its name."""
    return name.startswith(_FIRST) and name.endswith(_LAST)


def keys_in(graph: Graph) -> dict[str, str]:
    """Output of a quantizing operation -> key of the map that it quantizes, where its scale is named by one."""
    scales = {node.output: node.inputs[1] for node in graph.nodes if node.op in QUANTIZERS}
    return {
        output: scale.removeprefix(_FIRST).removesuffix(_LAST) for output, scale in scales.items() if is_scale(scale)
    }
