"""An adaptive range coder in integers only, so that a stream decodes to the same bits on every machine.

A carry-propagating range coder (G. N. N. Martin, "Range encoding", 1979) with a 32-bit range renewed bytewise: the
sizes of LZMA's, and the fastest that plain Python ran of those tried. Binary probabilities are the
Krichevsky-Trofimov estimate (count + 1/2) / (events + 1), kept as integers: after n events a stationary source has cost
about log2(n) / 2 bits more than if its probability had been known, which matters where a stream has 200 events.
"""

from __future__ import annotations

from collections.abc import Sequence

from secateur.errors import ArtifactError
from secateur.ir.coding.varint import Bytes

FULL = (1 << 32) - 1
RENEW_BELOW = 1 << 24
TOTAL_LIMIT = 1 << 14  # event counts (doubled) are halved here; far below RENEW_BELOW: no probability rounds to zero
INTERVAL_LIMIT = 1 << 16  # the finest `total` an interval may be coded in
LOOKAHEAD = 4  # bytes a decoder holds in advance
DECISIONS_A_US = 4  # how many binary decisions plain Python decodes in a microsecond, roughly
FREE_US, US_A_BYTE = 2000, 32


def affordable(work_us: int, stream_bytes: int) -> bool:
    """Whether a stream is worth the time its decoding takes: so that a small hostile file cannot keep a reader busy.

    work_us  a rough estimate of that time in microseconds, the same wherever it is made
    Streams that cost more for fewer bytes are left to codes that numpy and zstd decode.
    """
    return work_us <= FREE_US + US_A_BYTE * stream_bytes


class Models:
    """Adaptive probabilities of `count` binary events. Counts are doubled plus one: the half of the KT estimate."""

    __slots__ = ("ones", "zeros")

    def __init__(self, count: int) -> None:
        self.zeros = [1] * count
        self.ones = [1] * count

    def learn(self, index: int, bit: int) -> None:
        """Count an event."""
        zeros, ones = self.zeros, self.ones
        counts = ones if bit else zeros
        counts[index] += 2
        if zeros[index] + ones[index] > TOTAL_LIMIT:
            self.halve(index)

    def halve(self, index: int) -> None:
        """Forget half of the events, so that counts stay within TOTAL_LIMIT."""
        self.zeros[index] = self.zeros[index] >> 1 | 1
        self.ones[index] = self.ones[index] >> 1 | 1


class Encoder:
    """Collects decisions; `finish` gives the bytes."""

    __slots__ = ("_low", "_out", "_range")

    def __init__(self) -> None:
        self._low = 0
        self._range = FULL
        self._out = bytearray()

    def interval(self, start: int, width: int, total: int) -> None:
        """Code the interval [start, start + width) of [0, total): log2(total / width) bits, total <= INTERVAL_LIMIT."""
        unit = self._range // total
        self._low += unit * start
        self._range = unit * width
        while self._range < RENEW_BELOW:
            self._renew()

    def bit(self, models: Models, index: int, bit: int) -> None:
        """Code one decision with the model at `index`, which learns from it."""
        zero = models.zeros[index]
        bound = self._range // (zero + models.ones[index]) * zero
        if bit:
            self._low += bound
            self._range -= bound
        else:
            self._range = bound
        models.learn(index, bit)
        while self._range < RENEW_BELOW:
            self._renew()

    def misses(self, models: Models, index: int, count: int) -> None:
        """Code `count` zeros and a one."""
        for _ in range(count):
            self.bit(models, index, 0)
        self.bit(models, index, 1)

    def symbols(self, models: Models, bits: int, symbols: Sequence[int]) -> None:
        """Code symbols of `bits` bits, highest first, each with the model of the bits before it (2**bits models)."""
        for symbol in symbols:
            node = 1
            for shift in range(bits - 1, -1, -1):
                bit = symbol >> shift & 1
                self.bit(models, node, bit)
                node = node << 1 | bit

    def finish(self) -> bytes:
        """The bytes of all decisions, as few as single out the final range: a decoder reads zeros past the end."""
        for zeros in range(32, -1, -1):
            value = (self._low + (1 << zeros) - 1) >> zeros << zeros
            if value < self._low + self._range:
                self._low = value
                break
        for _ in range(LOOKAHEAD):
            self._renew()
        needed = len(self._out.rstrip(b"\0"))
        return bytes(self._out[: max(needed, len(self._out) - LOOKAHEAD)])

    def _renew(self) -> None:
        if self._low > FULL:
            self._low &= FULL
            place = len(self._out) - 1
            while self._out[place] == 0xFF:
                self._out[place] = 0
                place -= 1
            self._out[place] += 1
        self._out.append(self._low >> 24)
        self._low = (self._low << 8) & FULL
        self._range <<= 8


class Decoder:
    """Reads the decisions of an Encoder back. Every method raises ArtifactError where the bytes do not suffice."""

    __slots__ = ("_code", "_data", "_place", "_range", "_unit")

    def __init__(self, data: Bytes) -> None:
        self._data = bytes(data) + bytes(LOOKAHEAD)
        self._code = int.from_bytes(self._data[:LOOKAHEAD], "big")
        self._place = LOOKAHEAD
        self._range = FULL
        self._unit = 1

    def point(self, total: int) -> int:
        """Where in [0, total) the next interval lies; `take` it once its bounds are known."""
        unit = self._unit = self._range // total
        point = self._code // unit
        return point if point < total else total - 1

    def take(self, start: int, width: int) -> None:
        """Consume the interval [start, start + width) that holds the point read last."""
        code = self._code - self._unit * start
        span = self._unit * width
        while span < RENEW_BELOW:
            code = code << 8 | self._next()
            span <<= 8
        self._code, self._range = code, span

    def uniform(self, total: int) -> int:
        """The next of `total` equally likely numbers."""
        point = self.point(total)
        self.take(point, 1)
        return point

    def bit(self, models: Models, index: int) -> int:
        """The next decision of the model at `index`, which learns from it."""
        zero, one = models.zeros[index], models.ones[index]
        bound = self._range // (zero + one) * zero
        bit = int(self._code >= bound)
        if bit:
            self._code -= bound
            self._range -= bound
            models.ones[index] = one + 2
        else:
            self._range = bound
            models.zeros[index] = zero + 2
        if zero + one >= TOTAL_LIMIT - 1:
            models.halve(index)
        while self._range < RENEW_BELOW:
            self._code = self._code << 8 | self._next()
            self._range <<= 8
        return bit

    def misses(self, models: Models, index: int, most: int) -> int:
        """How many zeros stand before the next one. More than `most` is an error."""
        zero, one, span, code = models.zeros[index], models.ones[index], self._range, self._code
        for count in range(most + 1):
            bound = span // (zero + one) * zero
            hit = code >= bound
            if hit:
                code -= bound
                span -= bound
                one += 2
            else:
                span = bound
                zero += 2
            if zero + one > TOTAL_LIMIT:
                zero, one = zero >> 1 | 1, one >> 1 | 1
            while span < RENEW_BELOW:
                code = code << 8 | self._next()
                span <<= 8
            if hit:
                models.zeros[index], models.ones[index], self._range, self._code = zero, one, span, code
                return count
        raise ArtifactError("damaged artifact: an entropy-coded stream leaves its tensor")

    def symbols(self, models: Models, bits: int, count: int) -> list[int]:
        """The next `count` symbols of `bits` bits. Local state: this loop is most of what decoding a tensor takes."""
        zeros, ones, span, code = models.zeros, models.ones, self._range, self._code
        first, symbols = 1 << bits, []
        for _ in range(count):
            node = 1
            while node < first:
                zero, one = zeros[node], ones[node]
                bound = span // (zero + one) * zero
                if code < bound:
                    span = bound
                    zero += 2
                    zeros[node] = zero
                    child = node + node
                else:
                    code -= bound
                    span -= bound
                    one += 2
                    ones[node] = one
                    child = node + node + 1
                if zero + one > TOTAL_LIMIT:
                    zeros[node], ones[node] = zero >> 1 | 1, one >> 1 | 1
                node = child
                while span < RENEW_BELOW:
                    code = code << 8 | self._next()
                    span <<= 8
            symbols.append(node - first)
        self._range, self._code = span, code
        return symbols

    def finish(self) -> None:
        """Raise ArtifactError unless every byte was needed."""
        if self._place < len(self._data) - LOOKAHEAD:
            raise ArtifactError("damaged artifact: an entropy-coded stream holds bytes that nothing reads")

    def _next(self) -> int:
        place = self._place
        if place == len(self._data):
            raise ArtifactError("damaged artifact: an entropy-coded stream ends too early")
        self._place = place + 1
        return self._data[place]
