"""The processors code is generated for: which run here, and what a row promises LLVM."""

import platform

import pytest

from kernel_cases import HERE
from secateur.errors import KernelError
from secateur.kernels import target as targets
from secateur.kernels.target import NEEDED, TARGETS, host_target, supported


def test_targets():
    assert host_target().name == HERE[0]
    assert [host_target(name).name for name in HERE] == list(HERE)
    missing = next(name for name in TARGETS if name not in HERE)
    with pytest.raises(KernelError, match="does not run code for target"):
        host_target(missing)
    with pytest.raises(KernelError, match="avx9"):
        host_target("avx9")
    for target in TARGETS.values():
        registers = target.rows * target.columns + target.columns + 1
        assert registers <= (16 if target.name == "avx2" else 32)


def test_rows_agree_with_what_they_need():
    assert TARGETS.keys() == NEEDED.keys()
    for name, target in TARGETS.items():
        assert target.name == name
        assert (target.vector_bytes, target.panel) == (4 * target.lanes, target.columns * target.lanes)
        assert target.triple.startswith(target.machine) or not target.native
        assert target.native == (platform.machine() in target.machine)


def test_a_machine_without_the_extensions_is_told_so(monkeypatch):
    """Only what LLVM sees counts, not what the processor's family could have."""
    monkeypatch.setattr(targets.LLVM, "get_host_cpu_features", dict)
    supported.cache_clear()
    try:
        left = supported()
        assert all(not NEEDED[name] for name in left)
        if not left:
            with pytest.raises(KernelError, match="leave the layer to PyTorch"):
                host_target()
    finally:
        monkeypatch.undo()
        supported.cache_clear()
    assert supported() == HERE
