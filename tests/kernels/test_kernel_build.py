"""Compiled code is kept for its owner alone, found again, and never trusted when damaged or foreign."""

import ctypes
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from secateur.errors import KernelError, SecateurWarning
from secateur.kernels import build
from secateur.kernels.ahead import build_ahead
from secateur.kernels.build import CodeUnit, built, built_together
from secateur.kernels.emitters import emitters
from secateur.kernels.object_cache import cache_folder
from secateur.kernels.target import host_target

TARGET = host_target()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    emitters()  # known before, so that the folder holds code alone
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(build, "_loaded", {})
    return cache_folder()


def unit(number: int, emitted: list[int] | None = None) -> CodeUnit:
    def emit() -> str:
        if emitted is not None:
            emitted.append(number)
        return f"define i64 @f() {{\n  ret i64 {number}\n}}\n"

    return CodeUnit("test", ("f",), str(number), emit)


def answer(made: CodeUnit) -> int:
    return ctypes.CFUNCTYPE(ctypes.c_int64)(built(made, TARGET).addresses["f"])()


def test_code_is_compiled_once_a_machine_and_loaded_once_a_process(cache, monkeypatch):
    emitted: list[int] = []
    assert answer(unit(41, emitted)) == 41
    assert built(unit(41), TARGET) is built(unit(41), TARGET)
    monkeypatch.setattr(build, "_loaded", {})
    assert answer(unit(41, emitted)) == 41
    assert emitted == [41]
    assert cache.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in cache.iterdir()] == [0o600]


def named(name: str, number: int) -> CodeUnit:
    return CodeUnit("test", (name,), str(number), lambda: f"define i64 @{name}() {{\n  ret i64 {number}\n}}\n")


def test_units_are_linked_together_and_found_one_by_one(cache, monkeypatch):
    def answers(units):
        found = zip(built_together(units, TARGET), units, strict=True)
        return [ctypes.CFUNCTYPE(ctypes.c_int64)(code.addresses[one.exports[0]])() for code, one in found]

    f, g, h = named("f", 1), named("g", 2), named("h", 3)
    assert answers([f, g]) == [1, 2]
    assert answers([h, g, f]) == [3, 2, 1]
    assert built(f, TARGET) is built(g, TARGET)
    assert len(list(cache.iterdir())) == 3
    monkeypatch.setattr(build, "_loaded", {})
    monkeypatch.setattr(build, "compile_object", None)
    assert answers([g, h]) == [2, 3]


def test_where_one_of_several_files_is_no_code_all_are_made_again(cache, monkeypatch):
    f, g = named("f", 1), named("g", 2)
    built_together([f, g], TARGET)
    build.keep(f, TARGET, b"not an object")
    monkeypatch.setattr(build, "_loaded", {})
    code = built_together([f, g], TARGET)[0]
    assert ctypes.CFUNCTYPE(ctypes.c_int64)(code.addresses["f"])() == 1
    with pytest.raises(KernelError, match="could not be loaded"):
        built_together([named("f", 3), named("f", 4)], TARGET)


def test_different_units_have_different_files(cache):
    assert [answer(unit(n)) for n in (1, 2)] == [1, 2]
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:40], lambda b: b[:99] + b"x" + b[100:], lambda b: b""]
)
def test_damaged_files_are_compiled_again(cache, monkeypatch, damage):
    assert answer(unit(5)) == 5
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    monkeypatch.setattr(build, "_loaded", {})
    assert answer(unit(5)) == 5
    assert path.read_bytes() == whole


def test_where_nothing_can_be_kept_code_runs_all_the_same(cache):
    cache.parent.parent.mkdir(parents=True, exist_ok=True)
    cache.parent.write_text("a file where a folder should be")
    with pytest.warns(SecateurWarning, match="cannot keep compiled code"):
        assert answer(unit(6)) == 6


def test_compiling_ahead_in_other_processes(cache):
    emitted: list[int] = []
    seen: list[tuple[int, int]] = []
    units = [unit(n, emitted) for n in (1, 2, 3)]
    assert build_ahead(units, TARGET, processes=2, watch=lambda *numbers: seen.append(numbers)) == 3
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert sorted(emitted) == [1, 2, 3]
    assert build_ahead(units, TARGET, processes=2) == 0
    assert [answer(one) for one in units] == [1, 2, 3]
    assert sorted(emitted) == [1, 2, 3]


def test_what_does_not_compile_ahead_is_left(cache, capfd):
    """The process ends over the text; another unit is compiled by the other process or when it is needed."""
    wrong = CodeUnit("test", ("f",), "wrong", lambda: "define nonsense")
    assert build_ahead([wrong, unit(4)], TARGET, processes=1) == 2
    assert "not valid LLVM IR" in capfd.readouterr().err
    assert answer(unit(4)) == 4
    with pytest.raises(KernelError, match="not valid"):
        built(wrong, TARGET)


def test_processes_that_write_the_same_file_agree(cache):
    script = (
        "import ctypes; from secateur.kernels.build import *; from secateur.kernels.target import host_target as h\n"
        "unit = CodeUnit('test', ('f',), '7', lambda: 'define i64 @f() {\\n  ret i64 7\\n}\\n')\n"
        "print(ctypes.CFUNCTYPE(ctypes.c_int64)(built(unit, h()).addresses['f'])())"
    )
    command = [sys.executable, "-c", script]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(os.environ)) for _ in range(3)]
    assert [process.communicate()[0].split() for process in running] == [[b"7"]] * 3
    assert len([path for path in cache.iterdir() if not path.name.startswith("sources-")]) == 1


def test_threads_that_want_the_same_code_compile_it_once(cache):
    emitted: list[int] = []
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: answer(unit(8, emitted)), range(8))) == [8] * 8
    assert emitted == [8]
