"""Drawing with text: escaped SVG elements, and scales with round ticks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup, escape

Attribute = str | float


def element(tag: str, *children: str, **attributes: Attribute) -> Markup:
    """One element; text and attribute values are escaped. `class_` means class, other underscores mean hyphens."""
    written = "".join(f' {_name(key)}="{escape(number(value))}"' for key, value in attributes.items())
    inside = Markup("").join(children)
    return Markup(f"<{tag}{written}>{inside}</{tag}>") if inside else Markup(f"<{tag}{written}/>")


def group(*children: str, **attributes: Attribute) -> Markup:
    """Elements that belong together."""
    return element("g", *children, **attributes)


def drawing(width: float, height: float, *children: str, title: str, description: str) -> Markup:
    """A whole picture that scales with the page; title and description are what a screen reader says."""
    names = (element("title", title), element("desc", description))
    view = f"0 0 {number(width)} {number(height)}"
    return element("svg", *names, *children, viewBox=view, role="img", aria_label=f"{title}. {description}")


def number(value: Attribute) -> str:
    """A position in hundredths at most, without zeros at its end; text as it is."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def path(points: list[tuple[float, float]]) -> str:
    """The `d` of a line through points; a point that is not finite breaks the line."""
    parts, pen = [], "M"
    for x, y in points:
        if math.isfinite(x) and math.isfinite(y):
            parts.append(f"{pen}{number(x)} {number(y)}")
            pen = "L"
        else:
            pen = "M"
    return "".join(parts)


@dataclass(frozen=True)
class Scale:
    """Values low..high to positions start..end; log: in proportion to the logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The position of a value; values outside are moved to the nearer end, NaN stays NaN."""
        if math.isnan(value):
            return value
        low, high, at = (self.low, self.high, value)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(max(value, self.low))
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values between low and high, about that many; on a log scale powers of ten or 1-2-5 steps where there
        are at least three."""
        logarithmic = _log_ticks(self.low, self.high, about) if self.log else []
        return logarithmic if len(logarithmic) > 2 else _linear_ticks(self.low, self.high, about)


def _linear_ticks(low: float, high: float, about: int) -> list[float]:
    if high <= low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def _log_ticks(low: float, high: float, about: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1, 2, 5), (1,)):
        found = [
            factor * 10.0**power
            for power in range(first, last + 1)
            for factor in factors
            if low * (1 - 1e-9) <= factor * 10.0**power <= high * (1 + 1e-9)
        ]
        if len(found) <= about + 2:
            return found
    return found[:: math.ceil(len(found) / about)]


def _name(key: str) -> str:
    return key if key == "viewBox" else key.rstrip("_").replace("_", "-")
