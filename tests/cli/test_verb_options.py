"""cli.options: a dataclass becomes the arguments of a verb."""

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from secateur.cli.options import verb


@dataclass(frozen=True)
class Asked:
    """What it does."""

    name: Annotated[str, typer.Argument(help="Whose.")]
    count: Annotated[int, typer.Option(min=0, help="How many.")] = 2


def test_fields_are_arguments_with_their_help_and_defaults():
    got = []
    app = typer.Typer()
    app.command()(verb(Asked, got.append))
    assert CliRunner().invoke(app, ["a"]).exit_code == 0
    assert CliRunner().invoke(app, ["b", "--count", "3"]).exit_code == 0
    assert got == [Asked("a"), Asked("b", 3)]
    assert CliRunner().invoke(app, ["b", "--count", "-1"]).exit_code == 2
    told = CliRunner().invoke(app, ["--help"]).output
    assert "What it does." in told
    assert "How many." in told
