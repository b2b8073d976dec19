from datetime import UTC, datetime, timedelta, timezone

import pytest

from pileus.aws.protocol import scalars

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T12:00:00Z",
        "2026-01-31T12:00:00.000Z",
        "2026-01-31T13:00:00+01:00",
        "2026-01-31T12:00:00",
        "20260131T120000Z",
        "1769860800",
        "1769860800.0",
        "1.7698608e9",
        "Sat, 31 Jan 2026 12:00:00 GMT",
    ],
)
def test_times_are_read_in_every_form(text):
    assert scalars.read_timestamp(text) == NOON
    assert scalars.read_timestamp(text).tzinfo is UTC


def test_a_date_of_eight_digits_is_no_number_of_seconds():
    assert scalars.read_timestamp("20260131") == NOON.replace(hour=0)
    assert scalars.read_timestamp("2026-01-31") == NOON.replace(hour=0)


@pytest.mark.parametrize("text", ["", "x", "1e999", "NaN", "2026-13-01", "99999999999999", "0001-01-01T00:00:00+14:00"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError):
        scalars.read_timestamp(text)


def test_times_are_written():
    time = NOON + timedelta(milliseconds=5, microseconds=999)
    assert scalars.iso_milliseconds(NOON) == "2026-01-31T12:00:00.000Z"
    assert scalars.iso_milliseconds(time.astimezone(timezone(timedelta(hours=5)))) == "2026-01-31T12:00:00.005Z"
    assert scalars.iso_short(NOON) == "2026-01-31T12:00:00Z"
    assert scalars.iso_short(time) == "2026-01-31T12:00:00.005Z"
    assert scalars.http_date(time) == "Sat, 31 Jan 2026 12:00:00 GMT"
    assert (scalars.epoch(NOON), scalars.epoch(time)) == (1769860800, 1769860800.005)


def test_a_time_without_a_zone_is_a_programming_error():
    with pytest.raises(ValueError, match="without a zone"):
        scalars.iso_milliseconds(datetime(2026, 1, 31))  # noqa: DTZ001 - what is refused


@pytest.mark.parametrize("text", ["", " 1", "1_0", "0x1", "١", "1.0", "9" * 19, "-9223372036854775809", "9" * 5000])
def test_what_is_no_integer_is_refused(text):
    with pytest.raises(ValueError):
        scalars.read_integer(text)


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("-9223372036854775808", -(2**63)), ("+7", 7), ("007", 7)])
def test_integers(text, value):
    assert scalars.read_integer(text) == value


@pytest.mark.parametrize("text", ["", "nan", "inf", "1e", "1_0", "0x1p3", "--1", "."])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(ValueError):
        scalars.read_float(text)


@pytest.mark.parametrize("value", [0.1, -1.5e300, 1.0, float("inf"), float("-inf")])
def test_numbers_come_back(value):
    assert scalars.read_float(scalars.write_float(value)) == value


def test_base64_with_line_breaks():
    assert scalars.read_blob("aGVs\nbG8=\r\n") == b"hello"
    with pytest.raises(ValueError, match="aGV"):
        scalars.read_blob("aGV*")
