"""Pages from the templates beside this file: every value escaped, none missing."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def filled(template: str, *, title: str, **values: Any) -> str:
    """A template's text with these values; the title stands in its head."""
    templates = Environment(
        loader=PackageLoader("secateur.reporting"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return templates.get_template(template).render(title=title, **values)
