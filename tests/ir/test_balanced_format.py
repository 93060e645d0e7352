"""The balanced lane format: bit for bit there and back, where every byte lies, what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balanced_matrices import random_balanced, random_codes
from secateur.errors import ArtifactError
from secateur.ir.balanced_format import CODES, COUNTS, RECORD_BYTES, Balanced, balanced, balanced_codes, pattern
from secateur.ir.formats import same_bits

SIZES = st.sampled_from([0, 1, 3, 15, 16, 17, 33, 64, 65, 127, 128, 129, 200])


@st.composite
def matrices(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """A float32 matrix and its n; some groups hold fewer, some rows nothing, some numbers are odd."""
    count = draw(st.sampled_from(COUNTS))
    matrix = random_balanced(draw(SIZES), draw(SIZES), count, draw(st.integers(0, 99)))
    drop = np.random.default_rng(draw(st.integers(0, 99)))
    matrix[drop.random(matrix.shape) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = 0
    kept = np.argwhere(matrix != 0)
    if len(kept) and draw(st.booleans()):
        matrix[tuple(kept[0])] = draw(st.sampled_from([np.inf, -np.inf, np.nan, 1e-45, -1e-45]))
    return matrix, count


@given(matrices())
def test_float32_there_and_back(made):
    matrix, count = made
    stored = balanced(matrix, count)
    assert same_bits(stored.to_dense(), matrix)
    assert stored == balanced(stored.to_dense(), count)
    assert stored.nbytes == -(-matrix.shape[0] // 16) * stored.records * RECORD_BYTES["float32"]


@given(rows=SIZES, columns=SIZES, count=st.sampled_from(COUNTS), seed=st.integers(0, 99), grouped=st.booleans())
def test_integers_there_and_back(rows, columns, count, seed, grouped):
    draw = np.random.default_rng(seed)
    shape = (rows, -(-columns // 128)) if grouped else (rows,)
    scale = draw.random(shape).astype(np.float16 if grouped else np.float32)
    book = np.unique(np.append(draw.integers(-127, 128, 40), 0))[:16].astype(np.int8)
    book = np.append(book, np.zeros(16 - len(book), np.int8))
    book[0] = 0
    for table, largest in ((None, 127), (CODES, 7), (book, 127)):
        codes = random_codes(rows, columns, count, largest, seed)
        codes = np.where(np.isin(codes, book), codes, 0).astype(np.int8) if table is book else codes
        stored = balanced_codes(codes, scale, count, table=table)
        assert same_bits(stored.integers(), codes)
        steps = np.repeat(scale, 128, 1)[:, :columns] if grouped else scale[:, None]
        np.testing.assert_array_equal(stored.to_dense(), codes.astype(np.float32) * steps.astype(np.float32))


def test_where_everything_lies():
    """Row 3 has its four of each group at places 1, 5, 9, 13; slot s holds group s."""
    matrix = np.zeros((17, 64), np.int8)
    matrix[3] = [column if column % 16 in (1, 5, 9, 13) else 0 for column in range(64)]
    stored = balanced_codes(matrix, np.ones(17, np.float32))
    assert (stored.count, stored.slots, stored.records, stored.stream.shape) == (4, 4, 2, (2, 2 * 192))
    first, second = stored.stream[0].reshape(2, 192)
    assert first[12:16].tolist() == [0x11, 0x55, 0x99, 0xDD]
    assert first[64 + 12 : 64 + 16].tolist() == [1, 5, 9, 13]
    assert first[128 + 12 : 128 + 16].tolist() == [17, 21, 25, 29]
    assert second[64 + 12 : 64 + 16].tolist() == [33, 37, 41, 45]
    assert first[:12].tolist() == [0] * 12
    assert not stored.stream[1].any()
    short = balanced_codes(np.sign(matrix), np.ones(17, np.float32), table=CODES)
    assert short.stream.shape == (2, 2 * 128)
    assert short.stream[0, 12:16].tolist() == [0x91, 0x95, 0x99, 0x9D]
    wide = balanced(matrix.astype(np.float32))
    assert wide.stream[0, 64:].view(np.float32).reshape(-1)[[3, 16 + 3, 4 * 16 + 3]].tolist() == [1, 5, 17]


def test_pattern_is_the_smallest_that_holds():
    for most in range(1, 17):
        matrix = np.zeros((3, 40), np.float32)
        matrix[1, 16 : 16 + most] = 1
        wanted = next((count for count in COUNTS if count >= most), None)
        assert pattern(matrix) == wanted
    assert pattern(np.zeros((3, 5), np.float32)) == 1
    assert pattern(np.full((1, 40), -0.0, np.float32)) == 1
    tail = np.zeros((1, 25), np.float32)
    tail[0, 16:] = 1
    assert pattern(tail) is None


def test_a_zero_keeps_no_sign():
    matrix = np.array([[-0.0, 2.0]], np.float32)
    assert same_bits(balanced(matrix).to_dense(), np.array([[0.0, 2.0]], np.float32))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: balanced(np.ones((2, 16), np.float32)), "no n:16"),
        (lambda: balanced(random_balanced(4, 32, 4), 2), "holds more non-zeros than 2"),
        (lambda: balanced(random_balanced(4, 32, 4), 3), "no n:16"),
        (lambda: balanced(np.zeros(3, np.float32)), "rows and columns"),
        (lambda: balanced_codes(np.array([[-128]], np.int8), np.ones(1, np.float32)), "from -127"),
        (lambda: balanced_codes(np.array([[9]], np.int8), np.ones(1, np.float32), table=CODES), "not in the table"),
        (lambda: balanced_codes(np.array([[1]], np.int8), np.ones(1, np.float32), table=CODES + 9), "one of them 0"),
        (lambda: balanced_codes(np.array([[1]], np.int8), np.ones(2, np.float32)), "do not fit"),
        (lambda: balanced_codes(np.array([[1]], np.int8), np.ones(1, np.float64)), "do not fit"),
        (lambda: Balanced((1, 64), 3, "float32", np.zeros((1, 576), np.uint8)), "no balanced format"),
        (lambda: Balanced((1, 64), 2, "float32", np.zeros((1, 575), np.uint8)), "has a stream"),
        (lambda: Balanced((1, 64), 2, "int8", np.zeros((1, 192), np.uint8)), "have scales"),
    ],
)
def test_what_does_not_fit_is_refused(make, told):
    with pytest.raises(ArtifactError, match=told):
        make()


def test_equality_sees_every_part():
    codes = random_codes(20, 70, 4)
    one = balanced_codes(codes, np.ones(20, np.float32))
    assert one == balanced_codes(codes, np.ones(20, np.float32))
    assert one != balanced_codes(codes, np.full(20, 2, np.float32))
    assert one != balanced_codes(-codes, np.ones(20, np.float32))
    assert one != balanced_codes(codes, np.ones(20, np.float32), 8)
    assert one != codes
