"""Multipart uploads in the index. Called by the store, on the index's threads."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

import msgspec

from pileus.engines.objects import digests
from pileus.engines.objects.errors import (
    ChecksumRequired,
    DigestMismatch,
    InvalidPart,
    InvalidPartOrder,
    LengthMismatch,
    LockNotEnabled,
    NoSuchKey,
    NoSuchUpload,
    PartTooSmall,
    PreconditionFailed,
    TooLarge,
)
from pileus.engines.objects.index import Transaction
from pileus.engines.objects.keys import encode_key, microseconds, new_id
from pileus.engines.objects.model import (
    MAX_OBJECT,
    MIN_PART,
    Algorithm,
    Attributes,
    Checksum,
    ChecksumType,
    CompletedPart,
    Conditions,
    ObjectVersion,
    PartInfo,
    PartListing,
    Upload,
)
from pileus.engines.objects.schema import Content, StoredPart
from pileus.engines.objects.versions import Draft, add, bucket_row, find

_upload = msgspec.msgpack.Decoder(Upload)
_part = msgspec.msgpack.Decoder(StoredPart)
_encoder = msgspec.msgpack.Encoder()


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """What the completion of an upload says."""

    parts: Sequence[CompletedPart]
    checksum: Checksum | None
    size: int | None
    conditions: Conditions


def create_upload(
    transaction: Transaction,
    bucket: str,
    key: str,
    attributes: Attributes,
    initiator: str,
    checksum: tuple[Algorithm | None, ChecksumType | None],
    now: datetime,
) -> Upload:
    """Begins an upload. Raises NoSuchBucket, InvalidKey, LockNotEnabled."""
    number, _, object_lock = bucket_row(transaction.connection, bucket)
    if (attributes.retention or attributes.legal_hold) and not object_lock:
        raise LockNotEnabled(bucket)
    encoded = encode_key(key)
    newest = transaction.execute(
        "SELECT max(ordinal) FROM uploads WHERE bucket = ? AND key = ?", (number, encoded)
    ).fetchone()[0]
    ordinal = max(microseconds(now), (newest or 0) + 1)
    upload = Upload(
        bucket=bucket,
        key=key,
        upload_id=new_id(ordinal),
        initiated=now,
        initiator=initiator,
        attributes=attributes,
        algorithm=checksum[0],
        checksum_type=checksum[1],
    )
    transaction.execute(
        "INSERT INTO uploads (bucket, key, ordinal, upload, initiated, body) VALUES (?, ?, ?, ?, ?, ?)",
        (number, encoded, ordinal, upload.upload_id, microseconds(now), _encoder.encode(upload)),
    )
    return upload


def find_upload(connection: sqlite3.Connection, bucket: str, key: str, upload_id: str) -> tuple[int, Upload]:
    """(row, upload). Raises NoSuchBucket, NoSuchUpload."""
    number = bucket_row(connection, bucket)[0]
    row = connection.execute(
        "SELECT id, body FROM uploads WHERE upload = ? AND bucket = ? AND key = ?", (upload_id, number, encode_key(key))
    ).fetchone()
    if row is None:
        raise NoSuchUpload(bucket, key, upload_id)
    return row[0], _upload.decode(row[1])


def add_part(
    transaction: Transaction, bucket: str, key: str, upload_id: str, info: PartInfo, content: Content
) -> PartInfo:
    """Adds or replaces a part; its segments must have been retained. Raises NoSuchUpload."""
    row, _ = find_upload(transaction.connection, bucket, key, upload_id)
    replaced = transaction.execute(
        "SELECT body FROM parts WHERE upload = ? AND number = ?", (row, info.number)
    ).fetchone()
    if replaced is not None:
        transaction.release(_part.decode(replaced[0]).content)
    transaction.execute(
        "INSERT OR REPLACE INTO parts (upload, number, size, body) VALUES (?, ?, ?, ?)",
        (row, info.number, info.size, _encoder.encode(StoredPart(info=info, content=content))),
    )
    return info


def list_parts(
    connection: sqlite3.Connection, bucket: str, key: str, upload_id: str, after: int, limit: int
) -> PartListing:
    """A page of parts by number."""
    row, upload = find_upload(connection, bucket, key, upload_id)
    bodies = connection.execute(
        "SELECT body FROM parts WHERE upload = ? AND number > ? ORDER BY number LIMIT ?", (row, after, limit + 1)
    ).fetchall()
    parts = tuple(_part.decode(body[0]).info for body in bodies[:limit])
    truncated = bool(limit) and len(bodies) > limit
    return PartListing(
        upload=upload, parts=parts, truncated=truncated, next_number=parts[-1].number if truncated else 0
    )


def complete_upload(
    transaction: Transaction, bucket: str, key: str, upload_id: str, completion: Completion, now: datetime
) -> ObjectVersion:
    """The parts' segments become the object's; what was not named is released."""
    try:
        row, upload = find_upload(transaction.connection, bucket, key, upload_id)
    except NoSuchUpload:
        return _completed_before(transaction, bucket, key, upload_id, completion)
    stored = {
        number: _part.decode(body)
        for number, body in transaction.execute("SELECT number, body FROM parts WHERE upload = ?", (row,))
    }
    chosen = _choose(upload, stored, completion.parts)
    infos = tuple(part.info for part in chosen)
    size = sum(info.size for info in infos)
    if completion.size is not None and completion.size != size:
        raise LengthMismatch(completion.size, size)
    if size > MAX_OBJECT:
        raise TooLarge(MAX_OBJECT, size)
    draft = Draft(
        size=size,
        etag=digests.upload_etag(infos),
        attributes=upload.attributes,
        checksum=_checksum(upload, infos, completion.checksum),
        parts=infos,
        upload_id=upload_id,
        content=Content(segments=tuple(segment for part in chosen for segment in part.content.segments)),
    )
    version = add(transaction, bucket, key, draft, completion.conditions, now)
    for part in stored.keys() - {info.number for info in infos}:
        transaction.release(stored[part].content)
    transaction.execute("DELETE FROM parts WHERE upload = ?", (row,))
    transaction.execute("DELETE FROM uploads WHERE id = ?", (row,))
    return version


def abort_upload(transaction: Transaction, bucket: str, key: str, upload_id: str, initiated: datetime | None) -> None:
    """Raises NoSuchUpload, PreconditionFailed."""
    row, upload = find_upload(transaction.connection, bucket, key, upload_id)
    if initiated is not None and upload.initiated.replace(microsecond=0) != initiated.replace(microsecond=0):
        raise PreconditionFailed("x-amz-if-match-initiated-time")
    _drop(transaction, row)


def drop_uploads(transaction: Transaction, bucket: int) -> None:
    """All of a bucket."""
    for (row,) in transaction.execute("SELECT id FROM uploads WHERE bucket = ?", (bucket,)).fetchall():
        _drop(transaction, row)


def _drop(transaction: Transaction, row: int) -> None:
    for (body,) in transaction.execute("SELECT body FROM parts WHERE upload = ?", (row,)).fetchall():
        transaction.release(_part.decode(body).content)
    transaction.execute("DELETE FROM parts WHERE upload = ?", (row,))
    transaction.execute("DELETE FROM uploads WHERE id = ?", (row,))


def _choose(upload: Upload, stored: dict[int, StoredPart], named: Sequence[CompletedPart]) -> list[StoredPart]:
    """The parts that the completion names. Raises InvalidPartOrder, InvalidPart, PartTooSmall, ChecksumRequired."""
    if any(later.number <= earlier.number for earlier, later in pairwise(named)):
        raise InvalidPartOrder(upload.upload_id)
    if not named:
        raise InvalidPart(upload.upload_id, 1, "")
    chosen: list[StoredPart] = []
    for index, part in enumerate(named):
        found = stored.get(part.number)
        if found is None or found.info.etag != part.etag:
            raise InvalidPart(upload.upload_id, part.number, part.etag)
        _check_part(upload, index, part, found.info)
        if part is not named[-1] and found.info.size < MIN_PART:
            raise PartTooSmall(part.number, found.info.size, MIN_PART)
        chosen.append(found)
    return chosen


def _check_part(upload: Upload, index: int, named: CompletedPart, info: PartInfo) -> None:
    if upload.algorithm is not None and upload.checksum_type == "COMPOSITE":
        if named.number != index + 1:
            raise ChecksumRequired(upload.algorithm, 0)
        if named.checksum is None:
            raise ChecksumRequired(upload.algorithm, named.number)
    if named.checksum is not None and info.checksum is not None and named.checksum != info.checksum.value:
        raise InvalidPart(upload.upload_id, named.number, named.etag)


def _checksum(upload: Upload, infos: Sequence[PartInfo], expected: Checksum | None) -> Checksum | None:
    if upload.algorithm is None:
        return None
    if expected is not None and expected.algorithm != upload.algorithm:
        raise DigestMismatch(expected.algorithm, expected.value, "")
    checksum = digests.upload_checksum(upload.algorithm, upload.checksum_type or "COMPOSITE", infos)
    digests.verify_upload(checksum, expected)
    return checksum


def _completed_before(
    transaction: Transaction, bucket: str, key: str, upload_id: str, completion: Completion
) -> ObjectVersion:
    """The answer to a client that asks again because it never got the first one. Raises NoSuchUpload."""
    try:
        version = find(transaction.connection, bucket, key, None).version
    except NoSuchKey:
        raise NoSuchUpload(bucket, key, upload_id) from None
    same = [(part.number, part.etag) for part in completion.parts] == [(p.number, p.etag) for p in version.parts]
    if version.upload_id != upload_id or not same:
        raise NoSuchUpload(bucket, key, upload_id)
    return version
