"""The bytes of a file: every announced length is checked before it is used, every byte is under a checksum."""

from __future__ import annotations

from io import BytesIO

import google_crc32c
import pytest

from secateur.errors import ArtifactError
from secateur.ir import container
from secateur.ir.coding.squeeze import squeeze
from secateur.ir.coding.varint import varint
from secateur.ir.container import HEADER_LIMIT, MAGIC, VERSION, build, framing_bytes, least_bytes, open_container

HEADER, SECTIONS = b'{"tensors":[["conv1.weight",[20,1,5,5]]]}', [b"first", b"", b"x" * 300]
FILE = build(HEADER, SECTIONS)


def opened(data: bytes) -> tuple[bytes, list[bytes]]:
    found = open_container(BytesIO(data), len(data))
    return found.header, list(found.sections)


def prefixed(*lengths: int, rest: bytes = b"") -> bytes:
    return MAGIC + bytes([VERSION]) + b"".join(map(varint, lengths)) + rest


@pytest.mark.parametrize("header", [b"{}", b'{"tensors":[]}', HEADER, 500 * HEADER])
@pytest.mark.parametrize("sections", [[], [b""], SECTIONS])
def test_no_file_is_smaller_than_the_least(header, sections):
    assert least_bytes() < len(build(header, sections))


def test_header_and_sections_come_back():
    assert opened(FILE) == (HEADER, SECTIONS)
    assert opened(build(b"", [])) == (b"", [])


def test_framing_is_what_is_not_header_or_section():
    frame, framing = framing_bytes(HEADER, SECTIONS)
    assert frame + framing + sum(map(len, SECTIONS)) == len(FILE)
    assert frame < len(HEADER)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "ends where 6 more"),
        (b"PK\x03\x04" * 20, "no secateur artifact"),
        (MAGIC, "ends where 1 more"),
        (MAGIC + bytes([VERSION + 1]) + FILE[7:], f"version {VERSION + 1}, this secateur reads up to {VERSION}"),
        (MAGIC + b"\0" + FILE[7:], "no version 0"),
        (prefixed(HEADER_LIMIT + 1, 5, 0, rest=bytes(20)), "are allowed"),
        (prefixed(5, 2**40, 0, rest=bytes(20)), "more is announced"),
        (prefixed(5, 5, 2**50, rest=bytes(20)), "more is announced"),
        (prefixed(5, 2, 1, 2**60, rest=bytes(20)), "do not fit"),
        (MAGIC + bytes([VERSION]) + b"\xff" * 12, "longer than 63 bits"),
        (FILE + b"\0", "do not fit"),
        (FILE[:-1], "cut off"),
    ],
)
def test_bad_files_are_refused_by_name(data: bytes, message: str):
    with pytest.raises(ArtifactError, match=message):
        opened(data)


def test_every_bit_is_under_a_checksum():
    for place in range(8 * len(FILE)):
        data = bytearray(FILE)
        data[place // 8] ^= 1 << place % 8
        with pytest.raises(ArtifactError):
            opened(bytes(data))


def test_every_cut_is_noticed():
    for length in range(len(FILE)):
        with pytest.raises(ArtifactError):
            opened(FILE[:length])


def test_a_damaged_section_is_named_when_it_is_read():
    data = bytearray(FILE)
    data[-20] ^= 1
    found = open_container(BytesIO(data), len(data))
    assert next(found.sections) == b"first"
    with pytest.raises(ArtifactError, match="section 2"):
        list(found.sections)


def test_without_checksums_damage_passes(monkeypatch: pytest.MonkeyPatch):
    """The tests above can fail."""
    monkeypatch.setattr(container._Source, "check", lambda self, crc, what: self.read(4))
    data = bytearray(FILE)
    data[-20] ^= 1
    assert opened(bytes(data)) != (HEADER, SECTIONS)


def test_checksums_are_crc32c_little_endian():
    assert FILE[-4:] == google_crc32c.value(FILE[:-4]).to_bytes(4, "little")
    assert google_crc32c.value(b"123456789") == 0xE3069283


def test_a_header_beyond_the_limit_cannot_be_written():
    with pytest.raises(ArtifactError, match=r"shorten the (names or the )?meta"):
        build(bytes(HEADER_LIMIT + 1), [])


def test_a_file_shorter_than_its_size_is_refused():
    with pytest.raises(ArtifactError, match="more bytes are announced"):
        open_container(BytesIO(FILE[:20]), len(FILE))


def test_numbers_have_one_form():
    data = MAGIC + bytes([VERSION]) + b"\x85\0" + bytes(20)
    with pytest.raises(ArtifactError, match="shortest form"):
        opened(data)


def test_headers_of_very_many_parts_need_a_file_that_is_as_large():
    """A hundred thousand nodes compress to two kilobytes, and would take a hundred megabytes."""
    header = b'{"nodes":[' + b",".join([b'["relu",[1]]'] * 20_000) + b"]}"
    with pytest.raises(ArtifactError, match="too many parts"):
        build(header, [])
    large = build(header, [bytes(10**6)])
    assert opened(large)[0] == header
    frame = squeeze(header, container._dictionary())
    small = prefixed(len(header), len(frame), 0, rest=frame)
    small += google_crc32c.value(small).to_bytes(4, "little")
    small += google_crc32c.value(small).to_bytes(4, "little")
    with pytest.raises(ArtifactError, match="more parts than a file of"):
        opened(small)
