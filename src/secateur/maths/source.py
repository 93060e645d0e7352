"""Programs as source: one tile of a convolution in C99 or numpy, additions shared, nothing else needed."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from secateur.maths.straight_line import Step, StraightLine

C_FILE = """\
/* {about}
 * One tile: y[i] = sum over k of w[k] x[i + k], multi-indices flattened, the last one fastest.
 * Compile with -DREAL=double for other numbers than float.
 */
#ifndef REAL
#define REAL float
#endif

{functions}
/* x: {inputs} inputs, w: {taps} taps, y: {outputs} outputs. Transform the filter once where it is used again. */
void convolution_tile(const REAL *x, const REAL *w, REAL *y)
{{
    REAL v[{products}], u[{products}];
    int t;
    input_transform(x, v);
    filter_transform(w, u);
    for (t = 0; t < {products}; t++)
        v[t] *= u[t];
    output_transform(v, y);
}}
"""

C_FUNCTION = """\
static void {name}(const REAL *x, REAL *y)
{{
{body}}}
"""

NUMPY_FILE = '''\
"""{about}

One tile: y[i] = sum over k of w[k] x[i + k], multi-indices flattened on the first axis, the last one fastest. Further
axes (tiles, channels) are carried along.
"""

import numpy as np


{functions}
def convolution_tile(x, w):
    """x: {inputs} inputs, w: {taps} taps; {outputs} outputs. Transform the filter once where it is used again."""
    return output_transform(filter_transform(w) * input_transform(x))
'''

NUMPY_FUNCTION = """\
def {name}(x):
{body}

"""


def c_source(programs: Mapping[str, StraightLine], about: str) -> str:
    """A C file with the three transforms and `convolution_tile`; `programs` by the names of the functions."""
    functions = "\n".join(C_FUNCTION.format(name=name, body=_c_body(one)) for name, one in programs.items())
    return C_FILE.format(about=about.replace("*/", "* /"), functions=functions, **_sizes(programs))


def numpy_source(programs: Mapping[str, StraightLine], about: str) -> str:
    """A Python module with the same functions on arrays."""
    functions = "".join(NUMPY_FUNCTION.format(name=name, body=_numpy_body(one)) for name, one in programs.items())
    return NUMPY_FILE.format(about=about, functions=functions, **_sizes(programs))


def _sizes(programs: Mapping[str, StraightLine]) -> dict[str, int]:
    into, filter_, out = (programs[name] for name in ("input_transform", "filter_transform", "output_transform"))
    return {
        "inputs": into.inputs,
        "taps": filter_.inputs,
        "products": out.inputs,
        "outputs": len(out.outputs),
    }


def _c_body(program: StraightLine) -> str:
    lines = [f"const REAL t{at} = {_sum(step, program.inputs, '(REAL)')};" for at, step in _numbered(program)]
    lines += [f"y[{i}] = {_value(v, program.inputs)};" for i, v in enumerate(program.outputs)]
    return "".join(f"    {line}\n" for line in lines)


def _numpy_body(program: StraightLine) -> str:
    lines = [f"t{at} = {_sum(step, program.inputs, '')}" for at, step in _numbered(program)]
    values = [f"        {_value(v, program.inputs)},\n" for v in program.outputs]
    return "".join(f"    {line}\n" for line in lines) + f"    return np.stack([\n{''.join(values)}    ])\n"


def _numbered(program: StraightLine) -> list[tuple[int, Step]]:
    return list(enumerate(program.steps, start=program.inputs))


def _value(index: int, inputs: int) -> str:
    return f"x[{index}]" if index < inputs else f"t{index}"


def _sum(step: Step, inputs: int, cast: str) -> str:
    """The right-hand side of one step."""
    first = ("-" if step.ca < 0 else "") + _term(step.ca, _value(step.a, inputs), cast)
    if not step.cb:
        return first
    return f"{first} {'-' if step.cb < 0 else '+'} {_term(step.cb, _value(step.b, inputs), cast)}"


def _term(c: Fraction, value: str, cast: str) -> str:
    """|c| times a value. A fraction is divided in double and rounded once."""
    size = abs(c)
    if size == 1:
        return value
    if size.denominator == 1:
        return f"{size.numerator} * {value}"
    return f"{cast}({size.numerator}.0 / {size.denominator}.0) * {value}"
