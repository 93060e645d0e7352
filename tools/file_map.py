"""Keeps the file map in ARCHITECTURE.md equal to the code: one row a module, said by the module's own first lines.

Usage: python tools/file_map.py (check: exit 1 where the map is out of date) or python tools/file_map.py --write.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- file map: python tools/file_map.py --write -->\n", "<!-- end of file map -->\n"


def summary(path: Path) -> str:
    """The first paragraph of a module's docstring, on one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not text:
        raise SystemExit(f"{path} does not say what it is for: begin it with a docstring")
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")


def file_map(package: Path) -> str:
    """One Markdown table for each folder below `package`, in the order of their names."""
    parts = []
    for init in sorted(package.rglob("__init__.py")):
        folder = init.parent
        modules = [path for path in sorted(folder.glob("*.py")) if path != init]
        title = f"**`{folder.relative_to(package.parent).as_posix()}/`** {summary(init)}\n"
        rows = "".join(f"| `{path.name}` | {summary(path)} |\n" for path in modules)
        parts.append(title + (f"\n| file | what it is |\n|---|---|\n{rows}" if modules else ""))
    return "\n".join(parts)


def replaced(document: str, content: str) -> str:
    """`document` with `content` between the two marks."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"the document lacks a line of its own: {(END if begin else BEGIN).strip()}")
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Check or write; returns the exit status."""
    if arguments not in ([], ["--write"]):
        print(__doc__, file=sys.stderr)
        return 2
    path = ROOT / "ARCHITECTURE.md"
    current = path.read_text(encoding="utf-8")
    wanted = replaced(current, file_map(ROOT / "src" / "secateur"))
    if arguments:
        path.write_text(wanted, encoding="utf-8")
    elif current != wanted:
        print("the file map in ARCHITECTURE.md is out of date: python tools/file_map.py --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
