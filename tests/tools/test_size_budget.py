"""The size budget finds each broken rule exactly at its limit, and only there."""

import runpy
from pathlib import Path

import pytest

BUDGET = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "size_budget.py"))
broken_rules, main = BUDGET["broken_rules"], BUDGET["main"]


def body(lines: int) -> str:
    return "def f():\n" + "    pass\n" * (lines - 1)


@pytest.mark.parametrize(("lines", "broken"), [(399, 0), (400, 0), (401, 1)])
def test_file_lines(lines, broken):
    assert len(broken_rules("x = 1\n" * lines, "a.py")) == broken
    assert len(broken_rules("x = 1\n" * (lines - 1) + "x = 1", "a.py")) == broken


@pytest.mark.parametrize(("lines", "broken"), [(60, 0), (61, 1)])
def test_function_lines(lines, broken):
    assert len(broken_rules(body(lines), "a.py")) == broken


@pytest.mark.parametrize(
    ("source", "broken"),
    [
        ("def f(a, b, c, d, e, f): ...", False),
        ("def f(a, b, c, d, e, f, g): ...", True),
        ("def f(a, /, b, *, c, d, e, f, g): ...", True),
        ("def f(a, b, c, d, e, f, *g, **h): ...", False),
        ("def f(a, b, c, d, e, *args, f, g): ...", True),
        ("class A:\n    def f(self, a, b, c, d, e, f): ...", False),
        ("class A:\n    def f(self, a, b, c, d, e, f, g): ...", True),
        ("class A:\n    @staticmethod\n    def f(a, b, c, d, e, f, g): ...", True),
        ("x = lambda a, b, c, d, e, f, g: 0", True),
        ("def f():\n    async def g(a, b, c, d, e, f, g): ...", True),
    ],
)
def test_parameters(source, broken):
    assert bool(broken_rules(source, "a.py")) is broken


def test_a_broken_file_is_named_with_its_line_and_fails_the_run(tmp_path, capsys):
    (tmp_path / "long.py").write_text("\n" + body(61))
    assert main([str(tmp_path)]) == 1
    assert f"{tmp_path / 'long.py'}:2: f has 61 lines, at most 60" in capsys.readouterr().out


def test_a_clean_folder_passes_and_a_missing_one_is_a_usage_error(tmp_path, capsys):
    (tmp_path / "short.py").write_text(body(60))
    assert main([str(tmp_path)]) == 0
    assert "1 files, median 60 lines, largest 60" in capsys.readouterr().out
    assert main([str(tmp_path / "absent")]) == 2
    assert main([]) == 2
