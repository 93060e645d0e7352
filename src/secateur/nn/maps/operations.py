"""What a call of a traced model is to feature maps, in one word; and which words read codes, keep a grid, or make no
negative values. Closed tables.

A word names an operation however it is written: nn.ReLU(), F.relu(x), torch.relu(x) and x.relu_() are all "relu".
"""

from __future__ import annotations

from typing import Any

from torch import fx, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

READS_CODES = frozenset(
    {"convolution", "transposed", "linear", "product", "attention", "add", "concat", "average_pool", "mean"}
)
"""What integer arithmetic computes: every map that one of these reads has to be quantized."""
READS_WHOLE = frozenset({"convolution", "transposed", "average_pool"})
"""Those that sum over channels and places, so that a scale found at run time is one an example; of others one a row."""
KEEPS_GRID = frozenset({"max_pool", "reshape", "slice", "dropout", "pad", "upsample", "identity"})
"""What moves, copies or drops values, so that its result lies on the grid of what it reads. So does "relu"."""
NOT_NEGATIVE = frozenset({"relu", "positive"})
"""What makes no negative value, whatever it reads."""
KEEPS_SIGN = KEEPS_GRID | {"add", "concat", "average_pool", "mean", "product"}
"""What makes no negative value from maps that hold none."""

FACTS = "facts"
"""The word of what asks for a shape or the like, and so reads no value."""

MODULES: tuple[tuple[Any, str], ...] = (
    (_ConvTransposeNd, "transposed"),
    (_ConvNd, "convolution"),
    (nn.Linear, "linear"),
    (nn.MultiheadAttention, "multihead"),
    ((nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d), "average_pool"),
    ((nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d), "average_pool"),
    ((nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d), "max_pool"),
    ((nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d), "max_pool"),
    ((nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d), "dropout"),
    ((nn.Flatten, nn.Unflatten, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle), "reshape"),
    ((nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d), "pad"),
    ((nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d), "pad"),
    ((nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d), "pad"),
    (nn.Identity, "identity"),
    (nn.ReLU, "relu"),
    ((nn.ReLU6, nn.Sigmoid, nn.Hardsigmoid, nn.Softplus, nn.Softmax, nn.Softmax2d), "positive"),
)
"""Types of modules, subclasses included, and their word; the first row that fits counts."""

CALLS: dict[str, str] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), "convolution"),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), "transposed"),
    "linear": "linear",
    **dict.fromkeys(("matmul", "mm", "bmm", "einsum"), "product"),
    "scaled_dot_product_attention": "attention",
    "add": "add",
    **dict.fromkeys(("cat", "concat", "concatenate", "stack"), "concat"),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), "average_pool"),
    **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"), "average_pool"),
    "mean": "mean",
    **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool3d"), "max_pool"),
    **dict.fromkeys(("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"), "max_pool"),
    **dict.fromkeys(("flatten", "unflatten", "reshape", "view", "reshape_as", "view_as"), "reshape"),
    **dict.fromkeys(("permute", "transpose", "t", "movedim", "moveaxis", "swapaxes", "swapdims"), "reshape"),
    **dict.fromkeys(("squeeze", "unsqueeze", "expand", "expand_as", "repeat", "tile"), "reshape"),
    **dict.fromkeys(("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "roll", "flip"), "reshape"),
    **dict.fromkeys(("getitem", "narrow", "select", "chunk", "split", "unbind", "index_select"), "slice"),
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout"), "dropout"),
    **dict.fromkeys(("clone", "contiguous", "detach"), "identity"),
    **dict.fromkeys(("size", "dim", "numel", "is_floating_point"), FACTS),
    "relu": "relu",
    **dict.fromkeys(("relu6", "sigmoid", "hardsigmoid", "softplus", "softmax", "abs", "exp"), "positive"),
}
"""Names of torch's functions and of tensors' methods, without the "_" of those in place, and their word."""

FLOATING: tuple[type[nn.Module], ...] = (
    *(nn.GLU, nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
)
READS_ONE = frozenset(
    {"glu", "softmax", "log_softmax", "layer_norm", "group_norm", "instance_norm", "rms_norm", "normalize", "sum"}
)
READS_TWO = frozenset(
    {"mul", "multiply", "sub", "subtract", "isub", "div", "divide", "true_divide", "truediv", "itruediv"}
)
"""What computes in floating point and reads maps from memory, as `ir.bit_count` counts them: what looks at many values
for each that it makes, and what combines two maps, neither of which alone decides the other; what one map and numbers
make, value by value, is computed while the map is made."""

WEIGHED = frozenset({"convolution", "transposed", "linear"})
"""Read one map and one weight."""
_ATTENTION = ("query", "key", "value")


def called(node: fx.Node, model: nn.Module) -> nn.Module | None:
    """The module that a node calls, None where it calls none."""
    return model.get_submodule(str(node.target)) if node.op == "call_module" else None


def word_of(node: fx.Node, model: nn.Module) -> str:
    """The word of a call, "" where no table has it."""
    module = called(node, model)
    if module is not None:
        found = _of_settings(module)
        return next((word for kinds, word in MODULES if isinstance(module, kinds)), "") if found is None else found
    if node.op not in ("call_function", "call_method") or not _is_torchs(node):
        return ""
    found = _of_arguments(node)
    return CALLS.get(function_of(node), "") if found is None else found


def function_of(node: fx.Node) -> str:
    """The name of a function or method as people say it: "relu" of F.relu_, "add" of +=."""
    name = str(node.target) if node.op == "call_method" else getattr(node.target, "__name__", str(node.target))
    name = name.strip("_")
    return name[1:] if getattr(node.target, "__module__", None) == "_operator" and name in ("iadd", "imul") else name


def operands(node: fx.Node, word: str) -> list[fx.Node]:
    """The nodes whose values a call of that word computes with: maps, of "product" and "add" maybe parameters too."""
    if word == "concat":
        parts = argument(node, 0, "tensors")
        found = list(parts) if isinstance(parts, tuple | list) else [parts]
    elif word in ("attention", "multihead"):
        found = [argument(node, place, name) for place, name in enumerate(_ATTENTION)]
    elif word in ("add", "product"):
        found = [*node.args, *node.kwargs.values()]
        found = [*(found[1] if len(found) > 1 and isinstance(found[1], tuple | list) else ()), *found]
    else:
        found = [argument(node, 0, "input")]
    return [part for part in found if isinstance(part, fx.Node)]


def read_as_floats(node: fx.Node, model: nn.Module) -> tuple[list[fx.Node], int]:
    """The nodes whose values a call reads from memory to compute with them in floating point, and how many of them
    have to be maps, or it reads none."""
    module = called(node, model)
    name = function_of(node) if module is None and _is_torchs(node) else ""
    if isinstance(module, FLOATING) or name in READS_ONE:
        source = source_of(node)
        return ([source] if source is not None else []), 1
    terms = [*node.args, *node.kwargs.values()] if name in READS_TWO else []
    return [term for term in terms if isinstance(term, fx.Node)], 2 if terms else 0


def source_of(node: fx.Node) -> fx.Node | None:
    """What a call of one tensor reads."""
    found = argument(node, 0, "input")
    return found if isinstance(found, fx.Node) else None


def argument(node: fx.Node, place: int, name: str) -> Any:
    """An argument given by place or by name, None where it is not given."""
    return node.args[place] if place < len(node.args) else node.kwargs.get(name)


def _is_torchs(node: fx.Node) -> bool:
    module = getattr(node.target, "__module__", None) or "torch"
    return node.op == "call_method" or module.startswith(("torch", "_operator", "builtins"))


def _of_settings(module: nn.Module) -> str | None:
    """The word of a module that depends on how it was built, None of any other."""
    if isinstance(module, nn.Upsample):
        return "upsample" if module.mode.startswith("nearest") else ""
    if isinstance(module, nn.Hardtanh) and not isinstance(module, nn.ReLU6):
        return "positive" if module.min_val >= 0 else ""
    return None


def _of_arguments(node: fx.Node) -> str | None:
    """The word of a function that depends on its arguments, None of any other."""
    name = function_of(node)
    if name == "interpolate":
        return "upsample" if str(argument(node, 3, "mode") or "nearest").startswith("nearest") else ""
    if name == "pad":
        mode, value = argument(node, 2, "mode") or "constant", argument(node, 3, "value")
        return "pad" if mode != "constant" or not value else ""
    if name in ("clamp", "clamp_min", "hardtanh"):
        least = argument(node, 1, "min_val" if name == "hardtanh" else "min")
        return "positive" if isinstance(least, int | float) and least >= 0 else ""
    if name == "getattr":
        return "reshape" if node.args[1] in ("T", "mT") else FACTS
    return None
