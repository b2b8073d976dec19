"""What is said of a connection's origin arrives, and nothing else is taken for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.base.proxy_header import FIXED_SIZE, Origin, decode, encode, rest_size

_ports = st.integers(0, 65535)
_ids = st.just("") | st.from_regex(r"vpce?-[0-9a-f]{17}", fullmatch=True)
origins = st.sampled_from([4, 6]).flatmap(
    lambda version: st.builds(
        Origin,
        source=st.ip_addresses(v=version).map(str),
        destination=st.ip_addresses(v=version).map(str),
        source_port=_ports,
        destination_port=_ports,
        vpc=_ids,
        endpoint=_ids,
    )
)


@given(origins, st.binary(max_size=20))
def test_what_is_said_arrives(origin: Origin, following: bytes) -> None:
    sent = encode(origin) + following
    fixed, rest = sent[:FIXED_SIZE], sent[FIXED_SIZE:]
    size = rest_size(fixed)
    assert decode(fixed, rest[:size]) == origin
    assert rest[size:] == following


def test_the_bytes_are_those_of_the_protocol() -> None:
    origin = Origin(
        source="10.0.0.4",
        source_port=40000,
        destination="10.0.0.9",
        destination_port=443,
        endpoint="vpce-0123456789abcdef0",
    )
    assert encode(origin) == (
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x26"
        b"\x0a\x00\x00\x04\x0a\x00\x00\x09\x9c\x40\x01\xbb\xea\x00\x17\x01vpce-0123456789abcdef0"
    )


@given(st.binary(min_size=FIXED_SIZE, max_size=FIXED_SIZE))
def test_nothing_else_is_taken(data: bytes) -> None:
    with pytest.raises(ValueError, match="PROXY"):
        rest_size(data)


@given(st.binary(max_size=40))
def test_what_is_cut_short_or_broken_is_refused_or_read(rest: bytes) -> None:
    fixed = b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + len(rest).to_bytes(2, "big")
    try:
        decode(fixed, rest)
    except ValueError:
        return
