"""The file map of ARCHITECTURE.md says what the modules say, and a stale one is noticed."""

import runpy
from pathlib import Path

import pytest

MAPPER = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "file_map.py"))


@pytest.fixture
def package(tmp_path):
    inner = tmp_path / "pack" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "pack" / "__init__.py").write_text('"""The whole."""\n')
    (tmp_path / "pack" / "one.py").write_text('"""Splits a | b,\nthen joins.\n\nAnd more."""\n')
    (inner / "__init__.py").write_text('"""The rest."""\n')
    return tmp_path / "pack"


def test_map_of_a_package(package):
    assert MAPPER["file_map"](package) == (
        "**`pack/`** The whole.\n\n| file | what it is |\n|---|---|\n"
        "| `one.py` | Splits a \\| b, then joins. |\n\n"
        "**`pack/inner/`** The rest.\n"
    )


def test_a_module_that_says_nothing_is_refused(package):
    (package / "two.py").write_text("x = 1\n")
    with pytest.raises(SystemExit, match=r"two\.py does not say what it is for"):
        MAPPER["file_map"](package)


def test_content_between_the_marks_is_replaced_and_nothing_else():
    begin, end = MAPPER["BEGIN"], MAPPER["END"]
    once = MAPPER["replaced"](f"a\n{begin}old\n{end}b\n", "new\n")
    assert once == f"a\n{begin}\nnew\n\n{end}b\n"
    assert MAPPER["replaced"](once, "new\n") == once


@pytest.mark.parametrize(("document", "missing"), [("nothing", "file map"), (MAPPER["BEGIN"], "end of file map")])
def test_a_document_without_marks_is_refused(document, missing):
    with pytest.raises(SystemExit, match=missing):
        MAPPER["replaced"](document, "new\n")


def test_usage(capsys):
    assert MAPPER["main"](["--help"]) == 2
    assert "Usage:" in capsys.readouterr().err
