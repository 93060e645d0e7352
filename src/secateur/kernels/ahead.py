"""Compile much code at once, before it is needed: in processes of their own, as LLVM is locked within one.

A process takes unit after unit, as starting one takes as long as compiling several. Texts go to it and machine code
comes back in frames of a length and content.
"""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from typing import IO

from secateur.kernels.build import CodeUnit, is_kept, keep
from secateur.kernels.compiler import compile_object
from secateur.kernels.target import TARGETS, Target

COMPILE_SECONDS = 120
"""Longer than any unit takes: a process that has not answered by then is given up."""
LENGTH_BYTES = 8


def build_ahead(
    units: Iterable[CodeUnit],
    target: Target,
    *,
    processes: int,
    watch: Callable[[int, int], None] = lambda _done, _total: None,
) -> int:
    """Compile what is not on disk yet; how many units that were. watch sees how many are done, and of how many.

    What could not be compiled is left: whoever needs it compiles it, and sees why not.
    """
    missing = [unit for unit in dict.fromkeys(units) if not is_kept(unit, target)]
    waiting: queue.SimpleQueue[CodeUnit] = queue.SimpleQueue()
    done: queue.SimpleQueue[bool] = queue.SimpleQueue()
    for unit in missing:
        waiting.put(unit)
    workers = [
        threading.Thread(target=_work, args=(waiting, done, target)) for _ in range(min(processes, len(missing)))
    ]
    for worker in workers:
        worker.start()
    left, number = len(workers), 0
    while left:
        if done.get():
            number += 1
            watch(number, len(missing))
        else:
            left -= 1
    for worker in workers:
        worker.join()
    return len(missing)


def _work(waiting: queue.SimpleQueue[CodeUnit], done: queue.SimpleQueue[bool], target: Target) -> None:
    """Units through one process until none waits; done gets True for each, at the end False."""
    command = [sys.executable, "-m", "secateur.kernels.ahead", target.name]
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            while process.poll() is None:
                try:
                    unit = waiting.get_nowait()
                except queue.Empty:
                    break
                content = _answer(process, unit.emit())
                if content is None:
                    break
                keep(unit, target, content)
                done.put(True)
    finally:
        done.put(False)


def _answer(process: subprocess.Popen[bytes], text: str) -> bytes | None:
    """What a process makes of a text; None where it ended over it."""
    assert process.stdin is not None
    assert process.stdout is not None
    timer = threading.Timer(COMPILE_SECONDS, process.kill)
    timer.start()
    try:
        _send(process.stdin, text.encode())
        return _receive(process.stdout)
    except BrokenPipeError:
        return None
    finally:
        timer.cancel()


def _send(stream: IO[bytes], content: bytes) -> None:
    stream.write(len(content).to_bytes(LENGTH_BYTES, "little") + content)
    stream.flush()


def _receive(stream: IO[bytes]) -> bytes | None:
    """The next frame; None at the end of the stream."""
    head = stream.read(LENGTH_BYTES)
    length = int.from_bytes(head, "little")
    content = stream.read(length)
    return content if len(head) == LENGTH_BYTES and len(content) == length else None


def main(target: Target) -> None:
    """Compile what comes in on standard input until it ends."""
    while (text := _receive(sys.stdin.buffer)) is not None:
        _send(sys.stdout.buffer, compile_object(text.decode(), target))


if __name__ == "__main__":
    main(TARGETS[sys.argv[1]])
