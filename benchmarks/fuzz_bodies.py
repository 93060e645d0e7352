"""Hostile numbers under right checksums: streams that lie about their lengths, bombs, records out of place."""

from __future__ import annotations

from random import Random

from fuzz_file import Honest, as_text, joined, resealed, sealed, zeros_frame
from secateur.ir import container
from secateur.ir.coding.positions import POSITION_CODES
from secateur.ir.coding.squeeze import squeeze
from secateur.ir.coding.tensors import FORMS
from secateur.ir.coding.values import VALUE_CODES
from secateur.ir.coding.varint import varint
from secateur.ir.formats import Quantized

SIZES = (0, 1, 2, 127, 128, 2**14, 2**20, 2**24, 2**28, 2**31, 2**32, 2**40, 2**62, 2**63 - 1)


def body_bits(rng: Random, honest: Honest, _other: Honest) -> bytes:
    """Also in the lengths of records, which then overlap."""
    body = bytearray(honest.body)
    for _ in range(rng.randint(1, 4)):
        if body:
            body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
    return sealed(honest.text, bytes(body))


def body_cut(rng: Random, honest: Honest, _other: Honest) -> bytes:
    return sealed(honest.text, honest.body[: rng.randrange(len(honest.body) + 1)])


def body_of_another(_rng: Random, honest: Honest, other: Honest) -> bytes:
    return sealed(honest.text, other.body)


def sections_cut_anew(rng: Random, honest: Honest, _other: Honest) -> bytes:
    """Sections that end within records, empty ones, thousands of them."""
    count = rng.choice((1, 2, 5, 1000))
    return sealed(honest.text, honest.body, [rng.randint(0, len(honest.body)) for _ in range(count)])


def records_moved(rng: Random, honest: Honest, other: Honest) -> bytes:
    """A record dropped, said twice, exchanged with another, or taken from another file."""
    records, foreign = honest.records(), other.records() or [b""]
    if records:
        place, what = rng.randrange(len(records)), rng.randrange(4)
        if what == 0:
            del records[place]
        elif what == 1:
            records.insert(place, records[place])
        elif what == 2:
            records[0], records[place] = records[place], records[0]
        else:
            records[place] = rng.choice(foreign)
    return sealed(honest.text, joined(records))


def record_changed(rng: Random, honest: Honest, _other: Honest) -> bytes:
    """Bits, bytes or the end of one record; its length is told truly."""
    records = honest.records()
    if records:
        place = rng.randrange(len(records))
        record, first = bytearray(records[place]), rng.randint(0, len(records[place]))
        what = rng.randrange(4)
        if what == 0:
            del record[first:]
        elif what == 1:
            record += rng.randbytes(rng.randint(1, 9))
        elif what == 2:
            record[first : first + 4] = rng.randbytes(4)
        elif record:
            record[rng.randrange(len(record))] ^= 1 << rng.randrange(8)
        records[place] = bytes(record)
    return sealed(honest.text, joined(records))


def code_changed(rng: Random, honest: Honest, _other: Honest) -> bytes:
    """Another form, code of positions or code of values, and other numbers of non-zeros, over the old bytes."""
    records = honest.records()
    for place, record in enumerate(records):
        if record and rng.random() < 0.5:
            start = rng.randrange(min(4, len(record)))
            code = rng.randrange(max(len(FORMS), len(POSITION_CODES), len(VALUE_CODES)) + 1)
            number = varint(rng.choice(SIZES)) if rng.random() < 0.4 else bytes([code])
            records[place] = record[:start] + number + record[start + 1 :]
    return sealed(honest.text, joined(records))


def tensor_bomb(rng: Random, honest: Honest, _other: Honest) -> bytes:
    """One tensor announced far larger than it was, and a few bytes that really decode to as much."""
    header, records = honest.header(), honest.records()
    rows = header["tensors"]
    if not rows:
        return honest.data
    place = rng.randrange(len(rows))
    size = rng.choice((2**16, 2**20, 2**22, 2**24, 2**28))
    rows[place][1:] = [rng.choice(([size], [1, size], [size, 1], [2**8, size // 2**8]))]
    records[len(records) - len(rows) + place] = _bomb(rng, size)
    return sealed(as_text(header), joined(records))


def _bomb(rng: Random, size: int) -> bytes:
    """The record of a tensor of `size` elements in very few bytes: zeros, ones, everything non-zero, nothing."""
    index = rng.randrange(len(FORMS))
    form = FORMS[index]
    width = {"float16": 2, "float32": 4, "int64": 8}.get(form.dtype, 1)
    count = rng.choice((0, size, size // 2, 199_000)) if form.positions else size
    blocks = [min(2**20, count - first) for first in range(0, count, 2**20)]
    frames = [zeros_frame(block) for block in blocks for _ in range(width)]
    planes = bytes([1]) + b"".join(varint(len(frame)) + frame for frame in frames) if count else b""
    bits = bytes([3]) + zeros_frame((count + 7) // 8)
    values = bits if form.dtype == "bool" else planes
    scales = b""
    if form.kind is Quantized:
        values = rng.choice((bytes([1]) + zeros_frame(count), bytes([2]) + bytes(rng.choice((10, 1000))), bytes([0])))
        scales = rng.choice((bytes(5), bytes([2]) + planes)) if form.scales else bytes(2)
    if not form.positions:
        return bytes([index]) + (varint(len(scales)) if form.scales else b"") + scales + values
    codes = (
        bytes([0]) + varint(count),
        bytes([2]) + varint(count) + varint(0) + zeros_frame(count),
        bytes([3]) + varint(count) + zeros_frame((size + 7) // 8),
        bytes([1]) + varint(count) + rng.randbytes(rng.choice((10, 1000))),
        bytes([4]) + varint(count) + varint(0) + bytes(rng.choice((10, 1000))),
    )
    positions = rng.choice(codes)
    lengths = varint(len(positions)) + (varint(len(scales)) if form.scales else b"")
    return bytes([index]) + lengths + positions + scales + values


def group_bomb(rng: Random, honest: Honest, _other: Honest) -> bytes:
    """Groups of very many units, in a few bytes."""
    header, records = honest.header(), honest.records()
    groups = rng.choice((1, 2, 50, 3000))
    size = rng.choice((2**16, 2**20, 2**24, 2**31, 2**62))
    kept = rng.choice((0, size, 1))
    tensors = records[header.get("groups", 0) :]
    header["groups"] = groups
    one = varint(size) + bytes([0]) + varint(kept)
    return sealed(as_text(header), joined([one] * groups + tensors))


def wide_window(rng: Random, honest: Honest, _other: Honest) -> bytes:
    """A header in a zstd frame that wants a window of up to gigabytes, or holds more or fewer bytes than announced."""
    size = rng.choice((0, 1, 100, 2**17, 2**20))
    frame = zeros_frame(size, window_log=rng.randint(10, 41))
    if rng.random() < 0.5:
        return resealed([rng.choice((size, size + 1, 0, 2**20)), len(frame), 0], frame, [])
    frame = squeeze(honest.text, container._dictionary())
    frame = frame[:1] + bytes([rng.randrange(256)]) + frame[2:]
    return resealed([len(honest.text), len(frame), 1, len(honest.body)], frame, [honest.body])


def lengths_changed(rng: Random, honest: Honest, _other: Honest) -> bytes:
    """Announced lengths that are not true, and versions there never were."""
    frame = squeeze(honest.text, container._dictionary())
    lengths = [len(honest.text), len(frame), 1, len(honest.body)]
    place = rng.randrange(4)
    lengths[place] = rng.choice((*SIZES, lengths[place] + 1, max(0, lengths[place] - 1)))
    version = rng.choice((container.VERSION,) * 6 + (0, 2, 255))
    return resealed(lengths, frame, [honest.body], version)


BODY_KINDS = (
    body_bits,
    body_cut,
    body_of_another,
    sections_cut_anew,
    records_moved,
    record_changed,
    code_changed,
    tensor_bomb,
    group_bomb,
    wide_window,
    lengths_changed,
)
