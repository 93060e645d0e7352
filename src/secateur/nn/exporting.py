"""torch.export with everything around it that a caller should not have to know: quiet, reversible, exact about errors.

The model is a copy in evaluation mode on the CPU in float32; the batch (dimension 0 of every input) stays free where
the model allows it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, ShapesCollection
from torch.nn.utils.rnn import PackedSequence

from secateur.errors import DataError, GraphError
from secateur.nn.bags import as_rows_
from secateur.nn.copying import copied
from secateur.nn.fx_graph import place_of

Example = Tensor | tuple[Tensor, ...] | list[Tensor]

INSTEAD = "pack() then keeps the weights alone: a file that restore_ loads and that cannot run by itself"

# What torch.export raises on a model that runs eagerly: its own errors are RuntimeErrors and ValueErrors, the others
# come from Python code that got a symbol where it wanted a number, or that torch wrote with a module's name in it.
EXPORT_ERRORS = (
    *(SyntaxError, RuntimeError, ValueError, TypeError),
    *(AssertionError, AttributeError, LookupError, ArithmeticError),
)


@dataclass(frozen=True)
class Exported:
    """What torch.export made of a model; `model` is the copy it read, `note` says why the batch is fixed (or is "")."""

    program: ExportedProgram
    model: nn.Module
    note: str


def inputs_in(example: Example) -> int:
    """How many inputs an example has, also one that `as_inputs` refuses."""
    return 1 if isinstance(example, Tensor) else len(example)


def as_inputs(example: Example) -> tuple[Tensor, ...]:
    """The example as a tuple of CPU tensors, float32, int64 or bool, the same batch size in dimension 0 of each.

    Raises DataError for anything else.
    """
    tensors = (example,) if isinstance(example, Tensor) else example
    if not isinstance(tensors, tuple | list) or not tensors or not all(isinstance(part, Tensor) for part in tensors):
        raise DataError("the example must be a tensor or a tuple of tensors, what the model is called with")
    if any(tensor.ndim == 0 for tensor in tensors):
        raise DataError("every input needs a batch in dimension 0; the example holds a 0-d tensor")
    batches = sorted({tensor.shape[0] for tensor in tensors})
    if len(batches) > 1 or batches[0] == 0:
        raise DataError(f"dimension 0 of every input is the batch: one size from 1 up, not {batches}")
    return tuple(_plain(tensor) for tensor in tensors)


def _plain(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu().clone()
    if tensor.is_floating_point():
        return tensor.float()
    if tensor.is_complex():
        raise DataError("a complex input has no place in the graph: give its real and imaginary part")
    return tensor if tensor.dtype == torch.bool else tensor.long()


def exported(model: nn.Module, inputs: tuple[Tensor, ...], known: frozenset[str]) -> Exported:
    """Export a copy of the model as functional aten calls; those outside `known` are decomposed where torch can.

    The model runs once on the inputs first, so that its own errors reach the user as they are. Raises GraphError,
    with torch's reason in one line, where the export fails with a free and with a fixed batch, and with our own for
    packed sequences and bags given by offsets.
    """
    model = as_rows_(copied(model).eval().cpu().float().requires_grad_(False))
    with torch.no_grad(), torch.random.fork_rng(devices=[]), _padded_sequences_only(model):
        model(*(tensor.clone() for tensor in inputs))
    with _quiet(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        twice = tuple(tensor.repeat(2, *(1,) * (tensor.ndim - 1)) for tensor in inputs)
        free = inputs if len(inputs[0]) > 1 else twice  # torch takes a batch of 1 for a constant
        try:
            return Exported(_export(model, free, known, fixed=False), model, "")
        except EXPORT_ERRORS as error:
            reason = _reason(error)
        try:
            program = _export(model, inputs, known, fixed=True)
        except EXPORT_ERRORS as error:
            raise GraphError(
                f"torch.export cannot trace {type(model).__name__}: {_reason(error)}; {_advice(error)}. {INSTEAD}"
            ) from error
    return Exported(program, model, f"the batch is fixed at {len(inputs[0])}: {reason}")


def _export(model: nn.Module, inputs: tuple[Tensor, ...], known: frozenset[str], *, fixed: bool) -> ExportedProgram:
    batch, sizes = Dim("batch"), ShapesCollection()
    for tensor in inputs:
        sizes[tensor] = {0: batch}
    free = None if fixed else sizes.dynamic_shapes(model, inputs)
    program = torch.export.export(model, inputs, dynamic_shapes=free, strict=False)
    offered = torch.export.default_decompositions()
    return program.run_decompositions({call: rule for call, rule in offered.items() if str(call) not in known})


@contextlib.contextmanager
def _padded_sequences_only(model: nn.Module) -> Iterator[None]:
    """GraphError where a recurrent layer is given a packed sequence: torch.export then fails without saying why."""

    def hook(path: str, module: nn.Module, inputs: tuple[object, ...]) -> None:
        if inputs and isinstance(inputs[0], PackedSequence):
            raise GraphError(
                f"{path or 'the model'} ({type(module).__name__}) runs over a packed sequence, whose steps have "
                f"batches of different sizes, which no graph has: pad the sequences and mask the outputs. {INSTEAD}"
            )

    layers = [(path, module) for path, module in model.named_modules() if isinstance(module, nn.RNNBase)]
    hooks = [module.register_forward_pre_hook(partial(hook, path)) for path, module in layers]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No fused attention (it is one opaque call), no warnings of torch's own making, no logs of failed attempts."""
    fast, logger = torch.backends.mha.get_fastpath_enabled(), logging.getLogger("torch")
    level = logger.level
    torch.backends.mha.set_fastpath_enabled(False)
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        torch.backends.mha.set_fastpath_enabled(fast)


def _advice(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return "rename that module"
    return "branches, loops and indices that depend on the values of tensors cannot be traced"


def _reason(error: BaseException) -> str:
    """The first telling line of an error message of torch's, which run over many lines."""
    if isinstance(error, SyntaxError):
        return "it writes names of modules into code, and one of these names breaks it (a Python keyword, a quote, NUL)"
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip(" -")]
    told = next((line for line in lines if "specialized" in line or "data-dependent" in line), None)
    line = told or (lines[0] if lines else type(error).__name__)
    return line.split(". ")[0].rstrip(".!") + place_of(error)
