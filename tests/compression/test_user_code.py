"""compression.user_code: files of the user's own count, installed ones do not; what lies in no file is compared too."""

import functools
import sys
import types

import pytest
from tiny_task import tiny_task
from torch import nn

from secateur.compression.user_code import user_code
from secateur.errors import DataError

NET = """
class Base({base}):
    limits = frozenset(("low", "high", "none"))

    def helped(self, x):
        return x in ("a", "b") or x in {{"c", "d"}}


class Mine(Base):
    @property
    def scale(self):
        return {scale}

    @staticmethod
    def twice(x):
        return {twice} * x

    def forward(self, x):
        return [{forward} for x in x]


def loss(outputs, labels):
    return {loss} * outputs.sum()
"""
WRITTEN = {"scale": 1, "twice": 2, "forward": "x", "loss": 1, "base": "Module"}


@pytest.fixture
def in_a_session(monkeypatch):
    """in_a_session(twice=3): a task whose model and loss were written where there is no file, as in a notebook."""

    def made(above="", **changed):
        session = types.ModuleType("__main__")
        monkeypatch.setitem(sys.modules, "__main__", session)
        session.Module = nn.Module
        exec(above + NET.format(**{**WRITTEN, **changed}), vars(session))
        task = tiny_task(loss=session.loss)
        task.model.append(session.Mine())
        return task

    return made


def test_the_users_code_counts_and_installed_code_does_not():
    assert list(user_code(tiny_task(), ())) == ["tiny_task.py"]


def test_two_files_of_one_name_both_count(tmp_path):
    files = [tmp_path / part / "net.py" for part in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.write_text("x = 1\n")
    before = user_code(tiny_task(), files)
    files[0].write_text("x = 2\n")
    after = user_code(tiny_task(), files)
    assert {name for name in before if before[name] != after[name]} == {"net.py"}


def test_the_code_of_a_loss_that_is_an_object_or_a_partial_counts(tmp_path, monkeypatch):
    (tmp_path / "my_losses.py").write_text(
        "class Loss:\n    def __call__(self, y, t): return y.sum()\ndef loss(y, t, scale): return scale * y.sum()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import my_losses

    for loss in (my_losses.Loss(), functools.partial(my_losses.loss, scale=2)):
        assert "my_losses.py" in user_code(tiny_task(loss=loss), ())


def test_what_was_written_in_a_session_without_a_file_is_told_by_its_name(in_a_session):
    assert list(user_code(in_a_session(), ())) == ["Mine (in no file)", "loss (in no file)", "tiny_task.py"]


def test_it_is_the_same_when_entered_again_elsewhere_and_run(in_a_session):
    first = in_a_session()
    before = user_code(first, ())
    for _ in range(1000):  # code that ran often is rewritten by Python itself
        first.model[-1].forward([1, 2])
    assert user_code(first, ()) == before == user_code(in_a_session(above="x = 1\n\n"), ())


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"scale": 3}, "Mine"), ({"twice": 3}, "Mine"), ({"forward": "-x"}, "Mine"), ({"loss": 2}, "loss")],
)
def test_what_changed_in_it_is_seen(in_a_session, changed, named):
    before, after = user_code(in_a_session(), ()), user_code(in_a_session(**changed), ())
    assert {name for name in before if before[name] != after[name]} == {f"{named} (in no file)"}


def test_a_file_of_code_that_is_not_there_is_said(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*nope\.py.*No such file"):
        user_code(tiny_task(), [tmp_path / "nope.py"])
