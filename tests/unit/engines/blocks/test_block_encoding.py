"""What a block is stored as."""

from hashlib import sha256

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pileus.engines.blocks.encoding import (
    ENCODED_LIMIT,
    RAW,
    SEALED,
    ZSTD,
    BlockKey,
    decode,
    encode,
    is_hole,
    padded,
    unpack,
)
from pileus.engines.blocks.interface import BLOCK, BlockUnreadable


def block(seed):
    """A block that compresses badly."""
    return b"".join(sha256(f"{seed}/{n}".encode()).digest() for n in range(BLOCK // 32))


starts = st.binary(min_size=1, max_size=200)
keys = st.one_of(st.none(), st.binary(min_size=32, max_size=32).map(BlockKey))


@given(starts, keys)
def test_what_was_encoded_is_decoded(start, key):
    data = encode(padded(start), key)
    assert decode(data, key) == padded(start)
    assert encode(padded(start), key) == data
    assert data[:1] == (ZSTD if key is None else SEALED)


@pytest.mark.parametrize("key", [None, BlockKey(bytes(32))])
def test_noise_is_not_made_longer_than_the_limit(key):
    data = encode(block(1), key)
    assert len(data) <= ENCODED_LIMIT
    assert decode(data, key) == block(1)
    if key is None:
        assert data[:1] == RAW


@given(starts, st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_another_key_opens_nothing_and_shares_nothing(start, one, other):
    if one == other:
        return
    data = encode(padded(start), BlockKey(one))
    assert data != encode(padded(start), BlockKey(other))
    with pytest.raises(BlockUnreadable):
        decode(data, BlockKey(other))
    with pytest.raises(BlockUnreadable):
        decode(data)


def test_a_sealed_block_shows_no_plaintext():
    text = (b"the secret of the guest " * BLOCK)[:BLOCK]
    assert b"secret" not in encode(text, BlockKey(b"k" * 32))


def test_an_encrypted_snapshot_takes_no_block_that_is_not_sealed():
    with pytest.raises(BlockUnreadable):
        decode(encode(padded(b"smuggled")), BlockKey(bytes(32)))


@given(st.data())
def test_a_changed_byte_of_a_sealed_block_is_noticed(data):
    key = BlockKey(bytes(32))
    sealed = bytearray(encode(padded(b"text"), key))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BlockUnreadable):
        decode(bytes(sealed), key)


@given(st.binary(max_size=300))
def test_garbage_is_named(garbage):
    with pytest.raises(BlockUnreadable):
        decode(garbage)


def test_a_frame_that_claims_more_than_a_block_is_refused_before_it_is_unpacked():
    bomb = zstandard.ZstdCompressor().compress(bytes(256 << 20))
    with pytest.raises(BlockUnreadable):
        decode(ZSTD + bomb)
    with pytest.raises(BlockUnreadable):
        unpack(bomb, BLOCK)


def test_lengths():
    assert padded(b"x") == b"x" + bytes(BLOCK - 1)
    assert is_hole(bytes(BLOCK))
    assert not is_hole(padded(b"x"))
    for wrong in (b"", bytes(BLOCK + 1)):
        with pytest.raises(ValueError):
            padded(wrong)
    with pytest.raises(ValueError):
        encode(b"short")
    with pytest.raises(ValueError):
        BlockKey(b"short")


def test_a_key_does_not_show_itself():
    assert "secret" not in repr(BlockKey(b"secret" + bytes(26)))


def test_the_stored_form_does_not_change():
    """Blocks that were stored once must be found and opened for ever. The compressor's output may change with its release."""
    sealed = SEALED + BlockKey(bytes(range(32))).seal(RAW + block(7))
    assert sha256(sealed).hexdigest() == "b6fe02394e01e70555336ab558f685bf4a8f6c2d3afdc3ef07b49f57b5922b17"
    assert decode(sealed, BlockKey(bytes(range(32)))) == block(7)
