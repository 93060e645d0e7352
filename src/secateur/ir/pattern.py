"""Pattern: n of every m weights of a tensor stay, as kernels and hardware read them; and which weights form a group."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from secateur.errors import PlanError

GROUPS = ("inputs", "banks")
LARGEST_GROUP = 1024
_ALSO = re.compile(r"([1-9]\d{0,3}):([1-9]\d{0,3})")


@dataclass(frozen=True)
class Pattern:
    """n of every m consecutive weights stay, and of these at most a in any b where `also` is "a:b".

    groups  "inputs": a group runs along the inputs of one output, of a convolution along input channels at one kernel
            position; "banks": along the whole row of an output, input by input with all kernel positions of each

    Where the length of a row is no multiple of m its last group is shorter and keeps its share, rounded up: of s
    weights ceil(n s / m), so no group is empty and none is denser than a whole one padded with zeros could be.
    """

    n: int
    m: int
    also: str | None = None
    groups: str = "inputs"

    def __post_init__(self) -> None:
        if not 2 <= self.m <= LARGEST_GROUP:
            raise PlanError(f"a group has m = 2 to {LARGEST_GROUP} weights, not {self.m}")
        if not 1 <= self.n < self.m:
            raise PlanError(f"of {self.m} weights n = 1 to {self.m - 1} can stay so that some go, not {self.n}")
        if self.also is not None:
            inner = self._parse()
            if inner is None or not 1 <= inner[0] < inner[1]:
                raise PlanError(f'also={self.also!r}: expected at most a in any b, as in "2:4"')
            most, size = inner
            if self.m % size or size >= self.m or self.n > most * (self.m // size):
                raise PlanError(
                    f"also={self.also!r} does not fit {self.n}:{self.m}: groups of {size} have to divide {self.m}, and "
                    f"{most} of each have to allow {self.n}"
                )

    def _parse(self) -> tuple[int, int] | None:
        found = _ALSO.fullmatch(self.also) if isinstance(self.also, str) else None
        return (int(found[1]), int(found[2])) if found else None

    @property
    def inner(self) -> tuple[int, int] | None:
        """(a, b) of "at most a in any b", None where nothing of the kind is asked for."""
        return self._parse()

    def keeping(self, n: int) -> Pattern | None:
        """The pattern with another n, on the way to this one: without `also` where that would not allow so many; None
        where n is m and nothing goes."""
        if n >= self.m:
            return None
        most, size = self.inner or (1, 1)
        return replace(self, n=n, also=self.also if n <= most * (self.m // size) else None)

    @property
    def density(self) -> float:
        """Of a row whose length is a multiple of m."""
        return self.n / self.m

    def sizes(self, length: int) -> tuple[int, ...]:
        """Weights in each group of a row, the last one shorter where m does not divide its length."""
        whole, rest = divmod(length, self.m)
        return (self.m,) * whole + ((rest,) if rest else ())

    def kept(self, length: int) -> tuple[int, ...]:
        """Weights that stay in each group of a row."""
        return tuple(-(-self.n * size // self.m) for size in self.sizes(length))

    def kept_in(self, size: int, length: int) -> int:
        """Weights that stay of `size` in rows of so many."""
        return size // length * sum(self.kept(length)) if length else 0

    def cuts(self, length: int) -> bool:
        """Whether anything goes from a row of this length."""
        return sum(self.kept(length)) < length

    def rest(self) -> str:
        """All but n, as a table has it behind the colon."""
        banks = " in banks" if self.groups == "banks" else ""
        return f"{self.m}{f' (also {self.also})' if self.also else ''}{banks}"

    def __str__(self) -> str:
        return f"{self.n}:{self.rest()}"


@dataclass(frozen=True)
class GroupCounts:
    """How many groups of a tensor keep how many weights: before[c] groups had c weights that self-pruning would have
    kept, after[c] have c once they were hardened. Up to the largest count there is."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def balance_before(self) -> float:
        """Mean count over largest count before hardening; 1 minus it is the share of lanes that would be idle."""
        return balance_of(self.before)

    @property
    def balance(self) -> float:
        """The same once hardened: 1.0 where no lane waits, less where last groups are shorter."""
        return balance_of(self.after)


def balance_of(groups: tuple[int, ...]) -> float:
    """Mean count over largest count, of so many groups by count; 1.0 where nothing is left."""
    largest = max((count for count, found in enumerate(groups) if found), default=0)
    mean = sum(count * found for count, found in enumerate(groups)) / max(1, sum(groups))
    return mean / largest if largest else 1.0
