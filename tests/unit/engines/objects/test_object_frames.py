"""Frames of blobs: what was written is read, by range, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.engines.objects.errors import Damaged, WrongKey
from pileus.engines.objects.frames import FRAME, Frames

KEYS = st.sampled_from([None, bytes(32), bytes(range(32))])
SIZES = st.sampled_from([1, 2, FRAME - 1, FRAME, FRAME + 1, 2 * FRAME, 3 * FRAME + 5])


def content(size: int) -> bytes:
    return bytes(range(251)) * (size // 251) + bytes(range(size % 251))


def read(frames: Frames, stored: bytes, offset: int, length: int, total: int) -> bytes:
    first, start, size = frames.span(offset, length, total)
    assert start + size <= len(stored)
    return frames.decode(stored[start : start + size], first, offset % FRAME, length)


@given(KEYS, SIZES, st.integers(0, 1 << 20), st.integers(0, 1 << 20))
def test_any_range_is_read(key, size, offset, length):
    offset %= size
    length = 1 + length % (size - offset)
    data = content(size)
    written = Frames("blob", key)
    stored = b"".join(written.encode(data, 0))
    assert len(stored) == size + -(-size // FRAME) * written.tail
    frames = Frames.existing("blob", key, written.salt, written.check)
    assert read(frames, stored, offset, length, size) == data[offset : offset + length]


def test_an_empty_blob_is_empty():
    assert list(Frames("blob", None).encode(b"", 0)) == []
    assert Frames("blob", bytes(32)).decode(b"", 0, 0, 0) == b""


@given(KEYS, SIZES, st.integers(0, 1 << 20), st.integers(1, 255))
def test_a_changed_byte_is_noticed(key, size, place, change):
    frames = Frames("blob", key)
    stored = bytearray(b"".join(frames.encode(content(size), 0)))
    stored[place % len(stored)] ^= change
    with pytest.raises(Damaged):
        frames.decode(bytes(stored), 0, 0, size)


@given(KEYS, st.integers(1, 3 * FRAME))
def test_missing_bytes_are_noticed(key, missing):
    frames = Frames("blob", key)
    stored = b"".join(frames.encode(content(3 * FRAME), 0))
    with pytest.raises(Damaged):
        frames.decode(stored[:-missing], 0, 0, 3 * FRAME)


@given(KEYS)
def test_a_frame_does_not_pass_for_another(key):
    data = bytes(FRAME)
    one, other = Frames("one", key), Frames("other", key)
    stored = b"".join(one.encode(data, 0))
    for frames, number in [(one, 1), (other, 0), (Frames("one", bytes(31) + b"1"), 0)]:
        with pytest.raises(Damaged):
            frames.decode(stored, number, 0, FRAME)


def test_the_same_bytes_under_one_key_are_never_stored_alike():
    stored = {b"".join(Frames("blob", bytes(32)).encode(bytes(100), 0)) for _ in range(10)}
    assert len(stored) == 10


def test_keys_that_are_not_the_blob_s():
    plain, sealed = Frames("blob", None), Frames("blob", bytes(32))
    for key, written in [(None, sealed), (bytes(31) + b"1", sealed), (bytes(16), sealed), (bytes(32), plain)]:
        with pytest.raises(WrongKey):
            Frames.existing("blob", key, written.salt, written.check)
    with pytest.raises(WrongKey):
        Frames("blob", bytes(16))
