"""A task is found by name, and a wrong name or return is explained."""

import sys
from pathlib import Path

import pytest

from secateur.errors import DataError
from secateur.train.loading import load_task
from secateur.train.task import Task, score

FILE = Path(__file__).parents[1] / "cli" / "sample_task.py"


@pytest.fixture(autouse=True)
def same_path_afterwards(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_from_a_file():
    task = load_task(f"{FILE}:build")
    assert isinstance(task, Task)
    assert score(task) > 0.9


def test_code_of_a_task_can_import_siblings_when_it_runs(tmp_path, monkeypatch):
    (tmp_path / "late_sibling.py").write_text("from torch.nn.functional import cross_entropy\n")
    late = "\n\ndef loss(outputs, labels):\n    import late_sibling\n\n"
    late += "    return late_sibling.cross_entropy(outputs, labels)\n"
    (tmp_path / "late_task.py").write_text(FILE.read_text().replace("F.cross_entropy", "loss") + late)
    task = load_task(f"{tmp_path / 'late_task.py'}:build")
    inputs, labels = task.train[0]
    assert task.loss(task.model(inputs), labels) > 0
    monkeypatch.delitem(sys.modules, "late_sibling")


def test_a_task_that_cannot_be_had_leaves_the_path():
    before = list(sys.path)
    with pytest.raises(DataError):
        load_task(f"{FILE}:nothing")
    assert sys.path == before


def test_from_a_module_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "my_own_task.py").write_text(FILE.read_text())
    monkeypatch.chdir(tmp_path)
    assert isinstance(load_task("my_own_task:build"), Task)
    monkeypatch.delitem(sys.modules, "my_own_task")


def test_siblings_of_the_file_can_be_imported(tmp_path, monkeypatch):
    (tmp_path / "sibling_of_task.py").write_text(FILE.read_text())
    (tmp_path / "main_task.py").write_text("from sibling_of_task import build\n")
    assert isinstance(load_task(f"{tmp_path / 'main_task.py'}:build"), Task)
    monkeypatch.delitem(sys.modules, "sibling_of_task")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no colon", "file.py:function or module:function"),
        (":build", "file.py:function or module:function"),
        ("a.py:not a name", "file.py:function or module:function"),
        ("missing.py:build", "there is no file missing.py"),
        ("no_such_module_anywhere:build", "there is no module 'no_such_module_anywhere'"),
        (".:ok", "'.' is no module's name"),
        ("..task:build", "'..task' is no module's name"),
        ("os.nothing:build", "there is no module 'os.nothing'"),
        (f"{FILE}:biuld", "did you mean 'build'"),
        (f"{FILE}:no_function", "has no function 'no_function'"),
        (f"{FILE}:needs", "it needs argument: give them defaults"),
        (f"{FILE}:nothing", "returned NoneType, not a secateur.Task"),
        (f"{FILE}:one_epoch", "val is an iterator, empty after one epoch"),
    ],
)
def test_what_is_wrong_is_said(name, words):
    with pytest.raises(DataError, match=words.replace(".", r"\.")):
        load_task(name)


def test_faults_of_the_users_own_code_keep_their_traceback(tmp_path):
    (tmp_path / "faulty.py").write_text("def build():\n    return 1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        load_task(f"{tmp_path / 'faulty.py'}:build")
    (tmp_path / "lacking.py").write_text("import a_package_nobody_has\n")
    with pytest.raises(ModuleNotFoundError, match="a_package_nobody_has"):
        load_task(f"{tmp_path / 'lacking.py'}:build")
