"""A small pool of threads for generated code. Python threads that stay inside it, without the interpreter lock.

Several Python threads may run jobs at once: the first gets the workers, the others do all of their job themselves. A
forked child starts without workers and makes its own.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading

import numpy as np

from secateur.kernels.build import CodeUnit, built
from secateur.kernels.pool_code import ASLEEP, JOB, MAILBOXES_BYTES, STOP, pool_module
from secateur.kernels.target import Target

MAX_THREADS = 64
SERVE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)
HAND_OUT = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
FINISH = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def pool_unit(target: Target) -> CodeUnit:
    """The code of workers and of whoever hands work to them."""
    return CodeUnit("pool", ("alone", "work", "hand_out", "finish"), target.name, lambda: pool_module(target))


class Pool:
    """Workers, started when first needed."""

    def __init__(self, target: Target) -> None:
        code = built(pool_unit(target), target)
        self._code = code
        self.alone = FINISH(code.addresses["alone"])
        self._work = SERVE(code.addresses["work"])
        self._hand_out = HAND_OUT(code.addresses["hand_out"])
        self._finish = FINISH(code.addresses["finish"])
        self._memory = np.zeros(MAILBOXES_BYTES // 8 * (MAX_THREADS + 2), np.int64)
        self._start = self._memory.ctypes.data + -self._memory.ctypes.data % MAILBOXES_BYTES
        self._asleep = (ctypes.c_int64 * MAX_THREADS)()
        self._bells: list[threading.Semaphore] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def run(self, order: int, threads: int) -> None:
        """All shares of the job of an ORDER at this address, on at most `threads` threads, this one included; back when
        all are done."""
        if threads < 2 or not self._lock.acquire(blocking=False):
            self.alone(order)
            return
        try:
            members = min(threads, MAX_THREADS)
            self._grow(members - 1)
            sleeping = self._hand_out(self._start, order, members, ctypes.addressof(self._asleep))
            try:
                if sleeping:
                    self._wake(members - 1)
            finally:
                self._finish(self._start)
        finally:
            self._lock.release()

    def stop(self) -> None:
        """End all workers."""
        for worker, (bell, thread) in enumerate(zip(self._bells, self._threads, strict=True)):
            self._memory_of(worker).value = STOP
            bell.release()
            thread.join()
        self._bells.clear()
        self._threads.clear()

    def _wake(self, workers: int) -> None:
        for worker in range(workers):
            if self._asleep[worker] == ASLEEP:
                self._bells[worker].release()

    def _grow(self, workers: int) -> None:
        while len(self._threads) < workers:
            worker = len(self._threads)
            self._memory_of(worker).value = 0
            self._bells.append(threading.Semaphore(0))
            thread = threading.Thread(target=self._serve, args=(worker, self._bells[worker]), daemon=True)
            thread.name = f"secateur-{worker + 1}"
            self._threads.append(thread)
            thread.start()

    def _serve(self, worker: int, bell: threading.Semaphore) -> None:
        while self._work(self._start, worker) < JOB:
            bell.acquire()

    def _memory_of(self, worker: int) -> ctypes.c_int64:
        return ctypes.c_int64.from_address(self._start + MAILBOXES_BYTES * (worker + 1))


_pools: dict[str, Pool] = {}
_making = threading.Lock()


def pool_of(target: Target) -> Pool:
    """The process's pool."""
    found = _pools.get(target.name)
    if found is None:
        with _making:
            found = _pools.get(target.name) or _pools.setdefault(target.name, Pool(target))
    return found


def _forget() -> None:
    _pools.clear()
    _making.release()


@atexit.register
def _stop() -> None:
    for pool in _pools.values():
        pool.stop()


os.register_at_fork(before=_making.acquire, after_in_parent=_making.release, after_in_child=_forget)
