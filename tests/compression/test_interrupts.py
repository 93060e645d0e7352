"""compression.interrupts: the first signal asks, the second one raises, handlers come back, threads are let be."""

import os
import signal
import threading

import pytest

from secateur.compression.interrupts import NO_STEP, SIGNALS, stopping


@pytest.mark.parametrize("number", SIGNALS)
def test_once_asks_twice_raises(number):
    before = {each: signal.getsignal(each) for each in SIGNALS}
    said = []

    def twice():
        with stopping(said.append) as stop:
            assert not stop.asked
            os.kill(os.getpid(), number)
            assert stop.asked
            assert len(said) == 1
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt, match="at once"):
        twice()
    assert {each: signal.getsignal(each) for each in SIGNALS} == before


def test_where_no_step_is_left_it_says_so():
    said = []
    with stopping(said.append) as stop:
        stop.training = False
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked
    assert said == [NO_STEP]


def test_a_thread_cannot_have_handlers_and_works_without():
    asked = []

    def work():
        with stopping(print) as stop:
            asked.append(stop.asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert asked == [False]
