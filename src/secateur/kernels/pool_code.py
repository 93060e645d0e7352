"""Code of the thread pool: what a worker does while it has no job, and how a job is handed out.

Every worker has a mailbox, one number. A worker that finds no job for a short while marks itself asleep and returns to
Python, where it waits; who hands out a job sees the mark and wakes it. So no system call is needed while workers are
awake, and no core is kept busy while there is nothing to do.
"""

from __future__ import annotations

from secateur.kernels.code import I64, PTR, Function, Module, Value
from secateur.kernels.record import Record
from secateur.kernels.target import Target
from secateur.kernels.waiting import emit_pause, emit_wait

IDLE, ASLEEP, JOB, STOP = range(4)
"""What a mailbox says. Only its worker goes from IDLE to ASLEEP and from JOB to IDLE; the pool writes the rest."""
POOL = Record("function", "layer", "call", "members", "finished")
"""The job at hand, and how many workers have finished it."""
MAILBOXES_BYTES = 64
"""Where the mailboxes begin, one in every cache line, so that no two workers share one."""
SPINS = 3000
"""Looks into the mailbox before a worker goes to sleep: some 0.1 ms."""


def pool_module(target: Target) -> str:
    """work(pool, worker), hand_out(pool, function, layer, call, members), finish(pool)."""
    module = Module()
    _emit_work(module, target)
    _emit_hand_out(module)
    _emit_finish(module, target)
    return module.text()


def _mailbox(f: Function, worker: Value) -> Value:
    return f["pool"] + (worker * MAILBOXES_BYTES + MAILBOXES_BYTES)


def _emit_work(module: Module, target: Target) -> None:
    """Do jobs until there is none for a while (gives IDLE) or never again (gives STOP)."""
    f = module.function("work", {"pool": PTR, "worker": I64}, I64)
    mailbox = _mailbox(f, f["worker"])
    mail = f.variable(I64, IDLE)
    with f.repeat_until() as until:
        with f.repeat_until(SPINS) as found:
            emit_pause(f, target)
            mail.set(f.load_atomic(mailbox))
            found(mail.get() >= JOB)
        with f.when(mail.get().equals(IDLE)):
            mail.set(f.exchange_if(mailbox, IDLE, ASLEEP))
        with f.when(mail.get().equals(JOB)):
            f.store_atomic(IDLE, mailbox)
            _emit_job(f, f["worker"] + 1)
            f.add_atomic(POOL.place(f["pool"], "finished"), 1)
        until(mail.get() < JOB)
        until(mail.get() >= STOP)
    f.give(mail.get())


def _emit_job(f: Function, member: Value) -> None:
    function, layer, call = (POOL.read_pointer(f, f["pool"], name) for name in ("function", "layer", "call"))
    f.call(function, [layer, call, member, POOL.read(f, f["pool"])["members"]])


def _emit_hand_out(module: Module) -> None:
    """Put a job into members - 1 mailboxes. Gives how many of those sleep; `asleep` says which."""
    names = {"pool": PTR, "function": I64, "layer": I64, "call": I64, "members": I64, "asleep": PTR}
    f = module.function("hand_out", names, I64)
    POOL.write(f, f["pool"], **{name: f[name] for name in ("function", "layer", "call", "members")}, finished=0)
    sleeping = f.variable(I64, 0)
    with f.loop(0, f["members"] - 1) as worker:
        before = f.exchange(_mailbox(f, worker), JOB)
        f.store(before, f["asleep"] + worker * 8)
        with f.when(before.equals(ASLEEP)):
            sleeping.set(sleeping.get() + 1)
    f.give(sleeping.get())


def _emit_finish(module: Module, target: Target) -> None:
    """Do the share of member 0 and wait for the others."""
    f = module.function("finish", {"pool": PTR})
    _emit_job(f, f.constant(0))
    others = POOL.read(f, f["pool"])["members"] - 1
    emit_wait(f, target, POOL.place(f["pool"], "finished"), others)
    f.give()
