"""Lifecycle rules: which versions and uploads are due, and the run over a bucket. Called by the store.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html: days count from an object's creation, or
from when a version became noncurrent, and end at the next midnight UTC.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

import msgspec

from pileus.engines.objects.errors import ObjectLocked
from pileus.engines.objects.index import Index, Transaction
from pileus.engines.objects.keys import END, encode_bound, moment, successor
from pileus.engines.objects.model import UNCONDITIONAL, Delete, Expired, Rule, RuleFilter
from pileus.engines.objects.rules import require_unlocked
from pileus.engines.objects.schema import Stored
from pileus.engines.objects.uploads import abort_upload
from pileus.engines.objects.versions import bucket_row, delete, find_any, remove

T = TypeVar("T")
Settle = Callable[[Future[Any]], Awaitable[Any]]

_PAGE = 1000
_BATCH = 100
_decoder = msgspec.msgpack.Decoder(Stored)

What = Literal["object", "version", "marker"]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A version as the rules see it. ``since`` is when it became noncurrent, ``newer`` how many noncurrent ones are newer."""

    key: str
    version_id: str
    marker: bool
    modified: datetime
    size: int
    tags: Mapping[str, str]
    since: datetime | None = None
    newer: int = 0
    alone: bool = False
    """The only version of its key."""


def midnight_after(start: datetime, days: int) -> datetime:
    """When something of ``start`` is due: the first midnight not before ``days`` have passed."""
    end = start + timedelta(days=days)
    midnight = end.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight if midnight == end else midnight + timedelta(days=1)


def matches(rule: RuleFilter, key: str, size: int, tags: Mapping[str, str]) -> bool:
    """Whether an object is the rule's."""
    return (
        key.startswith(rule.prefix)
        and (rule.larger_than is None or size > rule.larger_than)
        and (rule.smaller_than is None or size < rule.smaller_than)
        and all(tags.get(name) == value for name, value in rule.tags.items())
    )


def expiration(
    rules: Sequence[Rule], key: str, size: int, tags: Mapping[str, str], modified: datetime
) -> tuple[datetime, str] | None:
    """(when, rule id) of the first rule to expire a current object: what x-amz-expiration says."""
    due = [
        (rule.date if rule.date is not None else midnight_after(modified, rule.days or 0), rule.id)
        for rule in rules
        if (rule.date is not None or rule.days is not None) and matches(rule.filter, key, size, tags)
    ]
    return min(due, default=None)


def decide(rules: Sequence[Rule], line: Line, now: datetime) -> What | None:
    """What is to be deleted, if anything: the current object, a noncurrent version, or a delete marker that hides nothing."""
    mine = [rule for rule in rules if matches(rule.filter, line.key, line.size, line.tags)]
    if line.since is not None:
        due = any(_noncurrent_due(rule, line.since, line.newer, now) for rule in mine)
        return "version" if due else None
    found = expiration(mine, line.key, line.size, line.tags, line.modified)
    over = found is not None and found[0] <= now
    if not line.marker:
        return "object" if over else None
    wanted = over or any(rule.expired_delete_marker for rule in mine)
    return "marker" if wanted and line.alone else None


def _noncurrent_due(rule: Rule, since: datetime, newer: int, now: datetime) -> bool:
    if rule.noncurrent_days is None or newer < (rule.newer_noncurrent_versions or 0):
        return False
    return midnight_after(since, rule.noncurrent_days) <= now


async def expire(index: Index, settle: Settle, bucket: str, rules: Sequence[Rule], now: datetime) -> Expired:
    """A run over a bucket, page by page. What changes meanwhile is looked at again before it is deleted."""
    total: dict[What | Literal["upload"], int] = {}
    lines = _Lines(bucket, rules)
    while not lines.ended:
        page = await index.read(lines.read)
        due = _due(rules, page, now)
        for start in range(0, len(due), _BATCH):
            batch = due[start : start + _BATCH]
            done = await settle(index.submit(lambda transaction, batch=batch: _apply(transaction, bucket, batch, now)))
            for what in done:
                total[what] = total.get(what, 0) + 1
    aborted = await _abort(index, settle, bucket, rules, now)
    return Expired(
        objects=total.get("object", 0),
        versions=total.get("version", 0),
        markers=total.get("marker", 0),
        uploads=aborted,
    )


def _due(rules: Sequence[Rule], page: Sequence[Line], now: datetime) -> list[tuple[What, Line]]:
    due: list[tuple[What, Line]] = []
    for line in page:
        what = decide(rules, line, now)
        if what is not None:
            due.append((what, line))
    return due


class _Lines:
    """Walks over the versions of a bucket, page by page."""

    def __init__(self, bucket: str, rules: Sequence[Rule]) -> None:
        prefixes = [encode_bound(rule.filter.prefix) for rule in rules]
        self._bucket = bucket
        self._start = min(prefixes, default=END)
        self._end = max(map(successor, prefixes), default=b"")
        self._tags = any(rule.filter.tags for rule in rules)
        self._key = b""
        self._ordinal = 0
        self._above: datetime | None = None
        self._newer = 0
        self.ended = not rules

    def read(self, connection: sqlite3.Connection) -> list[Line]:
        number = bucket_row(connection, self._bucket)[0]
        columns = "key, ordinal, version, marker, modified, size, body"
        rows: list[tuple[Any, ...]] = connection.execute(
            f"SELECT {columns} FROM versions WHERE bucket = ? AND key = ? AND ordinal < ?"  # noqa: S608
            " ORDER BY ordinal DESC LIMIT ?",
            (number, self._key, self._ordinal, _PAGE),
        ).fetchall()
        start = max(self._start, self._key + b"\0")
        rows += connection.execute(
            f"SELECT {columns} FROM versions WHERE bucket = ? AND key >= ? AND key < ?"  # noqa: S608
            " ORDER BY key, ordinal DESC LIMIT ?",
            (number, start, self._end, _PAGE - len(rows)),
        ).fetchall()
        self.ended = len(rows) < _PAGE
        following = [row[0] for row in rows[1:]]
        return [self._line(row, after) for row, after in zip(rows, [*following, b""], strict=False)]

    def _line(self, row: tuple[Any, ...], following: bytes) -> Line:
        key, ordinal, version, marker, modified, size, body = row
        first = key != self._key
        since, newer = (None, 0) if first else (self._above, self._newer)
        # A page may end within a key: then ``alone`` may be wrong, and is looked at again in the transaction.
        line = Line(
            key=key.decode(),
            version_id=version,
            marker=bool(marker),
            modified=moment(modified),
            size=size,
            tags=_decoder.decode(body).attributes.tags if self._tags else {},
            since=since,
            newer=newer,
            alone=first and following != key,
        )
        self._key, self._ordinal, self._above = key, ordinal, line.modified
        self._newer = 0 if first else newer + 1
        return line


def _apply(transaction: Transaction, bucket: str, due: Sequence[tuple[What, Line]], now: datetime) -> list[What]:
    """Deletes what is due and still as it was seen."""
    done: list[What] = []
    for what, line in due:
        if _delete(transaction, bucket, what, line, now):
            done.append(what)
    return done


def _delete(transaction: Transaction, bucket: str, what: What, line: Line, now: datetime) -> bool:
    number = bucket_row(transaction.connection, bucket)[0]
    wanted = None if what == "object" else line.version_id
    found = find_any(transaction.connection, number, bucket, line.key, wanted)
    if found is None or found.version.version_id != line.version_id or found.version.modified != line.modified:
        return False
    if what == "object":
        delete(transaction, bucket, Delete(key=line.key, conditions=UNCONDITIONAL), owner="", bypass=False, now=now)
        return True
    if found.version.latest != (what == "marker"):
        return False
    if what == "marker" and not _alone(transaction, number, line):
        return False
    try:
        require_unlocked(found.version, now, bypass=False)
    except ObjectLocked:
        return False
    remove(transaction, number, line.key, found)
    return True


def _alone(transaction: Transaction, number: int, line: Line) -> bool:
    rows = transaction.execute(
        "SELECT 1 FROM versions WHERE bucket = ? AND key = ? LIMIT 2", (number, line.key.encode())
    ).fetchall()
    return len(rows) == 1


async def _abort(index: Index, settle: Settle, bucket: str, rules: Sequence[Rule], now: datetime) -> int:
    rules = [rule for rule in rules if rule.abort_days is not None]
    if not rules:
        return 0

    def overdue(connection: sqlite3.Connection) -> list[tuple[str, str]]:
        number = bucket_row(connection, bucket)[0]
        rows = connection.execute("SELECT key, upload, initiated FROM uploads WHERE bucket = ?", (number,))
        return list(_overdue(rows, rules, now))

    uploads = await index.read(overdue)

    def abort(transaction: Transaction) -> int:
        for key, upload_id in uploads:
            if transaction.execute("SELECT 1 FROM uploads WHERE upload = ?", (upload_id,)).fetchone():
                abort_upload(transaction, bucket, key, upload_id, None)
        return len(uploads)

    return await settle(index.submit(abort)) if uploads else 0


def _overdue(rows: Iterator[tuple[bytes, str, int]], rules: Sequence[Rule], now: datetime) -> Iterator[tuple[str, str]]:
    for encoded, upload_id, initiated in rows:
        key = encoded.decode()
        for rule in rules:
            due = midnight_after(moment(initiated), rule.abort_days or 0)
            if key.startswith(rule.filter.prefix) and due <= now:
                yield key, upload_id
                break
