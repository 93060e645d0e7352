"""The command `secateur`: every verb, one line each."""

from __future__ import annotations

from typing import Annotated

import typer

from secateur import __version__
from secateur.cli.check import check
from secateur.cli.compress import compress
from secateur.cli.conv import conv
from secateur.cli.demo import demo
from secateur.cli.exits import Verbs
from secateur.cli.pack import pack
from secateur.cli.plan import plan
from secateur.cli.report import report
from secateur.cli.run import run
from secateur.cli.show import show

app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Cut what a neural network does not need, and keep what it knows.",
    epilog="Exit status: 0 done, 1 a check failed, 2 wrong usage or input.",
)
for verb in (demo, plan, compress, pack, show, run, check, report, conv):
    app.command()(verb)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"secateur {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """What stands before the verb."""


def main() -> None:
    """Entry point of the installed command."""
    app()
