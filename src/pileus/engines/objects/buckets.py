"""Buckets in the index. Called by the store, on the index's threads."""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pileus.engines.objects.errors import (
    BucketExists,
    BucketNotEmpty,
    NoSuchBucket,
    VersioningRefused,
)
from pileus.engines.objects.index import Transaction
from pileus.engines.objects.keys import microseconds, moment
from pileus.engines.objects.model import Bucket, Versioning
from pileus.engines.objects.uploads import drop_uploads
from pileus.engines.objects.versions import bucket_row

_COLUMNS = "id, name, account, region, created, versioning, object_lock"


def read_bucket(connection: sqlite3.Connection, name: str) -> Bucket:
    """Raises NoSuchBucket."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM buckets WHERE name = ?", (name,)).fetchone()  # noqa: S608
    if row is None:
        raise NoSuchBucket(name)
    return _bucket(connection, row)


def list_buckets(
    connection: sqlite3.Connection, account: str | None, prefix: str, after: str, limit: int, region: str | None
) -> Sequence[Bucket]:
    """By name, greater than ``after``."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM buckets WHERE name > :after AND substr(name, 1, length(:prefix)) = :prefix"  # noqa: S608
        " AND (:account IS NULL OR account = :account) AND (:region IS NULL OR region = :region)"
        " ORDER BY name LIMIT :limit",
        {"after": after, "prefix": prefix, "account": account, "region": region, "limit": limit},
    ).fetchall()
    return [_bucket(connection, row) for row in rows]


def create_bucket(
    transaction: Transaction,
    name: str,
    account: str,
    region: str,
    object_lock: bool,
    configs: Mapping[str, bytes],
    now: datetime,
) -> Bucket:
    """Raises BucketExists."""
    taken = transaction.execute("SELECT account, region FROM buckets WHERE name = ?", (name,)).fetchone()
    if taken is not None:
        raise BucketExists(name, *taken)
    transaction.execute(
        "INSERT INTO buckets (name, account, region, created, versioning, object_lock) VALUES (?, ?, ?, ?, ?, ?)",
        (name, account, region, microseconds(now), "Enabled" if object_lock else "", object_lock),
    )
    return set_configs(transaction, name, configs)


def delete_bucket(transaction: Transaction, name: str) -> None:
    """Raises NoSuchBucket, BucketNotEmpty."""
    bucket = bucket_row(transaction.connection, name)[0]
    if transaction.execute("SELECT 1 FROM versions WHERE bucket = ? LIMIT 1", (bucket,)).fetchone():
        raise BucketNotEmpty(name)
    drop_uploads(transaction, bucket)
    transaction.execute("DELETE FROM configs WHERE bucket = ?", (bucket,))
    transaction.execute("DELETE FROM buckets WHERE id = ?", (bucket,))


def set_configs(transaction: Transaction, name: str, configs: Mapping[str, bytes | None]) -> Bucket:
    """Replaces or (None) removes documents."""
    bucket = bucket_row(transaction.connection, name)[0]
    for document, value in configs.items():
        if value is None:
            transaction.execute("DELETE FROM configs WHERE bucket = ? AND name = ?", (bucket, document))
        else:
            transaction.execute(
                "INSERT INTO configs (bucket, name, value) VALUES (?, ?, ?)"
                " ON CONFLICT (bucket, name) DO UPDATE SET value = excluded.value",
                (bucket, document, value),
            )
    return read_bucket(transaction.connection, name)


def set_versioning(transaction: Transaction, name: str, status: Versioning) -> Bucket:
    """Raises VersioningRefused."""
    bucket = read_bucket(transaction.connection, name)
    if (bucket.object_lock and status != "Enabled") or not status:
        raise VersioningRefused(name)
    transaction.execute("UPDATE buckets SET versioning = ? WHERE name = ?", (status, name))
    return read_bucket(transaction.connection, name)


def enable_object_lock(transaction: Transaction, name: str) -> Bucket:
    """Raises VersioningRefused."""
    if read_bucket(transaction.connection, name).versioning != "Enabled":
        raise VersioningRefused(name)
    transaction.execute("UPDATE buckets SET object_lock = 1 WHERE name = ?", (name,))
    return read_bucket(transaction.connection, name)


def _bucket(connection: sqlite3.Connection, row: tuple[Any, ...]) -> Bucket:
    number, name, account, region, created, versioning, object_lock = row
    configs = connection.execute("SELECT name, value FROM configs WHERE bucket = ?", (number,)).fetchall()
    return Bucket(
        name=name,
        account=account,
        region=region,
        created=moment(created),
        versioning=versioning,
        object_lock=bool(object_lock),
        configs=dict(configs),
    )
