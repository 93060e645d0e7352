"""The pool runs every share of a job exactly once: awake, asleep, from many threads at once, and after a fork."""

import ctypes
import os
import threading
import time

import numpy as np
import pytest

from secateur.kernels.build import CodeUnit, built
from secateur.kernels.code import Module
from secateur.kernels.driver import JOB
from secateur.kernels.pool import Job, Pool, pool_of
from secateur.kernels.target import host_target

TARGET = host_target()


def counting_module() -> str:
    """job: adds 1 to call[member] and to layer[members]."""
    module = Module()
    f = module.function("job", JOB)
    f.add_atomic(f["call"] + f["member"] * 8, 1)
    f.add_atomic(f["layer"] + f["members"] * 8, 1)
    f.give()
    return module.text()


@pytest.fixture(scope="module")
def job():
    library = built(CodeUnit("counting", ("job",), "", counting_module), TARGET)
    made = Job(library.addresses["job"])
    made.library = library
    return made


@pytest.fixture
def pool():
    made = Pool(TARGET)
    yield made
    made.stop()


def shares(pool, job, threads, times=1):
    """How often each member and each number of members was seen."""
    layer, call = np.zeros(16, np.int64), np.zeros(16, np.int64)
    for _ in range(times):
        pool.run(job, layer.ctypes.data, call.ctypes.data, threads)
    return call[:threads].tolist(), layer.tolist()


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_every_member_once(pool, job, threads):
    members, counts = shares(pool, job, threads, times=50)
    assert members == [50] * threads
    assert counts[threads] == 50 * threads


def test_workers_sleep_and_are_woken(pool, job):
    assert shares(pool, job, 3)[0] == [1, 1, 1]
    for pause in (0.0, 0.02, 0.1):
        time.sleep(pause)
        assert shares(pool, job, 3)[0] == [1, 1, 1]


def test_workers_are_started_when_needed_and_stopped(pool, job):
    before = threading.active_count()
    shares(pool, job, 1)
    assert threading.active_count() == before
    shares(pool, job, 3)
    assert threading.active_count() == before + 2
    pool.stop()
    assert threading.active_count() == before
    assert shares(pool, job, 2)[0] == [1, 1]


def test_several_python_threads_at_once(pool, job):
    layer, call = np.zeros(16, np.int64), np.zeros(16, np.int64)

    def work() -> None:
        for _ in range(100):
            pool.run(job, layer.ctypes.data, call.ctypes.data, 2)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert call[0] == 300
    assert layer[1] + layer[2] // 2 == 300
    assert call[1] == layer[2] // 2


def test_a_forked_child_has_a_pool_of_its_own(job):
    assert shares(pool_of(TARGET), job, 2)[0] == [1, 1]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            found = shares(pool_of(TARGET), job, 2, times=10)[0]
            pool_of(TARGET).stop()
            os.write(writer, repr(found).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        assert answer.read() == "[10, 10]"
    os.waitpid(child, 0)
    assert shares(pool_of(TARGET), job, 2)[0] == [1, 1]


def test_jobs_are_called_as_the_code_says():
    assert list(JOB) == ["layer", "call", "member", "members"]
    assert len(Job._argtypes_) == len(JOB)
    assert ctypes.sizeof(ctypes.c_void_p) == 8
