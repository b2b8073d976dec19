"""Order, prefixes and ids of keys."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.engines.objects.errors import InvalidKey
from pileus.engines.objects.keys import (
    END,
    common_prefix,
    encode_bound,
    encode_key,
    first_after,
    microseconds,
    moment,
    new_id,
    ordinal_of,
    successor,
)

TEXT = st.text(min_size=1, max_size=6)


@given(TEXT, TEXT)
def test_a_prefix_successor_divides_the_keys(prefix, key):
    """All that begin with the prefix are between it and its successor, and nothing else is."""
    first, encoded = prefix.encode(), key.encode()
    assert (first <= encoded < successor(first)) == encoded.startswith(first)
    assert encoded < END == successor(b"")


@given(TEXT, TEXT, st.text(max_size=3), st.text(st.sampled_from("/a"), max_size=2))
def test_a_listing_goes_on_behind_what_was_listed(after, key, prefix, delimiter):
    """A key with the prefix is at or behind the start exactly if it, or what it is rolled up into, was not listed yet."""
    encoded, first, cut, last = key.encode(), prefix.encode(), delimiter.encode(), after.encode()
    if not encoded.startswith(first):
        return
    listed = encoded <= last or (
        last.startswith(first)
        and common_prefix(last, first, cut) == last
        and common_prefix(encoded, first, cut) == last
    )
    assert (encoded >= first_after(last, first, cut)) == (not listed)


@pytest.mark.parametrize(
    ("key", "prefix", "delimiter", "expected"),
    [
        (b"a/b/c", b"", b"/", b"a/"),
        (b"a/b/c", b"a/", b"/", b"a/b/"),
        (b"a/b/c", b"a/b/", b"/", None),
        (b"a/b", b"a", b"/", b"a/"),
        (b"a/b", b"", b"", None),
        (b"//", b"", b"/", b"/"),
        (b"axxb", b"", b"xx", b"axx"),
    ],
)
def test_common_prefixes(key, prefix, delimiter, expected):
    assert common_prefix(key, prefix, delimiter) == expected


@given(st.integers(0, (1 << 63) - 1))
def test_an_id_has_its_ordinal(ordinal):
    identifier = new_id(ordinal)
    assert len(identifier) == 32
    assert ordinal_of(identifier) == ordinal


@given(st.text(max_size=40))
def test_what_is_no_id_has_none(text):
    assert ordinal_of(text) is None


def test_ids_can_not_be_guessed():
    assert len({new_id(1) for _ in range(100)}) == 100


@pytest.mark.parametrize("key", ["a" * 1024, "é" * 512, "😀" * 256, "\x00", " "])
def test_keys(key):
    assert encode_key(key).decode() == key


@pytest.mark.parametrize("key", ["", "a" * 1025, "é" * 513, "\udc80"])
def test_no_keys(key):
    with pytest.raises(InvalidKey):
        encode_key(key)


def test_bounds_may_be_anything():
    assert encode_bound("a\udc80") == b"a?"


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - zone beside
def test_times_are_kept_to_the_microsecond(value):
    assert moment(microseconds(value)) == value
