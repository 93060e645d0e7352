"""The pool runs every share of a job exactly once: awake, asleep, from many threads at once, and after a fork."""

import os
import threading
import time

import numpy as np
import pytest

from secateur.kernels.build import CodeUnit, built
from secateur.kernels.code import Module
from secateur.kernels.driver import JOB
from secateur.kernels.layout import CALL
from secateur.kernels.memory import ORDER_NUMBERS, WORKSPACE_NUMBER
from secateur.kernels.pool import Pool, pool_of
from secateur.kernels.pool_code import ORDER
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
    return built(CodeUnit("counting", ("job",), "", counting_module), TARGET).addresses["job"]


@pytest.fixture
def pool():
    made = Pool(TARGET)
    yield made
    made.stop()


def shares(pool, job, threads, times=1):
    """How often each member and each number of members was seen."""
    layer, order, _work = ordered(job)
    for _ in range(times):
        pool.run(order.ctypes.data, threads)
    return order[1 : 1 + threads].tolist(), layer.tolist()


def ordered(job):
    """A layer of zeros, the order of the job on it with a call of zeros, and the work, which somebody has to hold."""
    layer, order = np.zeros(16, np.int64), np.zeros(len(ORDER.names), np.int64)
    work = np.array([job, layer.ctypes.data])
    order[0] = work.ctypes.data
    return layer, order, work


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
    layer, order, _work = ordered(job)

    def work() -> None:
        for _ in range(100):
            pool.run(order.ctypes.data, 2)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    call = order[1:]
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
    assert ORDER.names[1:] == CALL.names
    assert ORDER.names[:4] == ("work", "source", "target", "residual")
    assert len(ORDER.names) == ORDER_NUMBERS
    assert ORDER.names[WORKSPACE_NUMBER] == "workspace"


def test_counters_of_a_call_start_at_zero(pool, job):
    _layer, order, _work = ordered(job)
    order[1 + CALL.names.index("arrived")] = order[1 + CALL.names.index("next_block")] = 7
    for threads in (1, 2):
        pool.run(order.ctypes.data, threads)
        assert not order[1 + CALL.names.index("workspace") + 1 :].any()
