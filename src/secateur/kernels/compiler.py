"""From LLVM IR to machine code in process: compile to an object file, load an object file, look at the assembly."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from secateur.errors import KernelError
from secateur.kernels.target import LLVM, Target

PASSES = ("sroa", "instruction_combine", "new_gvn", "simplify_cfg")
"""What LLVM does to the text: variables into registers, the obvious. Loops and vectors stay as emitted; LLVM's
usual pipeline would take five times as long and change nothing for the better."""


OBJECT_STARTS = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\x64\x86")
"""ELF, 64-bit Mach-O, COFF for x86-64."""


@dataclass(frozen=True)
class Library:
    """Loaded machine code. Addresses stay valid as long as this value lives."""

    code: Any
    addresses: dict[str, int]


@functools.cache
def _initialized(native: bool) -> None:
    if native:
        LLVM.initialize_native_target()
        LLVM.initialize_native_asmprinter()
    else:
        LLVM.initialize_all_targets()
        LLVM.initialize_all_asmprinters()


def _machine(target: Target) -> Any:
    _initialized(target.native)
    family = LLVM.Target.from_triple(target.triple)
    return family.create_target_machine(
        cpu=target.cpu,
        features=target.features,
        opt=3,
        reloc="pic",
        codemodel="small",
    )


def _optimized(ir: str, machine: Any) -> Any:
    try:
        module = LLVM.parse_assembly(ir, LLVM.create_context())
        module.verify()
    except RuntimeError as error:
        raise KernelError(f"the emitted code is not valid LLVM IR, please report it: {error}") from error
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    builder = LLVM.create_pass_builder(machine, LLVM.create_pipeline_tuning_options())
    passes = LLVM.create_new_function_pass_manager()
    for name in PASSES:
        getattr(passes, f"add_{name}_pass")()
    for function in module.functions:
        if not function.is_declaration:
            passes.run(function, builder)
    return module


def compile_object(ir: str, target: Target) -> bytes:
    """An object file for `target` from a module's text; deterministic. KernelError where the text is no valid IR."""
    machine = _machine(target)
    return machine.emit_object(_optimized(ir, machine))


def assembly(ir: str, target: Target) -> str:
    """What compile_object makes, as text: to see which instructions were chosen."""
    machine = _machine(target)
    return machine.emit_assembly(_optimized(ir, machine))


def load_objects(contents: Sequence[bytes], names: Sequence[str], target: Target) -> Library:
    """Link object files into this process, all at once, as every link takes a fifth of a millisecond; KernelError
    where one is damaged, one of `names` is missing or two files have one name."""
    if not all(content.startswith(OBJECT_STARTS) for content in contents):
        raise KernelError("machine code could not be loaded: it is no object file (LLVM would crash on it)")
    builder = LLVM.JITLibraryBuilder()
    for content in contents:
        builder.add_object_img(content)
    for name in names:
        builder.export_symbol(name)
    try:
        library = builder.link(_linker(target), f"object {next(_numbers)}")
    except RuntimeError as error:
        raise KernelError(f"machine code could not be loaded: {error}") from error
    return Library(library, {name: library[name] for name in names})


_numbers = itertools.count()


@functools.cache
def _linker(target: Target) -> Any:
    """One a process: an engine for every object would cost a millisecond each."""
    return LLVM.create_lljit_compiler(_machine(target), suppress_errors=True)
