"""The table of public names: complete, the same for people, pyright and the interpreter, and costless to import."""

import ast
import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import secateur

SOURCE = Path(secateur.__file__)


def loaded_after(statement: str) -> set[str]:
    """The names of all modules a new interpreter holds after `statement`."""
    script = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


def type_checking_table() -> dict[str, str]:
    """Public name -> module, as the TYPE_CHECKING block tells it to pyright."""
    (block,) = [
        node
        for node in ast.parse(SOURCE.read_text(encoding="utf-8")).body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    ]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert len(imports) == len(block.body), "only `from ... import ...` belongs into the TYPE_CHECKING block"
    found = {}
    for statement in imports:
        for alias in statement.names:
            assert alias.asname == alias.name, (
                f"{alias.name}: write `{alias.name} as {alias.name}`, else pyright hides it"
            )
            found[alias.name] = statement.module
    return found


def test_importing_costs_nothing():
    loaded = loaded_after("import secateur")
    assert "secateur" in loaded
    assert not loaded & {"torch", "numpy", "zstandard", "jaxtyping", "rich", "typer", "jinja2"}
    assert {name for name in loaded if name.startswith("secateur.")} == set()


def test_no_module_needs_what_only_type_checkers_read():
    names = [module.name for module in pkgutil.walk_packages(secateur.__path__, "secateur.")]
    loaded = loaded_after(f"import importlib\nfor name in {names}:\n    importlib.import_module(name)")
    assert {"secateur.maths.grid", "secateur.cli.main"} <= loaded
    assert "jaxtyping" not in loaded


def test_the_look_at_loaded_modules_can_fail():
    assert "numpy" in loaded_after("import secateur, numpy")


@pytest.mark.parametrize("name", sorted(secateur.PUBLIC))
def test_every_public_name_resolves_twice(name):
    first = getattr(secateur, name)
    again = getattr(secateur, name)
    assert first is again
    assert first is getattr(importlib.import_module(secateur.PUBLIC[name]), name)


def test_names_from_below_nn_load_no_torch():
    with_torch = ("nn", "train", "bridge", "compression")
    below = [name for name, module in secateur.PUBLIC.items() if module.split(".")[1] not in with_torch]
    assert "Artifact" in below
    assert "torch" not in loaded_after(f"from secateur import {', '.join(below)}")


def test_pyright_sees_the_same_table():
    assert type_checking_table() == secateur.PUBLIC


def test_all_and_dir_list_the_table():
    assert set(secateur.__all__) == {"__version__", *secateur.PUBLIC}
    assert len(secateur.__all__) == len(set(secateur.__all__))
    assert dir(secateur) == sorted(secateur.__all__)


def test_no_public_name_is_a_subpackage():
    modules = {module.name for module in pkgutil.iter_modules(secateur.__path__)}
    assert modules
    assert not modules & set(secateur.PUBLIC)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'prunes'"):
        secateur.prunes  # noqa: B018
