"""Records gather into sections, tensors come back one by one, announced sizes are held against the limit first."""

from __future__ import annotations

import pytest
from sample_artifacts import tiny

from secateur.errors import ArtifactError
from secateur.ir import sections
from secateur.ir.coding.varint import varint
from secateur.ir.formats import Dense, Sparse
from secateur.ir.sections import Decoded, decode_body, encode_body

ARTIFACT = tiny()
SHAPES = {name: tensor.shape for name, tensor in ARTIFACT.tensors.items()}
BODY = encode_body(ARTIFACT.units, ARTIFACT.tensors)


def held(tensor: Dense | Sparse) -> int:
    """Bytes of a tensor's arrays."""
    return tensor.array.nbytes if isinstance(tensor, Dense) else tensor.positions.nbytes + tensor.values.nbytes


@pytest.mark.parametrize("size", [1, 40, 1 << 20])
def test_records_come_back_from_sections_of_any_size(monkeypatch: pytest.MonkeyPatch, size: int):
    monkeypatch.setattr(sections, "SECTION_BYTES", size)
    found = BODY.sections()
    assert (len(found) == 1) == (size > 1000)
    body = decode_body(iter(found), 1, SHAPES, 10_000)
    assert body.units == ARTIFACT.units
    assert body.tensors == ARTIFACT.tensors
    assert body.sizes == {name: streams.sizes() for name, streams in BODY.tensors.items()}
    assert body.units_bytes + sum(row.total for row in body.sizes.values()) == sum(map(len, found))


def test_no_tensors_are_no_sections():
    assert encode_body((), {}).sections() == []
    assert decode_body(iter(()), 0, {}, 0) == Decoded((), {}, {}, 0)


def test_more_or_fewer_records_than_announced_are_refused():
    whole = b"".join(BODY.sections())
    fewer = dict(list(SHAPES.items())[:-1])
    with pytest.raises(ArtifactError, match="more tensors than its header names"):
        decode_body(iter([whole]), 1, fewer, 10_000)
    with pytest.raises(ArtifactError, match="fewer tensors than its header names"):
        decode_body(iter([whole]), 1, {**SHAPES, "further": (1,)}, 10_000)
    with pytest.raises(ArtifactError, match="announced where"):
        decode_body(iter([whole[:-1]]), 1, SHAPES, 10_000)


def test_sizes_are_checked_before_anything_is_decoded():
    needed = sum(max(4 * tensor.size, held(tensor)) for tensor in ARTIFACT.tensors.values()) + 5
    assert decode_body(iter(BODY.sections()), 1, SHAPES, needed).tensors
    with pytest.raises(ArtifactError, match=f"announces {needed} bytes of tensors, {needed - 1} are allowed"):
        decode_body(iter(BODY.sections()), 1, SHAPES, needed - 1)

    def untouched():
        raise AssertionError("a record was read")
        yield b""

    with pytest.raises(ArtifactError, match="larger max_bytes"):
        decode_body(untouched(), 0, {"w": (2**30,)}, 2**31)


def test_unit_masks_count_and_are_refused_before_they_are_allocated():
    record = varint(2**50) + bytes([0, 0])
    with pytest.raises(ArtifactError, match="larger max_bytes"):
        decode_body(iter([varint(len(record)) + record]), 1, {}, 2**32)


@pytest.mark.parametrize(
    ("record", "shape", "bytes_needed"),
    [
        (bytes([0, 6, 0]) + varint(2**31) + b"\0", (2**31,), 10 * 2**31),  # all positions: 8 bytes each, and a float16
        (bytes([1, 6, 0]) + varint(2**31) + b"\0", (2**31,), 12 * 2**31),
        (bytes([4, 1]), (2**31,), 8 * 2**31),  # int64
    ],
)
def test_tensors_count_as_what_they_are_held_as(record: bytes, shape: tuple[int, ...], bytes_needed: int):
    """A dozen bytes can announce positions, or integers, that take several times what float32 would."""
    section = varint(len(record)) + record
    with pytest.raises(ArtifactError, match=f"announces {bytes_needed} bytes of tensors"):
        decode_body(iter([section]), 0, {"w": shape}, 2**33)


def test_positions_of_units_count():
    record = varint(2**31) + bytes([0]) + varint(2**31)
    with pytest.raises(ArtifactError, match=f"announces {2**34} bytes"):
        decode_body(iter([varint(len(record)) + record]), 1, {}, 2**32)
