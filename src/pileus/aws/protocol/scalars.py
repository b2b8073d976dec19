"""Single values as text and back: the same in forms, XML, headers and query strings.

A reader raises ``ValueError`` when the text is no value of the type; whoever knows the parameter's name turns that into a
service error. ``EXPECTED`` says in words what would have been right.
"""

import base64
import binascii
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache
from typing import Any

EXPECTED = {
    "integer": "an integer",
    "long": "an integer",
    "float": "a number",
    "double": "a number",
    "boolean": "true or false",
    "timestamp": "a date and time in ISO 8601",
    "blob": "base64",
}

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?|NaN|-?Infinity", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INTEGER_LIMITS = {"integer": 2**31, "long": 2**63}


def read_integer(text: str) -> int:
    """A 64-bit integer in decimal digits."""
    if _INTEGER.fullmatch(text) is None:
        raise ValueError(text)
    return in_range(int(text), "long")


def in_range(value: int, type_name: str) -> int:
    """``value`` when it fits the type (32 or 64 bits)."""
    limit = _INTEGER_LIMITS[type_name]
    if not -limit <= value < limit:
        raise ValueError(value)
    return value


def read_float(text: str) -> float:
    """A decimal number, ``NaN`` or ``Infinity``."""
    if _FLOAT.fullmatch(text) is None:
        raise ValueError(text)
    return float(text)


def read_boolean(text: str) -> bool:
    """``true``, ``false``, ``1`` or ``0`` in any case."""
    value = _BOOLEANS.get(text.lower())
    if value is None:
        raise ValueError(text)
    return value


def read_blob(text: str) -> bytes:
    """Base64, with or without line breaks."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise ValueError(text[:100]) from error


def read_timestamp(text: str) -> datetime:
    """ISO 8601, the HTTP date, or seconds since 1970 in digits. A time without a zone is UTC."""
    if _FLOAT.fullmatch(text) is not None and not (len(text) == 8 and text.isdecimal()):  # 20260131 is a date
        return from_epoch(float(text))
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        value = parsedate_to_datetime(text)
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(text) from error


def from_epoch(seconds: float) -> datetime:
    """Seconds since 1970, to the microsecond."""
    try:
        return _EPOCH + timedelta(microseconds=round(seconds * 1_000_000))
    except OverflowError as error:  # beyond the year 9999, or infinite
        raise ValueError(seconds) from error


def read_string(text: str) -> str:
    """The text itself."""
    return text


READERS: dict[str, Callable[[str], Any]] = {
    "string": read_string,
    "character": read_string,
    "integer": lambda text: in_range(read_integer(text), "integer"),
    "long": read_integer,
    "float": read_float,
    "double": read_float,
    "boolean": read_boolean,
    "timestamp": read_timestamp,
    "blob": read_blob,
}
"""By type name: text to value."""


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError(f"a time without a zone: {value}")
    return value if value.tzinfo is UTC else value.astimezone(UTC)


@lru_cache(maxsize=4096)  # an answer repeats the times of its resources, and formatting them is slow
def iso_milliseconds(value: datetime) -> str:
    """``2026-01-01T00:00:00.000Z``, as ec2 and S3 write it."""
    return _in_utc(value).isoformat(timespec="milliseconds")[:-6] + "Z"


def iso_short(value: datetime) -> str:
    """``2026-01-01T00:00:00Z``, with milliseconds only where there are any."""
    text = iso_milliseconds(value)
    return text[:-5] + "Z" if text.endswith(".000Z") else text


def http_date(value: datetime) -> str:
    """``Thu, 01 Jan 2026 00:00:00 GMT`` (RFC 9110, 5.6.7)."""
    return format_datetime(_in_utc(value), usegmt=True)


def epoch(value: datetime) -> int | float:
    """Seconds since 1970, to the millisecond; an int when it is whole."""
    milliseconds = (_in_utc(value) - _EPOCH) // timedelta(milliseconds=1)
    return milliseconds // 1000 if milliseconds % 1000 == 0 else milliseconds / 1000


TIMESTAMP_FORMATS: dict[str, Callable[[datetime], str]] = {
    "iso8601": iso_short,
    "rfc822": http_date,
    "unixtimestamp": lambda value: str(epoch(value)),
}
"""By the model's ``timestampFormat`` in lower case."""


def write_float(value: float) -> str:
    """The shortest text that gives the same number; ``NaN``, ``Infinity``."""
    value = float(value)
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def write_boolean(value: Any) -> str:
    """``true`` or ``false``."""
    return "true" if value else "false"


def write_blob(value: bytes) -> str:
    """Base64 in one line."""
    return base64.b64encode(value).decode("ascii")
