"""Which tensors of which modules can be pruned, where else the same tensor is used, and how often each weight
multiplies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import PackedSequence

from secateur.errors import DataError
from secateur.ir.rules import Prune, Quantize
from secateur.nn.grouping import Grouping
from secateur.nn.mode_kept import mode_kept
from secateur.nn.recomputed import recomputed

RECURRENT = ("weight_ih_l*", "weight_hh_l*", "weight_hr_l*")
CELL = ("weight_ih", "weight_hh")

PRUNABLE: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Linear: ("weight",),
    nn.Conv1d: ("weight",),
    nn.Conv2d: ("weight",),
    nn.Conv3d: ("weight",),
    nn.ConvTranspose1d: ("weight",),
    nn.ConvTranspose2d: ("weight",),
    nn.ConvTranspose3d: ("weight",),
    nn.MultiheadAttention: ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"),
    nn.LSTM: RECURRENT,
    nn.GRU: RECURRENT,
    nn.RNN: RECURRENT,
    nn.LSTMCell: CELL,
    nn.GRUCell: CELL,
    nn.RNNCell: CELL,
    nn.Embedding: ("weight",),
    nn.EmbeddingBag: ("weight",),
}
"""Module type (subclasses included) -> its weights a plan may prune, as shell patterns; docs/layers.md says the limits.
MultiheadAttention.out_proj is a Linear of its own."""

TABLES = (nn.Embedding, nn.EmbeddingBag)
"""What looks rows of its weight up and multiplies nothing."""


@dataclass
class Site:
    """One tensor of a model and every place that holds it, in the model's order.

    frozen  whether it takes no gradient while another parameter of the model does
    """

    ends: list[tuple[str, nn.Module, str]] = field(default_factory=list)
    frozen: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """State-dict keys, the first one first."""
        return tuple(f"{path}.{tensor}" if path else tensor for path, _, tensor in self.ends)

    @property
    def tensor(self) -> Tensor:
        """The tensor itself."""
        _, module, name = self.ends[0]
        return getattr(module, name)

    def refusal(self, rule: Prune | Quantize | None = None) -> str:
        """Why this tensor can have no rule (or not this one), or the empty string."""
        path, module, name = self.ends[0]
        if computed := self._computed():
            return computed
        if not any(_is_prunable(m, n) for _, m, n in self.ends):
            return f"{type(module).__name__}.{name} has no pruning rule"
        if not self.tensor.numel():
            return "it has no elements"
        if not self.tensor.is_floating_point() or self.tensor.dim() < 2:
            return "not a floating-point matrix"
        for path, module, name in self.ends:
            if not _is_prunable(module, name):
                return f"tied to {path}.{name} of {type(module).__name__}, which cannot be transformed"
            if isinstance(module, TABLES) and (module.sparse or module.max_norm is not None):
                setting = "sparse" if module.sparse else "max_norm"
                return f"{setting} changes the weight itself, not what a rule makes of it: build {path} without it"
        if not self.tensor.requires_grad and all(isinstance(module, TABLES) for _, module, _ in self.ends):
            return "a frozen table, as from_pretrained makes it: requires_grad_() to prune it"
        if self.frozen:
            return "frozen, while other parameters of the model train: requires_grad_() to prune or quantize it"
        if rule is not None and rule.granularity == "channel" and self.channel_axis() is None:
            return 'its output channels lie on no single axis: only granularity "tensor" fits'
        return ""

    def _computed(self) -> str:
        """What computes a weight from this tensor before every forward pass, and how to undo it, or the empty string:
        the weight could be pruned, and this is not what multiplies."""
        for _, module, name in self.ends:
            for made, maker in recomputed(module).items():
                if name in (made + source for source in maker.sources) and _is_prunable(module, made):
                    return f"{maker.by} computes {made} from it before every forward pass: {maker.undone(made)}"
        return ""

    def unfit(self, rule: Prune) -> str:
        """Why this tensor, which can be pruned, can have no pattern of this rule's, or the empty string."""
        if not rule.patterns:
            return ""
        axis = self.channel_axis()
        if all(isinstance(module, TABLES) for _, module, _ in self.ends):
            return "it looks rows up and multiplies nothing: it has no inputs that could be grouped"
        if axis is None:
            return "its output channels lie on no single axis: which weights are the inputs of one differs by group"
        length = Grouping.of(tuple(self.tensor.shape), axis, rule.patterns[0]).length
        if not any(pattern.cuts(length) for pattern in rule.patterns):
            return f"a row of {length}, of which {rule.patterns[-1]} would cut none"
        return ""

    def channel_axis(self) -> int | None:
        """The axis of the output channels, None where there is none: they lie on two, or on others at another end.

        An embedding, which multiplies nothing, leaves it to what it is tied to.
        """
        axes = {_channel_axis(module) for _, module, _ in self.ends if not isinstance(module, TABLES)} or {1}
        return axes.pop() if len(axes) == 1 else None


def _is_prunable(module: nn.Module, name: str) -> bool:
    return any(
        isinstance(module, kind) and any(fnmatchcase(name, pattern) for pattern in patterns)
        for kind, patterns in PRUNABLE.items()
    )


def _channel_axis(module: nn.Module) -> int | None:
    """Axis 0, a row a channel (of a recurrent layer: a row a gate and unit), but for transposed convolutions: they hold
    inputs first, and the outputs of several groups on both axes."""
    if not isinstance(module, _ConvTransposeNd) or module.out_channels == module.groups == module.in_channels:
        return 0
    return 1 if module.groups == 1 else None


def original_of(module: nn.Module, name: str) -> nn.Parameter:
    """The parameter behind a parametrized tensor: what an optimizer steps."""
    chains = cast(nn.ModuleDict, module.parametrizations)
    return cast(nn.Parameter, chains[name].original)


def find_sites(model: nn.Module) -> list[Site]:
    """Every parameter tensor of a model once, with all its ends, in the model's order.

    A weight that another parametrization already owns (weight norm, spectral norm, or an earlier `prepare_`) appears
    under that parametrization's own name and is therefore never prunable.
    """
    # A model whose every parameter is frozen is only not being trained: nobody chose layers that must stay.
    trains = any(parameter.requires_grad for parameter in model.parameters())
    sites: dict[int, Site] = {}
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            site = sites.setdefault(id(parameter), Site(frozen=trains and not parameter.requires_grad))
            site.ends.append((path, module, name))
    return list(sites.values())


def measure_reuse(model: nn.Module, example: Any) -> dict[int, int]:
    """id(tensor) -> how often each of its weights is multiplied for one example, by running the model once without
    gradients.

    example is a tensor, or a tuple or list of tensors, whose dimension 0 is the batch; DataError for anything else.
    Modules are left in the mode they were in.
    """
    inputs = tuple(example) if isinstance(example, tuple | list) else (example,)
    batch = _batch_of(inputs)
    reuse: dict[int, int] = {}

    def watch(counter: Callable[[nn.Module, Any, Any], dict[str, int]]) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            first = given[0] if given else next(iter(named.values()), None)
            for name, positions in counter(module, first, output).items():
                tensor = _tensor_at(module, name)
                if tensor is not None:
                    reuse[id(tensor)] = reuse.get(id(tensor), 0) + positions // batch

        return hook

    hooks = [
        module.register_forward_hook(watch(counter), with_kwargs=True)
        for module in model.modules()
        for kind, counter in _POSITIONS.items()
        if isinstance(module, kind)
    ]
    try:
        with mode_kept(model), torch.no_grad():
            model.eval()(*inputs)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        shapes = ", ".join(f"{tuple(part.shape)} of {part.dtype}" for part in inputs)
        raise DataError(f"the model cannot take the example, {shapes}: {type(error).__name__}: {error}") from error
    finally:
        for handle in hooks:
            handle.remove()
    return reuse


def _batch_of(inputs: tuple[Any, ...]) -> int:
    if not inputs or not all(isinstance(part, Tensor) for part in inputs):
        raise DataError("the example must be a tensor or a tuple of tensors, what the model is called with")
    if not inputs[0].dim() or not inputs[0].shape[0]:
        raise DataError(f"dimension 0 of the example is its batch, one or more, not {tuple(inputs[0].shape)}")
    return inputs[0].shape[0]


def _tensor_at(module: nn.Module, dotted: str) -> Tensor | None:
    *path, name = dotted.split(".")
    for part in path:
        module = getattr(module, part)
    if parametrize.is_parametrized(module, name):
        chain = cast(nn.ModuleDict, module.parametrizations)[name]
        # Weight norm and its like keep several originals: none of them is the matrix that multiplies.
        return original_of(module, name) if hasattr(chain, "original") else None
    return getattr(module, name)


def _rows(x: Tensor, width: int) -> int:
    """How many vectors of `width` numbers a tensor holds; none where these have no numbers."""
    return x.numel() // width if width else 0


def _linear_positions(module: Any, _: Any, output: Tensor) -> dict[str, int]:
    return {"weight": _rows(output, module.out_features)}


def _convolution_positions(module: Any, _: Any, output: Tensor) -> dict[str, int]:
    return {"weight": _rows(output, module.out_channels)}


def _transposed_positions(module: Any, x: Tensor, _: Tensor) -> dict[str, int]:
    return {"weight": _rows(x, module.in_channels)}


def _attention_positions(module: Any, _: Any, output: Any) -> dict[str, int]:
    tokens = _rows(output[0], module.embed_dim)
    # MultiheadAttention hands out_proj's weight to a function, so that Linear's own hook never fires.
    names = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight")
    return dict.fromkeys(names, tokens)


def _recurrent_positions(module: Any, x: Tensor | PackedSequence, _: Any) -> dict[str, int]:
    steps = _rows(x.data if isinstance(x, PackedSequence) else x, module.input_size)
    return {name: steps for names in module._all_weights for name in names if name.startswith("weight")}


def _cell_positions(module: Any, x: Tensor, _: Any) -> dict[str, int]:
    return dict.fromkeys(CELL, _rows(x, module.input_size))


_POSITIONS: dict[type[nn.Module], Callable[[Any, Any, Any], dict[str, int]]] = {
    nn.Linear: _linear_positions,
    nn.Conv1d: _convolution_positions,
    nn.Conv2d: _convolution_positions,
    nn.Conv3d: _convolution_positions,
    _ConvTransposeNd: _transposed_positions,
    nn.MultiheadAttention: _attention_positions,
    nn.RNNBase: _recurrent_positions,
    nn.RNNCellBase: _cell_positions,
}
"""Module type -> (module, first input, output) -> how often each weight multiplied. TABLES multiply nothing."""
