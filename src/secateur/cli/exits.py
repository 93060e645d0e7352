"""How a command ends: exit status 0 done, 1 a check failed, 2 wrong usage or input, 130 interrupted; never a traceback
for what a user can cause."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from secateur.errors import SecateurError

CHECK_FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
NEEDS_TORCH = "this command needs PyTorch, which is not installed: python -m pip install 'secateur[torch]'"
NOTHING_LOST = "files that were already written are whole, no other was touched"


class Verbs(TyperGroup):
    """The group of all verbs: turns errors into one line on standard error and an exit status. What a verb puts on the
    import path, for a task's code, is gone with it."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb that was asked for."""
        path = list(sys.path)
        try:
            return super().invoke(ctx)
        except SecateurError as error:
            raise _end(f"error: {error}", BAD_INPUT) from None
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise _end(f"error: {NEEDS_TORCH}", BAD_INPUT) from None
        except KeyboardInterrupt as interrupt:
            raise _end(f"interrupted: {interrupt if interrupt.args else NOTHING_LOST}", INTERRUPTED) from None
        finally:
            sys.path[:] = path


def _end(line: str, status: int) -> typer.Exit:
    # A message can quote a file's own text; control characters would reach the terminal.
    typer.echo(printable(line), file=sys.stderr)
    return typer.Exit(status)


def printable(text: str) -> str:
    """The text with control characters spelled out, safe to show in a terminal whoever wrote it; lines are kept."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
