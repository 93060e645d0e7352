"""The rules a plan can give: Prune, which weights of a tensor go; Quantize, in how many bits the rest is kept, or a
feature map."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from secateur.errors import PlanError
from secateur.ir.pattern import GROUPS, Pattern

METHODS = ("threshold", "balanced", "sr_ste", "top_n")
PATTERNED = ("balanced", "sr_ste", "top_n")
"""Methods that leave a Pattern, n of every m weights."""
FORMS = ("analytic", "straight_through", "dense")
DEFAULT_FORM, FIXED_FORM = "straight_through", "dense"
"""The latter where a pattern is given, so that no threshold says how many weights stay."""
GRANULARITIES = ("tensor", "channel")
LEVELS = ("width", "value")
SCALES = ("free", "power_of_two", "dynamic")
NARROWEST, WIDEST = 2, 8


@dataclass(frozen=True)
class Prune:
    """How a tensor's weights are cut.

    method       "threshold": self-pruning, US20190180184A1; every tensor learns its own threshold
                 "balanced": n of every m weights stay; learned with soft counts that become equal, US20200097830A1
                 "sr_ste", "top_n": rivals that leave the same pattern: magnitude at every step, straight through with a
                 decay of what is masked (Zhou et al., arXiv 2102.04010), and magnitude of the trained weights, at once
    form         which gradient: "analytic" (soft gate forward, its exact derivative backward, as published),
                 "straight_through" (hard mask forward, and what it keeps is counted; the derivative of the soft gate
                 backward), "dense" (soft gate forward; pruned weights keep receiving the full gradient of the loss).
                 None: "straight_through", or with one n "dense"
    granularity  one threshold a "tensor" (as published) or one an output "channel"
    start        initial threshold in standard deviations of the trained weights
    n, m         of a pattern: n of every m weights stay, 2 <= m <= 1024 and n < m (`ir.pattern`). Several n, (1, 2, 4,
                 8), are those one of which `harden_` gives every tensor, as a Target asks; "balanced" alone
    also         "2:4" beside n=4, m=16: of these 16, at most 2 in any 4, so that one mask serves both
    groups       "inputs": m consecutive inputs (channels of a convolution, at every kernel position); "banks": m
                 consecutive weights of an output's row, over its inputs and kernel positions. None: "inputs"
    decay        of what "sr_ste" masks, added to its gradient times the weight; None: 2e-4, as published
    form, granularity and start are of thresholds, which "sr_ste" and "top_n" have none of.
    """

    method: str = "threshold"
    form: Any = None
    granularity: str = "tensor"
    start: float = 0.2
    n: Any = None
    m: int | None = None
    also: str | None = None
    groups: str | None = None
    decay: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.n, Iterable) and not isinstance(self.n, str):
            object.__setattr__(self, "n", tuple(self.n))
        if self.form is None:
            given = self.method == "balanced" and len(self.patterns) == 1
            object.__setattr__(self, "form", FIXED_FORM if given else DEFAULT_FORM)
        _check(self, method=METHODS, form=FORMS, granularity=GRANULARITIES)
        if not isinstance(self.start, (int, float)) or not 0 < self.start <= 10:
            raise PlanError(f"Prune(start={self.start!r}): the threshold starts between 0 and 10 standard deviations")
        if self.decay is not None and (self.method != "sr_ste" or not 0 <= self.decay < 1):
            raise PlanError(f'Prune("{self.method}", decay={self.decay!r}): "sr_ste" has a decay, 0 to 1')
        if self.method in PATTERNED:
            self._check_pattern()
            return
        for name in ("n", "m", "also", "groups"):
            if getattr(self, name) is not None:
                raise PlanError(
                    f'Prune("{self.method}", {name}={getattr(self, name)!r}): only a pattern has that: '
                    'Prune("balanced", n=4, m=16)'
                )

    def _check_pattern(self) -> None:
        if self.groups is not None:
            _check(self, groups=GROUPS)
        for name in () if self.method == "balanced" else ("form", "granularity", "start"):
            if getattr(self, name) != getattr(Prune(), name):
                raise PlanError(f'Prune("{self.method}", {name}={getattr(self, name)!r}): it learns no threshold')
        patterns = self.patterns
        if len(patterns) > 1 and self.method != "balanced":
            raise PlanError(f'Prune("{self.method}", n={self.n!r}): only "balanced" chooses between several n')
        object.__setattr__(self, "n", patterns[0].n if len(patterns) == 1 else tuple(one.n for one in patterns))

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """What may be left of every m weights, n ascending; one that is given, or several to choose from; none where
        the method leaves no pattern."""
        if self.method not in PATTERNED:
            return ()
        counts = self.n if isinstance(self.n, tuple) else (self.n,)
        if not counts or not all(type(n) is int for n in counts) or type(self.m) is not int:
            raise PlanError(
                f'Prune("{self.method}", n={self.n!r}, m={self.m!r}): a pattern needs both, as in n=4, m=16; several '
                "n to choose from are (1, 2, 4, 8)"
            )
        return tuple(Pattern(n, self.m, self.also, self.groups or GROUPS[0]) for n in sorted(set(counts)))

    def __str__(self) -> str:
        """In a few words, as tables have it."""
        patterns = self.patterns
        if not patterns:
            return f"{self.method}, {self.form}, per {self.granularity}"
        one = patterns[0] if len(patterns) == 1 else f"{', '.join(str(p.n) for p in patterns)}:{patterns[0].rest()}"
        learned = f", {self.form}, per {self.granularity}" if self.method == "balanced" else ""
        return f"{self.method} {one}{learned}"


class Widths(tuple[int, ...]):
    """Bit widths in ascending order, none twice; not a range, as a plain pair of numbers is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{{{', '.join(map(str, self))}}}"

    def __str__(self) -> str:
        whole = len(self) > 2 and self[-1] - self[0] == len(self) - 1
        return f"{self[0]}-{self[-1]}" if whole else ", ".join(map(str, self))


@dataclass(frozen=True)
class Quantize:
    """In how many bits a tensor's weights are kept, those that pruning leaves where it is pruned too; or a feature map.

    bits         4: four bits; (2, 8): any width from 2 to 8, learned; {2, 4, 8} or a list: one of these, learned. The
                 field is then the ascending tuple of widths, each 2 to 8
    granularity  one range of values a "tensor" or one an output "channel"; the width is one a tensor. A map has one
    level        what the weighted average of US20200293893A1 runs over: "width", quantize-dequantize at every width;
                 "value", at every width the grid values round a weight, softly. Maps have "width" alone
    scale        "free": any float16 number; "power_of_two": one of those, for hardware that shifts; "dynamic": of maps
                 alone, found at run time from the largest magnitude of every row or example, at one width. A plan takes
                 maps="dynamic" for Quantize(8, scale="dynamic")
    """

    bits: Any = (NARROWEST, WIDEST)
    granularity: str = "tensor"
    level: str = "width"
    scale: str = "free"

    def __post_init__(self) -> None:
        _check(self, granularity=GRANULARITIES, level=LEVELS, scale=SCALES)
        object.__setattr__(self, "bits", _widths(self.bits))
        if self.is_dynamic and len(self.bits) > 1:
            raise PlanError(
                f'Quantize(bits={self.bits!r}, scale="dynamic"): where scales are found at run time, no width is '
                'learned: give one, Quantize(8, scale="dynamic")'
            )

    @property
    def is_dynamic(self) -> bool:
        """Whether scales are found at run time."""
        return self.scale == "dynamic"

    def __str__(self) -> str:
        """In a few words, as tables have it."""
        return f"{self.bits!s} bits{', dynamic' if self.is_dynamic else ''}"


DYNAMIC = "dynamic"
"""What a plan takes for Quantize(8, scale="dynamic")."""


def named_rule(rule: Any) -> Any:
    """The rule of a map that is given by name, "dynamic"; anything else as it is."""
    return Quantize(WIDEST, scale=DYNAMIC) if rule == DYNAMIC else rule


def near(name: object, known: Any) -> str:
    """'; did you mean ...?' when something known is close to a name, else the empty string."""
    close = difflib.get_close_matches(str(name), list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def _check(rule: object, **tables: tuple[str, ...]) -> None:
    for name, allowed in tables.items():
        value = getattr(rule, name)
        if value not in allowed:
            raise PlanError(
                f"{type(rule).__name__}({name}={value!r}): expected one of {', '.join(allowed)}{near(value, allowed)}"
            )


def _widths(bits: object) -> Widths:
    given: list[object] = list(bits) if isinstance(bits, Iterable) and not isinstance(bits, str) else [bits]
    if not given or not all(type(width) is int and NARROWEST <= width <= WIDEST for width in given):
        raise PlanError(
            f"Quantize(bits={bits!r}): a width is {NARROWEST} to {WIDEST} bits; one (4), all in a range ((2, 8)) or "
            "one of several ({2, 4, 8})"
        )
    widths = [width for width in given if isinstance(width, int)]
    if isinstance(bits, tuple) and not isinstance(bits, Widths) and len(widths) == 2:
        if widths[0] > widths[1]:
            raise PlanError(f"Quantize(bits={bits!r}): a range goes from its lower end to its upper, both in it")
        widths = list(range(widths[0], widths[1] + 1))
    return Widths(sorted(set(widths)))
