"""The size budget: small files, short functions, few parameters. Exit 1 where it is broken.

Usage: python tools/size_budget.py src tests benchmarks tools
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

AIM_LINES = 120
FILE_LINES = 400
FUNCTION_LINES = 60
PARAMETERS = 6

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def parameters(function: Function, *, bound: bool) -> int:
    """How many named parameters a caller can give, as ruff counts: no `*args`, `**kwargs` or bound `self`."""
    given = function.args
    return len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs) - bound


def functions(tree: ast.AST, *, in_class: bool = False) -> Iterator[tuple[Function, bool]]:
    """Every function below `tree`, and whether its first parameter is bound by attribute access."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, Function):
            decorators = [] if isinstance(child, ast.Lambda) else child.decorator_list
            static = any(isinstance(name, ast.Name) and name.id == "staticmethod" for name in decorators)
            yield child, in_class and not static and not isinstance(child, ast.Lambda)
        yield from functions(child, in_class=isinstance(child, ast.ClassDef))


def broken_rules(source: str, name: str) -> list[str]:
    """One line for each rule that `source` breaks; `name` is the file's name in them."""
    lines = source.count("\n") + (not source.endswith("\n") and bool(source))
    found = [f"{name}:1: {lines} lines in a file, at most {FILE_LINES}"] if lines > FILE_LINES else []
    for function, bound in functions(ast.parse(source, name)):
        label = getattr(function, "name", "lambda")
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        if length > FUNCTION_LINES:
            found.append(f"{name}:{function.lineno}: {label} has {length} lines, at most {FUNCTION_LINES}")
        count = parameters(function, bound=bound)
        if count > PARAMETERS:
            found.append(f"{name}:{function.lineno}: {label} has {count} parameters, at most {PARAMETERS}")
    return found


def main(roots: list[str]) -> int:
    """Check every Python file below `roots`; returns the exit status."""
    missing = [root for root in roots if not Path(root).is_dir()]
    if missing or not roots:
        print(f"size budget: no such folder: {', '.join(missing) or '(none named)'}", file=sys.stderr)
        return 2
    sources = {path: path.read_text(encoding="utf-8") for root in roots for path in sorted(Path(root).rglob("*.py"))}
    found = [line for path, source in sources.items() for line in broken_rules(source, str(path))]
    sizes = [source.count("\n") for source in sources.values()] or [0]
    above = sum(size > AIM_LINES for size in sizes)
    print("\n".join(found), end="\n" if found else "")
    print(
        f"size budget: {len(sources)} files, median {median(sizes):.0f} lines, largest {max(sizes)}, "
        f"{above} above the aim of {AIM_LINES}; {len(found)} broken rules"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
