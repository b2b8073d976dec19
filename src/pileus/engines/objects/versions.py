"""Versions of objects in the index: finding, adding, changing and removing them. Called by the store and by ``uploads``,
on the index's threads."""

import sqlite3
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from pileus.engines.objects.errors import (
    IsDeleteMarker,
    LockNotEnabled,
    NoSuchBucket,
    NoSuchKey,
    NoSuchVersion,
    ObjectsError,
)
from pileus.engines.objects.index import Transaction
from pileus.engines.objects.keys import encode_key, microseconds, moment, new_id, ordinal_of
from pileus.engines.objects.model import (
    NULL,
    Attributes,
    Checksum,
    Conditions,
    Delete,
    Deleted,
    ObjectVersion,
    PartInfo,
    Versioning,
)
from pileus.engines.objects.rules import require, require_unlocked
from pileus.engines.objects.schema import Content, Stored

_COLUMNS = "id, ordinal, version, marker, modified, size, etag, body"
_decoder = msgspec.msgpack.Decoder(Stored)
_encoder = msgspec.msgpack.Encoder()

Row = tuple[int, int, str, int, int, int, str, bytes]


class Found(msgspec.Struct, frozen=True):
    """A version with what only the engine knows of it."""

    id: int
    ordinal: int
    version: ObjectVersion
    content: Content
    inline: bytes = b""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A version to be added."""

    size: int
    etag: str
    attributes: Attributes
    checksum: Checksum | None = None
    parts: tuple[PartInfo, ...] = ()
    upload_id: str = ""
    content: Content
    inline: bytes = b""


def bucket_row(connection: sqlite3.Connection, name: str) -> tuple[int, Versioning, bool]:
    """(id, versioning, object lock). Raises NoSuchBucket."""
    row = connection.execute("SELECT id, versioning, object_lock FROM buckets WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise NoSuchBucket(name)
    return row[0], row[1], bool(row[2])


def find(
    connection: sqlite3.Connection, bucket: str, key: str, version_id: str | None, *, inline: bool = False
) -> Found:
    """An object. Raises NoSuchBucket, InvalidKey, NoSuchKey, NoSuchVersion, IsDeleteMarker."""
    number = bucket_row(connection, bucket)[0]
    found = find_any(connection, number, bucket, key, version_id)
    if found is None:
        raise NoSuchKey(bucket, key) if version_id is None else NoSuchVersion(bucket, key, version_id)
    version = found.version
    if version.delete_marker and version_id is None:
        raise NoSuchKey(bucket, key, version.version_id, version.modified)
    if version.delete_marker:
        raise IsDeleteMarker(bucket, key, version.version_id, version.modified)
    if inline and found.content.inline:
        data = connection.execute("SELECT data FROM inlines WHERE version = ?", (found.id,)).fetchone()[0]
        return msgspec.structs.replace(found, inline=data)
    return found


def find_any(
    connection: sqlite3.Connection, number: int, bucket: str, key: str, version_id: str | None
) -> Found | None:
    """A version or delete marker; the newest one without ``version_id``. ``number`` is the bucket's."""
    encoded = encode_key(key)
    newest: Row | None = connection.execute(
        f"SELECT {_COLUMNS} FROM versions WHERE bucket = ? AND key = ? ORDER BY ordinal DESC LIMIT 1",  # noqa: S608
        (number, encoded),
    ).fetchone()
    if newest is None or version_id is None or newest[2] == version_id:
        return None if newest is None else _found(bucket, key, newest, latest=True)
    ordinal = ordinal_of(version_id)
    row = None
    if version_id == NULL:
        row = connection.execute(
            f"SELECT {_COLUMNS} FROM versions WHERE bucket = ? AND key = ? AND version = 'null'",  # noqa: S608
            (number, encoded),
        ).fetchone()
    elif ordinal is not None:
        row = connection.execute(
            f"SELECT {_COLUMNS} FROM versions WHERE bucket = ? AND key = ? AND ordinal = ? AND version = ?",  # noqa: S608
            (number, encoded, ordinal, version_id),
        ).fetchone()
    return None if row is None else _found(bucket, key, row, latest=False)


def check(connection: sqlite3.Connection, bucket: str, key: str, conditions: Conditions) -> None:
    """What ``add`` would say of the conditions now. Raises NoSuchBucket, InvalidKey, NoSuchKey, PreconditionFailed."""
    number = bucket_row(connection, bucket)[0]
    require(conditions, bucket, key, _object(find_any(connection, number, bucket, key, None)))


def add(
    transaction: Transaction, bucket: str, key: str, draft: Draft, conditions: Conditions, now: datetime
) -> ObjectVersion:
    """Makes ``draft`` the newest version. Its segments must have been retained.

    Raises NoSuchBucket, InvalidKey, NoSuchKey, PreconditionFailed, LockNotEnabled.
    """
    number, versioning, object_lock = bucket_row(transaction.connection, bucket)
    if (draft.attributes.retention or draft.attributes.legal_hold) and not object_lock:
        raise LockNotEnabled(bucket)
    current = find_any(transaction.connection, number, bucket, key, None)
    require(conditions, bucket, key, _object(current))
    identifier, ordinal = _next(transaction, number, bucket, key, versioning, current, now)
    stored = Stored(
        attributes=draft.attributes,
        checksum=draft.checksum,
        parts=draft.parts,
        upload_id=draft.upload_id,
        content=draft.content,
    )
    row = transaction.execute(
        "INSERT INTO versions (bucket, key, ordinal, version, live, marker, modified, size, etag, storage_class, owner,"
        " algorithm, checksum_type, body) VALUES (?, ?, ?, ?, 1, 0, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            number,
            encode_key(key),
            ordinal,
            identifier,
            microseconds(now),
            draft.size,
            draft.etag,
            draft.attributes.storage_class,
            draft.attributes.owner,
            draft.checksum and draft.checksum.algorithm,
            draft.checksum and draft.checksum.type,
            _encoder.encode(stored),
        ),
    ).lastrowid
    if draft.content.inline:
        transaction.execute("INSERT INTO inlines (version, data) VALUES (?, ?)", (row, draft.inline))
    return ObjectVersion(
        bucket=bucket,
        key=key,
        version_id=identifier,
        modified=now,
        size=draft.size,
        etag=draft.etag,
        attributes=draft.attributes,
        checksum=draft.checksum,
        parts=draft.parts,
        upload_id=draft.upload_id,
    )


def delete(
    transaction: Transaction, bucket: str, wanted: Delete, *, owner: str, bypass: bool, now: datetime
) -> Deleted | ObjectsError:
    """One deletion. What speaks against it is returned; raises NoSuchBucket."""
    number, versioning, _ = bucket_row(transaction.connection, bucket)
    try:
        current = find_any(transaction.connection, number, bucket, wanted.key, wanted.version_id)
        require(wanted.conditions, bucket, wanted.key, _object(current))
        if wanted.version_id is not None:
            return _delete_version(transaction, number, wanted, current, bypass=bypass, now=now)
        if not versioning:
            if current is not None:
                remove(transaction, number, wanted.key, current)
            return Deleted(key=wanted.key)
        return _cover(transaction, number, bucket, wanted.key, versioning, current, owner, now)
    except ObjectsError as error:
        return error


def change(
    transaction: Transaction,
    bucket: str,
    key: str,
    version_id: str | None,
    function: Callable[[ObjectVersion, bool], Attributes],
) -> ObjectVersion:
    """Sets the attributes that ``function`` gives for (version, bucket has object lock). Raises what ``find`` raises."""
    object_lock = bucket_row(transaction.connection, bucket)[2]
    found = find(transaction.connection, bucket, key, version_id)
    version = msgspec.structs.replace(found.version, attributes=function(found.version, object_lock))
    stored = Stored(
        attributes=version.attributes,
        checksum=version.checksum,
        parts=version.parts,
        upload_id=version.upload_id,
        content=found.content,
    )
    transaction.execute("UPDATE versions SET body = ? WHERE id = ?", (_encoder.encode(stored), found.id))
    return version


def remove(transaction: Transaction, number: int, key: str, found: Found) -> None:
    """Removes a version for good; the one before becomes the newest."""
    transaction.execute("DELETE FROM versions WHERE id = ?", (found.id,))
    if found.content.inline:
        transaction.execute("DELETE FROM inlines WHERE version = ?", (found.id,))
    transaction.release(found.content)
    if found.version.latest:
        transaction.execute(
            "UPDATE versions SET live = 1 - marker WHERE id ="
            " (SELECT id FROM versions WHERE bucket = ? AND key = ? ORDER BY ordinal DESC LIMIT 1)",
            (number, encode_key(key)),
        )


def _delete_version(
    transaction: Transaction, number: int, wanted: Delete, found: Found | None, *, bypass: bool, now: datetime
) -> Deleted:
    if found is None:
        return Deleted(key=wanted.key, version_id=wanted.version_id)
    if not found.version.delete_marker:
        require_unlocked(found.version, now, bypass=bypass)
    remove(transaction, number, wanted.key, found)
    return Deleted(key=wanted.key, version_id=wanted.version_id, delete_marker=found.version.delete_marker)


def _cover(
    transaction: Transaction,
    number: int,
    bucket: str,
    key: str,
    versioning: Versioning,
    current: Found | None,
    owner: str,
    now: datetime,
) -> Deleted:
    identifier, ordinal = _next(transaction, number, bucket, key, versioning, current, now)
    transaction.execute(
        "INSERT INTO versions (bucket, key, ordinal, version, live, marker, modified, size, etag, storage_class, owner,"
        " body) VALUES (?, ?, ?, ?, 0, 1, ?, 0, '', '', ?, ?)",
        (
            number,
            encode_key(key),
            ordinal,
            identifier,
            microseconds(now),
            owner,
            _encoder.encode(Stored(attributes=Attributes(owner=owner))),
        ),
    )
    return Deleted(key=key, version_id=identifier, delete_marker=True)


def _next(
    transaction: Transaction,
    number: int,
    bucket: str,
    key: str,
    versioning: Versioning,
    current: Found | None,
    now: datetime,
) -> tuple[str, int]:
    """Makes room for a newest version: (version id, ordinal)."""
    ordinal = max(microseconds(now), 0 if current is None else current.ordinal + 1)
    if versioning != "Enabled":
        replaced = find_any(transaction.connection, number, bucket, key, NULL)
        if replaced is not None:
            remove(transaction, number, key, replaced)
    if current is not None:
        transaction.execute(
            "UPDATE versions SET live = 0 WHERE bucket = ? AND key = ? AND live = 1", (number, encode_key(key))
        )
    return (new_id(ordinal) if versioning == "Enabled" else NULL), ordinal


def _object(found: Found | None) -> ObjectVersion | None:
    return None if found is None or found.version.delete_marker else found.version


def _found(bucket: str, key: str, row: tuple[Any, ...], *, latest: bool) -> Found:
    number, ordinal, identifier, marker, modified, size, etag, body = row
    stored = _decoder.decode(body)
    version = ObjectVersion(
        bucket=bucket,
        key=key,
        version_id=identifier,
        latest=latest,
        delete_marker=bool(marker),
        modified=moment(modified),
        size=size,
        etag=etag,
        attributes=stored.attributes,
        checksum=stored.checksum,
        parts=stored.parts,
        upload_id=stored.upload_id,
    )
    return Found(number, ordinal, version, stored.content)
