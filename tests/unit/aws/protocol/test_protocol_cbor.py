from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.aws.protocol import cbor

TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.integers(0, 2**32).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=5), inner, max_size=30),
    max_leaves=30,
)


@given(TREES)
def test_every_tree_comes_back(tree):
    assert cbor.decode(cbor.encode(tree)) == tree


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("f93c00", 1.0),
        ("fa47c35000", 100000.0),
        ("3903e7", -1000),
        ("5f42010243030405ff", b"\x01\x02\x03\x04\x05"),
        ("7f657374726561646d696e67ff", "streaming"),
        ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]),
        ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
        ("c11a514b67b0", datetime(2013, 3, 21, 20, 4, tzinfo=UTC)),
        ("f7", None),
    ],
)
def test_examples_of_the_rfc(data, value):
    assert cbor.decode(bytes.fromhex(data)) == value


@pytest.mark.parametrize(
    "data",
    ["", "18", "ff", "1c", "61ff", "6261", "a1016161", "a2616101616102", "c074", "e0", "0000", "5f6161ff", "c1f97e00"],
)
def test_what_is_not_of_this_kind_is_refused(data):
    with pytest.raises(cbor.CborError):
        cbor.decode(bytes.fromhex(data))


def test_what_cbor_can_not_hold_is_a_programming_error():
    with pytest.raises(TypeError):
        cbor.encode({"a": object()})  # pyright: ignore[reportArgumentType] - what is refused
