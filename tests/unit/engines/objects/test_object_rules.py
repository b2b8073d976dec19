"""Conditions, object lock and lifecycle rules, as decisions."""

from datetime import UTC, datetime, timedelta

import pytest

from pileus.engines.objects.errors import NoSuchKey, ObjectLocked, PreconditionFailed
from pileus.engines.objects.lifecycle import Line, decide, expiration, midnight_after
from pileus.engines.objects.model import Attributes, Conditions, ObjectVersion, Retention, Rule, RuleFilter
from pileus.engines.objects.rules import require, require_retention_change, require_unlocked

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


def version(**attributes) -> ObjectVersion:
    return ObjectVersion(bucket="b", key="k", modified=NOW, size=5, etag="e" * 32, attributes=Attributes(**attributes))


def retention(mode: str, days: int) -> Retention:
    return Retention(mode=mode, until=NOW + timedelta(days=days))


@pytest.mark.parametrize(
    ("conditions", "there", "absent"),
    [
        (Conditions(), None, None),
        (Conditions(if_match="e" * 32), None, NoSuchKey),
        (Conditions(if_match="*"), None, NoSuchKey),
        (Conditions(if_match="x"), PreconditionFailed, NoSuchKey),
        (Conditions(if_none_match="*"), PreconditionFailed, None),
        (Conditions(if_none_match="e" * 32), PreconditionFailed, None),
        (Conditions(if_none_match="x"), None, None),
        (Conditions(size=5), None, NoSuchKey),
        (Conditions(size=6), PreconditionFailed, NoSuchKey),
        (Conditions(modified=NOW + timedelta(milliseconds=500)), None, NoSuchKey),
        (Conditions(modified=NOW + timedelta(seconds=1)), PreconditionFailed, NoSuchKey),
    ],
)
def test_conditions_on_an_object(conditions, there, absent):
    for current, error in [(version(), there), (None, absent)]:
        if error is None:
            require(conditions, "b", "k", current)
        else:
            with pytest.raises(error):
                require(conditions, "b", "k", current)


@pytest.mark.parametrize(
    ("attributes", "free", "free_by_bypass"),
    [
        ({}, True, True),
        ({"legal_hold": True}, False, False),
        ({"retention": retention("GOVERNANCE", 1)}, False, True),
        ({"retention": retention("COMPLIANCE", 1)}, False, False),
        ({"retention": retention("COMPLIANCE", -1)}, True, True),
        ({"retention": retention("GOVERNANCE", 1), "legal_hold": True}, False, False),
    ],
)
def test_locks(attributes, free, free_by_bypass):
    for bypass, allowed in [(False, free), (True, free_by_bypass)]:
        if allowed:
            require_unlocked(version(**attributes), NOW, bypass=bypass)
        else:
            with pytest.raises(ObjectLocked):
                require_unlocked(version(**attributes), NOW, bypass=bypass)


@pytest.mark.parametrize(
    ("current", "wanted", "allowed", "allowed_by_bypass"),
    [
        (None, retention("COMPLIANCE", 1), True, True),
        (retention("GOVERNANCE", 5), retention("GOVERNANCE", 6), True, True),
        (retention("GOVERNANCE", 5), retention("GOVERNANCE", 4), False, True),
        (retention("GOVERNANCE", 5), retention("COMPLIANCE", 5), False, True),
        (retention("GOVERNANCE", 5), None, False, True),
        (retention("COMPLIANCE", 5), retention("COMPLIANCE", 6), True, True),
        (retention("COMPLIANCE", 5), retention("COMPLIANCE", 4), False, False),
        (retention("COMPLIANCE", 5), retention("GOVERNANCE", 6), False, False),
        (retention("COMPLIANCE", 5), None, False, False),
        (retention("COMPLIANCE", -1), None, True, True),
    ],
)
def test_retention_changes(current, wanted, allowed, allowed_by_bypass):
    for bypass, fine in [(False, allowed), (True, allowed_by_bypass)]:
        if fine:
            require_retention_change(version(retention=current), wanted, NOW, bypass=bypass)
        else:
            with pytest.raises(ObjectLocked):
                require_retention_change(version(retention=current), wanted, NOW, bypass=bypass)


def line(**given) -> Line:
    return Line(
        **{
            "key": "logs/a",
            "version_id": "v",
            "marker": False,
            "modified": NOW - timedelta(days=10),
            "size": 100,
            "tags": {"x": "1"},
            **given,
        }
    )


def test_days_end_at_midnight():
    start = datetime(2026, 1, 1, 10, tzinfo=UTC)
    assert midnight_after(start, 3) == datetime(2026, 1, 5, tzinfo=UTC)
    assert midnight_after(start.replace(hour=0), 3) == datetime(2026, 1, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        (RuleFilter(), "object"),
        (RuleFilter(prefix="logs/"), "object"),
        (RuleFilter(prefix="other"), None),
        (RuleFilter(tags={"x": "1"}), "object"),
        (RuleFilter(tags={"x": "1", "y": "2"}), None),
        (RuleFilter(larger_than=99, smaller_than=101), "object"),
        (RuleFilter(larger_than=100), None),
        (RuleFilter(smaller_than=100), None),
    ],
)
def test_filters(filter_, expected):
    assert decide([Rule(filter=filter_, days=1)], line(), NOW) == expected


@pytest.mark.parametrize(
    ("rule", "seen", "expected"),
    [
        (Rule(days=9), line(), "object"),
        (Rule(days=10), line(), None),  # only at the midnight to come
        (Rule(date=NOW), line(modified=NOW), "object"),
        (Rule(date=NOW + timedelta(days=1)), line(), None),
        (Rule(days=1), line(since=NOW), None),
        (Rule(noncurrent_days=2), line(), None),
        (Rule(noncurrent_days=2), line(since=NOW - timedelta(days=3)), "version"),
        (Rule(noncurrent_days=2), line(since=NOW - timedelta(days=2)), None),
        (Rule(noncurrent_days=2, newer_noncurrent_versions=2), line(since=NOW - timedelta(days=9), newer=1), None),
        (Rule(noncurrent_days=2, newer_noncurrent_versions=2), line(since=NOW - timedelta(days=9), newer=2), "version"),
        (Rule(expired_delete_marker=True), line(marker=True, alone=True), "marker"),
        (Rule(expired_delete_marker=True), line(marker=True), None),
        (Rule(expired_delete_marker=True), line(), None),
        (Rule(days=9), line(marker=True, alone=True), "marker"),
        (Rule(days=11), line(marker=True, alone=True), None),
    ],
)
def test_decisions(rule, seen, expected):
    assert decide([rule], seen, NOW) == expected


def test_the_first_rule_to_expire_an_object_counts():
    rules = [
        Rule(id="late", days=30),
        Rule(id="soon", days=20),
        Rule(id="other", days=1, filter=RuleFilter(prefix="z")),
    ]
    when, name = expiration(rules, "logs/a", 1, {}, NOW)
    assert (when, name) == (datetime(2026, 3, 31, tzinfo=UTC), "soon")
    assert expiration([], "a", 1, {}, NOW) is None
