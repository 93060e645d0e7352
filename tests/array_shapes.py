"""A type checker for jaxtyping's import hook that holds functions to the array shapes in their signatures, no more.

Other annotations are left to pyright: many tests hand over a wrong type on purpose, to see which error a user gets.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, get_args

import jaxtyping
from beartype import beartype
from jaxtyping import AbstractArray, AbstractDtype

F = TypeVar("F", bound=Callable[..., Any])


def holds_an_array(annotation: object) -> bool:
    """Whether an annotation is a jaxtyping array or has one in it, as in `tuple[Float[np.ndarray, "n"], int]`."""
    if isinstance(annotation, type) and issubclass(annotation, AbstractArray):
        return True
    return any(holds_an_array(part) for part in get_args(annotation))


def checked(function: F) -> F:
    """`function`, which raises when an array argument or result breaks the annotated shape or dtype."""
    if not hasattr(function, "__annotations__"):
        return function
    kept = {name: hint for name, hint in function.__annotations__.items() if holds_an_array(hint)}
    if not kept:
        return function
    function.__annotations__ = {name: kept.get(name, Any) for name in function.__annotations__}
    return beartype(function)


def name_shapes() -> None:
    """Make jaxtyping's names known in every module: the package imports them for type checkers alone, so that no user
    needs jaxtyping, and the hook looks annotations up while it decorates."""
    for name, value in vars(jaxtyping).items():
        if isinstance(value, type) and issubclass(value, AbstractDtype):
            setattr(builtins, name, value)


def modules_with_shapes(package: str) -> list[str]:
    """The modules of a package whose signatures can hold shapes: those that import jaxtyping. Imports none of them."""
    spec = find_spec(package)
    assert spec
    assert spec.submodule_search_locations
    root = Path(spec.submodule_search_locations[0])
    found = [path for path in root.rglob("*.py") if "from jaxtyping import" in path.read_text(encoding="utf-8")]
    return sorted(".".join([package, *path.relative_to(root).with_suffix("").parts]) for path in found)
