"""Pages of objects, versions and uploads. Called by the store, on the index's reader threads.

A common prefix costs one search in the index, however many keys it has: the walk goes on behind it.
"""

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from pileus.engines.objects.keys import common_prefix, encode_bound, first_after, moment, ordinal_of, successor
from pileus.engines.objects.model import (
    NULL,
    Entry,
    Listing,
    Upload,
    UploadListing,
    VersionListing,
)
from pileus.engines.objects.versions import bucket_row

Row = tuple[Any, ...]
Rows = Callable[[bytes], Iterator[Row]]
"""Rows from a key on, in order; the first column is the key."""

_ENTRY = "key, version, marker, modified, size, etag, storage_class, owner, algorithm, checksum_type"
_upload = msgspec.msgpack.Decoder(Upload)


class _Page:
    """Collects rows and common prefixes until ``limit`` are there; then only notes that there is more."""

    def __init__(self, prefix: bytes, delimiter: bytes, limit: int) -> None:
        self._prefix = prefix
        self._delimiter = delimiter
        self._limit = limit
        self.rows: list[Row] = []
        self.prefixes: list[str] = []
        self.truncated = False
        self.last: Row | str = ""
        """The last row or common prefix of the page."""

    def walk(self, rows: Rows, start: bytes) -> None:
        """Takes rows from ``start`` on."""
        end = successor(self._prefix)
        while self._limit and not self.truncated and start < end:
            start = self._walk(rows(start), end)

    def _walk(self, rows: Iterator[Row], end: bytes) -> bytes:
        """Until the end, which is returned, or a common prefix: what comes behind it."""
        for row in rows:
            rolled = common_prefix(row[0], self._prefix, self._delimiter)
            if len(self.rows) + len(self.prefixes) == self._limit:
                self.truncated = True
                return end
            if rolled is not None:
                self.last = rolled.decode()
                self.prefixes.append(self.last)
                return successor(rolled)
            self.last = row
            self.rows.append(row)
        return end


def list_objects(
    connection: sqlite3.Connection, bucket: str, prefix: str, delimiter: str, after: str, max_keys: int
) -> Listing:
    """Current objects. Raises NoSuchBucket."""
    number = bucket_row(connection, bucket)[0]
    first, cut = encode_bound(prefix), encode_bound(delimiter)
    page = _Page(first, cut, max_keys)

    def rows(start: bytes) -> Iterator[Row]:
        return connection.execute(
            f"SELECT {_ENTRY} FROM versions WHERE bucket = ? AND live = 1 AND key >= ? AND key < ?"  # noqa: S608
            " ORDER BY key LIMIT ?",
            (number, start, successor(first), max_keys + 1),
        )

    page.walk(rows, first_after(encode_bound(after), first, cut))
    return Listing(
        entries=tuple(_entry(row, latest=True) for row in page.rows),
        prefixes=tuple(page.prefixes),
        truncated=page.truncated,
        next_after=_name(page.last) if page.truncated else "",
    )


def list_versions(
    connection: sqlite3.Connection,
    bucket: str,
    prefix: str,
    delimiter: str,
    markers: tuple[str, str],
    max_keys: int,
) -> VersionListing:
    """All versions, newest first within a key. Raises NoSuchBucket."""
    number = bucket_row(connection, bucket)[0]
    first, cut = encode_bound(prefix), encode_bound(delimiter)
    page = _Page(first, cut, max_keys)
    key, version = encode_bound(markers[0]), markers[1]
    ordinal = _marker(connection, number, key, version) if version else None

    def rows(start: bytes) -> Iterator[Row]:
        """With a version marker, the walk begins within the marker's key."""
        if ordinal is not None and start == key:
            yield from connection.execute(
                f"SELECT {_ENTRY}, ordinal FROM versions WHERE bucket = ? AND key = ? AND ordinal < ?"  # noqa: S608
                " ORDER BY ordinal DESC LIMIT ?",
                (number, key, ordinal, max_keys + 1),
            )
            start += b"\0"
        yield from connection.execute(
            f"SELECT {_ENTRY}, ordinal FROM versions WHERE bucket = ? AND key >= ? AND key < ?"  # noqa: S608
            " ORDER BY key, ordinal DESC LIMIT ?",
            (number, start, successor(first), max_keys + 1),
        )

    inside = ordinal is not None and key >= first
    page.walk(rows, key if inside else first_after(key, first, cut))
    last = page.last
    return VersionListing(
        entries=tuple(_versions(connection, number, page.rows)),
        prefixes=tuple(page.prefixes),
        truncated=page.truncated,
        next_key=_name(last) if page.truncated else "",
        next_version_id=last[1] if page.truncated and not isinstance(last, str) else "",
    )


def list_uploads(
    connection: sqlite3.Connection, bucket: str, prefix: str, delimiter: str, markers: tuple[str, str], limit: int
) -> UploadListing:
    """Unfinished uploads by key and age. Raises NoSuchBucket."""
    number = bucket_row(connection, bucket)[0]
    first, cut = encode_bound(prefix), encode_bound(delimiter)
    page = _Page(first, cut, limit)
    key = encode_bound(markers[0])
    ordinal = ordinal_of(markers[1]) if markers[1] else None

    def rows(start: bytes) -> Iterator[Row]:
        below = ordinal if ordinal is not None and start == key else -1
        yield from connection.execute(
            "SELECT key, body FROM uploads WHERE bucket = ? AND key >= ? AND key < ? AND (key > ? OR ordinal > ?)"
            " ORDER BY key, ordinal LIMIT ?",
            (number, start, successor(first), start, below, limit + 1),
        )

    inside = ordinal is not None and key >= first
    page.walk(rows, key if inside else first_after(key, first, cut))
    uploads = tuple(_upload.decode(row[1]) for row in page.rows)
    more = page.truncated
    return UploadListing(
        uploads=uploads,
        prefixes=tuple(page.prefixes),
        truncated=more,
        next_key=_name(page.last) if more else "",
        next_upload_id=uploads[-1].upload_id if more and not isinstance(page.last, str) else "",
    )


def _marker(connection: sqlite3.Connection, number: int, key: bytes, version: str) -> int | None:
    """The ordinal that a version marker stands for. The null version's, if it is gone, can't be known: all the key's
    versions are listed again."""
    if version != NULL:
        return ordinal_of(version)
    row = connection.execute(
        "SELECT ordinal FROM versions WHERE bucket = ? AND key = ? AND version = 'null'", (number, key)
    ).fetchone()
    return (1 << 63) - 1 if row is None else row[0]


def _versions(connection: sqlite3.Connection, number: int, rows: list[Row]) -> Iterator[Entry]:
    """Only the newest of a key is the latest; the first row of a page may not be."""
    previous = b""
    for index, row in enumerate(rows):
        latest = row[0] != previous
        if index == 0:
            newer = connection.execute(
                "SELECT 1 FROM versions WHERE bucket = ? AND key = ? AND ordinal > ? LIMIT 1", (number, row[0], row[-1])
            ).fetchone()
            latest = newer is None
        previous = row[0]
        yield _entry(row, latest=latest)


def _entry(row: Row, *, latest: bool) -> Entry:
    return Entry(
        key=row[0].decode(),
        version_id=row[1],
        latest=latest,
        delete_marker=bool(row[2]),
        modified=moment(row[3]),
        size=row[4],
        etag=row[5],
        storage_class=row[6],
        owner=row[7],
        checksum_algorithm=row[8],
        checksum_type=row[9],
    )


def _name(last: Row | str) -> str:
    return last if isinstance(last, str) else last[0].decode()
