"""What the object store finds wrong, in S3's words."""

import inspect
import logging
from datetime import UTC, datetime

import pytest

from pileus.base.errors import ServiceError
from pileus.engines.objects import errors as engine
from pileus.services.s3.errors import told, translated

NOW = datetime(2026, 11, 23, tzinfo=UTC)
FACTS = {
    "account": "000000000001",
    "size": 1,
    "limit": 1,
    "minimum": 1,
    "number": 1,
    "first": 1,
    "last": 1,
    "received": 1,
    "until": NOW,
    "modified": NOW,
}


def every():
    """One of each error that is there, but those that the operations look at themselves."""
    for _, kind in inspect.getmembers(engine, inspect.isclass):
        if not issubclass(kind, engine.ObjectsError) or kind in {engine.ObjectsError, engine.BucketExists}:
            continue
        if "__init__" not in vars(kind):
            yield kind()
            continue
        facts = {name: FACTS.get(name, "text") for name in list(inspect.signature(kind).parameters)}
        if kind is engine.LengthMismatch:
            facts["expected"] = 2
        yield kind(**facts)


@pytest.mark.parametrize("error", list(every()), ids=lambda error: type(error).__name__)
def test_each_has_an_error_of_s3(error):
    assert isinstance(translated(error), ServiceError)


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (engine.InvalidKey("k" * 1025), "KeyTooLongError", 400),
        (engine.InvalidKey("é" * 513), "KeyTooLongError", 400),
        (engine.InvalidKey(""), "InvalidURI", 400),
        (engine.InvalidKey("\ud800"), "InvalidURI", 400),
        (engine.ChecksumTypeMismatch("SHA256", "CRC32"), "InvalidRequest", 400),
        (engine.Damaged("0123", "frame 0 is not what was written"), "InternalError", 500),
    ],
)
def test_their_codes(error, code, status):
    found = translated(error)
    assert (found.code, found.status) == (code, status)


def test_both_checksums_are_named():
    found = translated(engine.ChecksumTypeMismatch("SHA256", "CRC32"))
    assert found.message.endswith("expected checksum Type: sha256, actual checksum Type: crc32")


def test_the_log_says_which_object_is_damaged(caplog):
    with caplog.at_level(logging.ERROR), pytest.raises(ServiceError) as caught, told("the-bucket/the-key"):
        raise engine.Damaged("0123", "it is missing")
    assert "0123" not in caught.value.message
    (line,) = caplog.records
    assert (line.object, line.blob, line.reason) == ("the-bucket/the-key", "0123", "it is missing")
