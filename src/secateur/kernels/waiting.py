"""Code with which threads wait for one another: a barrier that spins briefly and then lets others run."""

from __future__ import annotations

from secateur.kernels.code import Function, Value, Variable
from secateur.kernels.target import X86, Target

SPINS = 4000
"""Looks at a counter before a thread gives up its core between looks."""


def emit_pause(f: Function, target: Target) -> None:
    """Tell the core that it waits."""
    if target.machine == X86:
        f.module.declare("declare void @llvm.x86.sse2.pause()")
        f.do("call void @llvm.x86.sse2.pause()")
    else:
        f.module.declare("declare void @llvm.aarch64.hint(i32)")
        f.do("call void @llvm.aarch64.hint(i32 1)")


def emit_wait(f: Function, target: Target, counter: Value, least: Value) -> None:
    """Wait until a shared counter is at least `least`."""
    f.module.declare("declare i32 @sched_yield()")
    reached = f.variable("i1", 0)
    with f.repeat_until(SPINS) as until:
        reached.set(f.load_atomic(counter) >= least)
        emit_pause(f, target)
        until(reached.get())
    with f.otherwise(reached.get()), f.repeat_until() as until:
        f.emit("i32", "call i32 @sched_yield()")
        until(f.load_atomic(counter) >= least)


def emit_barrier(f: Function, target: Target, counter: Value, members: Value, passed: Variable) -> None:
    """All members arrive before any goes on. `passed` counts arrivals at earlier barriers, and starts at 0."""
    with f.when(members >= 2):
        passed.set(passed.get() + members)
        f.add_atomic(counter, 1)
        emit_wait(f, target, counter, passed.get())
