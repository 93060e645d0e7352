"""cli.options: a dataclass becomes the arguments of a verb."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from secateur.cli.options import verb, widths_from
from secateur.errors import PlanError


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


def test_bit_widths_as_people_write_them():
    assert [widths_from(text) for text in ("4", "2-8", "2,4, 8")] == [4, (2, 8), {2, 4, 8}]


@pytest.mark.parametrize("text", ["", "four", "2-", "2:8", "2,,4", "-2", "2.5"])
def test_other_bit_widths_are_told_how_to_write_them(text):
    with pytest.raises(PlanError, match=r"a range \(2-8\)"):
        widths_from(text)
