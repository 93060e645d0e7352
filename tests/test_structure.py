"""No two modules import one another, not even in a ring through others or through their package's own module.

The layers themselves are contracts in pyproject.toml, checked by lint-imports; those see packages side by side, but not
a module that imports from the package it lies in. Here every import counts, also one for type checking only; the table
in secateur/__init__ is the one exception, as it is lazy.
"""

from collections.abc import Mapping

import grimp
import pytest

ROOT = "secateur"


def rings(imports: Mapping[str, set[str]]) -> list[str]:
    """Modules that reach themselves: what stays after taking away, again and again, all that imports nothing left."""
    left = {name: set(found) for name, found in imports.items()}
    while leaves := {name for name, found in left.items() if not found & left.keys()}:
        left = {name: found for name, found in left.items() if name not in leaves}
    return sorted(left)


def test_rings_are_found():
    assert rings({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert rings({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d"}}) == ["a", "b", "c", "d"]


@pytest.fixture(scope="module")
def imports():
    graph = grimp.build_graph(ROOT, cache_dir=None)
    return {name: graph.find_modules_directly_imported_by(name) for name in graph.modules if name != ROOT}


def test_no_ring_of_imports(imports):
    assert len(imports) > 20
    assert rings(imports) == []


def test_modules_come_from_their_own_file_not_from_the_public_table(imports):
    """The table is for users; inside, `from secateur import Plan` would hide which layer is meant."""
    allowed = {"__version__"}
    graph = grimp.build_graph(ROOT, cache_dir=None)
    lines = [
        detail["line_contents"]
        for name in imports
        if ROOT in imports[name]
        for detail in graph.get_import_details(importer=name, imported=ROOT)
    ]
    named = {word.strip() for line in lines for word in line.partition(" import ")[2].split(",")}
    assert named <= allowed, lines
