"""`secateur conv`: an exact convolution algorithm, printed with its proof, or written as JSON, C, numpy or a plot."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from secateur.cli.output import AsJSON, check_writable, note, show_result, write_file
from secateur.errors import AlgorithmError, DataError
from secateur.ir.text_table import text_table
from secateur.maths.bilinear import MATRICES, Bilinear
from secateur.maths.choosing import Wish, compared
from secateur.maths.convolution import Extent, convolution
from secateur.maths.exact_matrix import ExactMatrix
from secateur.maths.float_error import FORMATS, FloatError
from secateur.reporting.algorithms import algorithms_page

MOST_COLUMNS = 16
"""A wider matrix is told by its size: it is read in a file, not in a terminal."""
MEANING = {"at": "output transform", "g": "filter transform", "bt": "input transform"}


def conv(
    sizes: Annotated[str, typer.Argument(metavar="OUTPUTS,TAPS", help="6,3 in one dimension, 6x6,3x3 in two.")],
    moduli: Annotated[str | None, typer.Option(help='Co-prime moduli: "x, x^6-1".')] = None,
    points: Annotated[str | None, typer.Option(help='Evaluation points: "0, 1, -1, 1/2, inf".')] = None,
    wish: Annotated[
        str | None, typer.Option(help='The best under a wish: "error=1e-5, dtype=float16, integers".')
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option("-o", "--output", help="Write .json, .c, .py, or .html: products against error. Repeatable."),
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Make an exact convolution algorithm: fewest products, or by moduli or points."""
    for path in output or ():
        _check_output(path)
    chosen = parse_wish(wish) if wish is not None else None
    algorithm = convolution(
        *parse_sizes(sizes), moduli=moduli, points=points.split(",") if points is not None else None, wish=chosen
    )
    if not algorithm.proves():
        raise AlgorithmError(f"{algorithm} fails its proof; please report this")
    dtype = chosen.dtype if chosen else "float32"
    for path in output or ():
        write_file(path, _content(path.suffix, algorithm, dtype).encode())
        note(f"wrote {path}")
    errors = [algorithm.error(name) for name in FORMATS]
    show_result(_text(algorithm, errors), _data(algorithm, errors), as_json=as_json)


def parse_sizes(text: str) -> tuple[Extent, Extent]:
    """Outputs and taps from "6,3", "6x6,3x3" or "F(6x6,3x3)". DataError for anything else."""
    match = re.fullmatch(r"(?:F\()?(\d{1,4}(?:x\d{1,4})*),(\d{1,4}(?:x\d{1,4})*)\)?", text.replace(" ", ""))
    if match is None:
        raise DataError(f"{text!r}: write outputs and taps as 6,3 or, in two dimensions, 6x6,3x3")
    outputs, taps = (tuple(map(int, part.split("x"))) for part in match.groups())
    return outputs, taps


def parse_wish(text: str) -> Wish:
    """A Wish from "error=1e-5, dtype=float16, integers". DataError for an unknown word."""
    found: dict[str, Any] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        key, _, value = word.partition("=")
        if word == "integers":
            found["integers"] = True
        elif key == "dtype":
            found["dtype"] = value
        elif key == "error" and re.fullmatch(r"\d*\.?\d+(e[+-]?\d+)?", value):
            found["error"] = float(value)
        else:
            raise DataError(f"{word!r} is no wish: use error=1e-5, dtype=float16, integers, separated by commas")
    return Wish(**found)


def _check_output(path: Path) -> None:
    if path.suffix not in (".json", ".c", ".py", ".html"):
        raise DataError(f"{path.name!r}: an algorithm is written as .json, .c or .py, the plot of its family as .html")
    check_writable(path)


def _content(suffix: str, algorithm: Bilinear, dtype: str) -> str:
    if suffix == ".html":
        measured = compared(algorithm.outputs, algorithm.taps, dtype)
        own = (algorithm, algorithm.error(dtype))
        known = any(other.recipe == algorithm.recipe for other, _ in measured)
        return algorithms_page(measured if known else [own, *measured])
    writers = {".json": algorithm.to_json, ".c": algorithm.to_c, ".py": algorithm.to_numpy}
    return writers[suffix]()


def _data(algorithm: Bilinear, errors: list[FloatError]) -> dict[str, Any]:
    adds = algorithm.adds
    return {
        **json.loads(algorithm.to_json()),
        "name": algorithm.name,
        "proved": True,
        "products": algorithm.products,
        "gain": algorithm.gain,
        "adds": {"output": adds.output, "filter": adds.filter, "input": adds.input},
        "condition": algorithm.condition,
        "errors": {one.dtype: {"largest": one.largest, "rms": one.rms, "bound": one.bound} for one in errors},
        "how": errors[0].how,
    }


def _text(algorithm: Bilinear, errors: list[FloatError]) -> str:
    adds = algorithm.adds
    rows = [(one.dtype, f"{one.largest:.2g}", f"{one.rms:.2g}", f"{one.bound:.2g}") for one in errors]
    table = text_table(("dtype", "largest error", "rms error", "bound"), rows)
    return "\n".join(
        [
            str(algorithm),
            *(f"product rows: {fact}" for fact in algorithm.known),
            "proved: sum_t at[i,t] g[t,k] bt[t,j] = [j = i + k] holds exactly, and the programs equal the matrices",
            f"additions, shared: input {adds.input}, filter {adds.filter}, output {adds.output}; "
            f"condition {algorithm.condition:.3g}",
            "",
            table,
            f"how: {errors[0].how}; relative to the largest output; the bound holds for every input, relative to "
            "channels * taps * max |x| * max |w|",
            *(line for name in MATRICES for line in ("", *_matrix(name, getattr(algorithm, name)))),
        ]
    )


def _matrix(name: str, matrix: ExactMatrix) -> list[str]:
    rows, columns = matrix.shape
    head = f"{name}, {MEANING[name]}, {rows} x {columns}"
    if columns > MOST_COLUMNS or rows > MOST_COLUMNS:
        return [f"{head}: write it with -o algorithm.json"]
    cells = [[str(entry) for entry in row] for row in matrix.rows()]
    widths = [max(len(row[k]) for row in cells) for k in range(columns)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    return [head, *(f"  {line}" for line in lines)]
