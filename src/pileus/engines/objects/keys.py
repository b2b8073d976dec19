"""Order, prefixes and ids of keys and versions: pure functions, used by everything that touches the index.

In the index a key is its UTF-8, so that SQLite's comparison of blobs is S3's order. No byte of UTF-8 is 0xFF: every prefix
has a successor. An ordinal is a time in microseconds that is unique and ascending within a key; version and upload ids have
it inside, so that a marker of a page still works when what it named is gone.
"""

import base64
import binascii
import secrets
from datetime import UTC, datetime, timedelta

from pileus.engines.objects.errors import InvalidKey

MAX_KEY = 1024
END = b"\xff"
"""Greater than every key."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def encode_key(key: str) -> bytes:
    """The key as in the index. Raises InvalidKey: empty, longer than 1024 bytes, or no valid Unicode."""
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        raise InvalidKey(key) from None
    if not 0 < len(encoded) <= MAX_KEY:
        raise InvalidKey(key)
    return encoded


def encode_bound(text: str) -> bytes:
    """A prefix, delimiter or marker, which may be anything: what is no Unicode matches nothing, but has its place."""
    return text.encode(errors="replace")


def successor(prefix: bytes) -> bytes:
    """The least bytes greater than all that begin with ``prefix``."""
    return prefix[:-1] + bytes([prefix[-1] + 1]) if prefix else END


def common_prefix(key: bytes, prefix: bytes, delimiter: bytes) -> bytes | None:
    """What the key is rolled up into: up to the first delimiter after the prefix, inclusive."""
    if not delimiter:
        return None
    found = key.find(delimiter, len(prefix))
    return None if found < 0 else key[: found + len(delimiter)]


def first_after(after: bytes, prefix: bytes, delimiter: bytes) -> bytes:
    """Where a listing goes on: the least key that may be listed when ``after`` was the last key or common prefix."""
    if after < prefix or not after:
        return prefix
    if after.startswith(prefix) and common_prefix(after, prefix, delimiter) == after:
        return successor(after)
    return after + b"\0"


def new_id(ordinal: int) -> str:
    """A version or upload id: 32 characters that can't be guessed."""
    return base64.urlsafe_b64encode(ordinal.to_bytes(8, "big") + secrets.token_bytes(16)).decode()


def ordinal_of(identifier: str) -> int | None:
    """The ordinal in an id, None if it is no id of ours."""
    try:
        raw = base64.b64decode(identifier, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    ordinal = int.from_bytes(raw[:8], "big")
    return ordinal if len(raw) == 24 and ordinal < 1 << 63 else None


def microseconds(moment: datetime) -> int:
    """Since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(microseconds: int) -> datetime:
    """The opposite."""
    return _EPOCH + timedelta(microseconds=microseconds)
