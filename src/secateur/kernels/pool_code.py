"""Code of the thread pool: what a worker does while it has no job, and how a job is handed out.

Every worker has a mailbox, one number. A worker that finds no job for a short while marks itself asleep and returns to
Python, where it waits; who hands out a job sees the mark and wakes it. So no system call is needed while workers are
awake, and no core is kept busy while there is nothing to do.
"""

from __future__ import annotations

from secateur.kernels.code import I64, PTR, Function, Module, Value
from secateur.kernels.layout import CALL
from secateur.kernels.record import Record
from secateur.kernels.target import Target
from secateur.kernels.waiting import emit_pause, emit_wait

IDLE, ASLEEP, JOB, STOP = range(4)
"""What a mailbox says. Only its worker goes from IDLE to ASLEEP and from JOB to IDLE; the pool writes the rest."""
WORK = Record("function", "layer")
"""What a job is: function(layer, call, member, members)."""
ORDER = Record("work", *CALL.names)
"""The address of a WORK and, right behind it, a call, whose counters whoever carries the order out sets to 0."""
COUNTERS = CALL.names[CALL.names.index("workspace") + 1 :]
POOL = Record("function", "layer", "call", "members", "finished")
"""The job at hand, and how many workers have finished it."""
MAILBOXES_BYTES = 64
"""Where the mailboxes begin, one in every cache line, so that no two workers share one."""
SPINS = 3000
"""Looks into the mailbox before a worker goes to sleep: some 0.1 ms."""


def pool_module(target: Target) -> str:
    """alone(order), work(pool, worker), hand_out(pool, order, members, asleep), finish(pool)."""
    module = Module()
    _emit_alone(module)
    _emit_work(module, target)
    _emit_hand_out(module)
    _emit_finish(module, target)
    return module.text()


def _emit_alone(module: Module) -> None:
    """All of a job on the caller's thread. One argument, as each costs Python as much as a whole small record does."""
    f = module.function("alone", {"order": PTR})
    work, call = _started(f)
    function, layer = (WORK.read_pointer(f, work, name) for name in WORK.names)
    f.call(function, [layer, call, f.constant(0), f.constant(1)])
    f.give()


def _started(f: Function) -> tuple[Value, Value]:
    """Work and call of an order, its counters at 0."""
    for name in COUNTERS:
        f.store(f.constant(0), ORDER.place(f["order"], name))
    return ORDER.read_pointer(f, f["order"], "work"), ORDER.place(f["order"], CALL.names[0])


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
    f = module.function("hand_out", {"pool": PTR, "order": PTR, "members": I64, "asleep": PTR}, I64)
    work, call = _started(f)
    POOL.write(f, f["pool"], **WORK.read(f, work), call=call, members=f["members"], finished=0)
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
