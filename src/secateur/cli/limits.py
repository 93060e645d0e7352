"""How much an artifact may take: a stranger's file can ask for terabytes or years, a large one of one's own may."""

from __future__ import annotations

from typing import Annotated

import typer

MaxBytes = Annotated[
    int, typer.Option(min=1, help="Most memory, in bytes, for weights once dense and for running them; 4 GiB.")
]
MaxSeconds = Annotated[float, typer.Option(min=0, help="Longest run, by a rough estimate made before it begins.")]
