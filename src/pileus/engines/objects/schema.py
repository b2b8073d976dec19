"""The index: tables of the SQLite database, and the structs that are kept in their bodies. Used by the transactions."""

import sqlite3

import msgspec

from pileus.engines.objects.model import Attributes, Checksum, PartInfo

VERSION = 1

# ``live`` is 1 in the row of a key's newest version if that is an object: what a listing shows. ``ordinal`` (see ``keys``)
# descends in the index: a key's newest version comes first. ``blobs`` counts the segments that name a blob; ``garbage`` has
# those that none does any more, until the last reader has gone and the bytes are removed.
_TABLES = """
CREATE TABLE buckets (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, account TEXT NOT NULL, region TEXT NOT NULL,
    created INTEGER NOT NULL, versioning TEXT NOT NULL, object_lock INTEGER NOT NULL
);
CREATE INDEX buckets_of_account ON buckets (account, name);
CREATE TABLE configs (
    bucket INTEGER NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (bucket, name)
) WITHOUT ROWID;
CREATE TABLE versions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, bucket INTEGER NOT NULL, key BLOB NOT NULL, ordinal INTEGER NOT NULL,
    version TEXT NOT NULL, live INTEGER NOT NULL, marker INTEGER NOT NULL, modified INTEGER NOT NULL,
    size INTEGER NOT NULL, etag TEXT NOT NULL, storage_class TEXT NOT NULL, owner TEXT NOT NULL,
    algorithm TEXT, checksum_type TEXT, body BLOB NOT NULL
);
CREATE UNIQUE INDEX versions_by_key ON versions (bucket, key, ordinal DESC);
CREATE UNIQUE INDEX versions_live ON versions (bucket, key) WHERE live = 1;
CREATE TABLE inlines (version INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE uploads (
    id INTEGER PRIMARY KEY AUTOINCREMENT, bucket INTEGER NOT NULL, key BLOB NOT NULL, ordinal INTEGER NOT NULL,
    upload TEXT NOT NULL UNIQUE, initiated INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE UNIQUE INDEX uploads_by_key ON uploads (bucket, key, ordinal);
CREATE TABLE parts (
    upload INTEGER NOT NULL, number INTEGER NOT NULL, size INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (upload, number)
) WITHOUT ROWID;
CREATE TABLE blobs (name TEXT PRIMARY KEY, uses INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE garbage (name TEXT PRIMARY KEY) WITHOUT ROWID;
"""


class Segment(msgspec.Struct, frozen=True, array_like=True):
    """Bytes of an object or part: ``length`` bytes from ``offset`` of what blob ``blob`` holds, which are ``total``.

    ``salt`` and ``check`` are those of its frames.
    """

    blob: str
    offset: int
    length: int
    total: int
    salt: bytes = b""
    check: bytes = b""


class Content(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where an object's or a part's bytes are: in segments, or inline in a row of their own (``salt``, ``check``)."""

    segments: tuple[Segment, ...] = ()
    inline: bool = False
    salt: bytes = b""
    check: bytes = b""


class Stored(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Body of a version."""

    attributes: Attributes = Attributes()
    checksum: Checksum | None = None
    parts: tuple[PartInfo, ...] = ()
    upload_id: str = ""
    content: Content = Content()


class StoredPart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Body of a part."""

    info: PartInfo
    content: Content


def migrate(connection: sqlite3.Connection) -> None:
    """Makes the tables in a new database, within the caller's transaction. Raises RuntimeError at one from the future."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise RuntimeError(f"the object index is of version {version}, newer than {VERSION}: update pileus")
    if version == 0:
        for statement in _TABLES.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
