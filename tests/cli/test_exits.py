"""Errors end with one line and a status; only a fault of the program itself shows a traceback."""

import pytest
import typer
from typer.testing import CliRunner

from secateur.cli.exits import Verbs, printable
from secateur.errors import ArtifactError


def ended(error):
    app = typer.Typer(cls=Verbs, pretty_exceptions_enable=False)

    @app.command()
    def fail():
        raise error

    @app.callback()
    def top():
        pass

    return CliRunner().invoke(app, ["fail"], catch_exceptions=False)


def test_errors_on_purpose_are_one_line():
    ran = ended(ArtifactError("cut \x1b[31moff"))
    assert (ran.exit_code, ran.stdout, ran.stderr) == (2, "", "error: cut \\x1b[31moff\n")


def test_interrupt_says_what_is_kept():
    ran = ended(KeyboardInterrupt())
    assert (ran.exit_code, ran.stdout) == (130, "")
    assert ran.stderr == "interrupted: files that were already written are whole, no other was touched\n"
    assert ended(KeyboardInterrupt("nothing was written")).stderr == "interrupted: nothing was written\n"


def test_faults_of_the_program_pass():
    for error in (ZeroDivisionError(), ModuleNotFoundError("No module named 'abc'", name="abc")):
        with pytest.raises(type(error)):
            ended(error)


def test_printable_keeps_letters_and_lines():
    assert printable("Größe: 3\u00d74\n✓") == "Größe: 3\u00d74\n✓"
    assert printable("a\x00\x9b\u202eb\r") == "a\\x00\\x9b\\u202eb\\r"
