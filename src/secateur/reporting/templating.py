"""Pages from the templates beside this file: every value escaped, none missing, one script the page vouches for."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

SCRIPT = "page.js"


def filled(template: str, *, title: str, **values: Any) -> str:
    """A template's text with these values; the title stands in its head.

    The page's policy lets a browser run the one script that hashes to what the head says: nothing that a name brings
    along, even if it were not escaped.
    """
    templates = Environment(
        loader=PackageLoader("secateur.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["at_dots"] = _at_dots
    script = files("secateur.reporting").joinpath("templates", SCRIPT).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    given = {"title": title, "script": Markup(script), "script_hash": digest, **values}
    return templates.get_template(template).render(given)


def _at_dots(name: str) -> Markup:
    """A dotted name that may be broken after its dots, and is still one word when copied."""
    return Markup(".<wbr>").join(escape(part) for part in name.split("."))
