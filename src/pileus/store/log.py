"""The change log and the documents in SQL: how a mirror is filled and kept up to date, and how a commit is written."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from pileus.store.backend import Backend
from pileus.store.errors import LogTrimmed
from pileus.store.interface import Change
from pileus.store.mirror import Mirror, Written
from pileus.store.schema import changes, documents
from pileus.store.transaction import Writes

_TRIM_EVERY = 1_000
_PAGE = 1_000

_head = sa.select(sa.func.max(changes.c.seq))
_all = sa.select(documents.c.kind, documents.c.id, documents.c.body, documents.c.born).order_by(documents.c.born)
_since = (
    sa.select(changes.c.seq, changes.c.kind, changes.c.id, changes.c.deleted)
    .where(changes.c.seq > sa.bindparam("since"))
    .order_by(changes.c.seq)
)
_here = sa.and_(documents.c.kind == changes.c.kind, documents.c.id == changes.c.id)
# Subqueries, not a join: a planner without statistics would read the whole table for the few rows that changed.
_news = _since.add_columns(
    sa.select(documents.c.body).where(_here).scalar_subquery().label("body"),
    sa.select(documents.c.born).where(_here).scalar_subquery().label("born"),
)
_page = _since.limit(_PAGE)
_delete = sa.delete(documents).where(
    documents.c.kind == sa.bindparam("old_kind"), documents.c.id == sa.bindparam("old_id")
)
_log = sa.insert(changes)
_trim = sa.delete(changes).where(changes.c.seq <= sa.bindparam("last"))


def fill(backend: Backend, mirror: Mirror) -> None:
    """Loads everything into a fresh mirror."""
    with backend.read() as connection:
        mirror.revision = connection.execute(_head).scalar_one() or 0
        for kind, record_id, body, born in connection.execute(_all):
            mirror.load(kind, record_id, body, born)


def news(backend: Backend, mirror: Mirror) -> Sequence[Written]:
    """What was committed after the mirror's revision.

    Raises:
        LogTrimmed: the log begins later than that, or (after a restore from a backup) ends before it.
    """
    since = mirror.revision
    with backend.read() as connection:
        rows = connection.execute(_news, {"since": since}).all()
    if not rows or rows[0].seq != since + 1:
        raise LogTrimmed(since)
    # The body is that of now: several changes of one record all bring the state that they lead to, decoded once.
    bodies = {(row.kind, row.id): row.body for row in rows}
    records = {key: mirror.decode(key[0], body) for key, body in bodies.items()}
    return [
        Written(Change(seq, kind, record_id, deleted), records[kind, record_id], born or 0)
        for seq, kind, record_id, deleted, _, born in rows
    ]


def changes_since(backend: Backend, since: int) -> Sequence[Change]:
    """The next changes after ``since``, oldest first, at most a page of them. Raises LogTrimmed."""
    with backend.read() as connection:
        head = connection.execute(_head).scalar_one() or 0
        rows = connection.execute(_page, {"since": since}).all()
    if since > head or (rows and rows[0].seq != since + 1):
        raise LogTrimmed(since)
    return [Change(*row) for row in rows]


def write(
    backend: Backend, connection: sa.Connection, writes: Writes, *, head: int, now: datetime, keep: int
) -> Sequence[Written]:
    """Writes the documents and their log entries, which follow ``head``; of the log, ``keep`` entries stay."""
    written: list[Written] = []
    put: list[Mapping[str, object]] = []
    gone: list[Mapping[str, object]] = []
    entries: list[Mapping[str, object]] = []
    at = now.isoformat()
    for seq, ((kind, record_id), write) in enumerate(writes.items(), head + 1):
        record = write.record
        if write.fresh:
            write.born = seq
        written.append(Written(Change(seq, kind, record_id, record is None), record, write.born))
        entry = {"seq": seq, "kind": kind, "id": record_id, "version": write.version, "deleted": record is None}
        entries.append({**entry, "at": at})
        if record is None:
            gone.append({"old_kind": kind, "old_id": record_id})
            continue
        row = {"kind": kind, "id": record_id, "account": record.account, "region": record.region}
        put.append({**row, "version": write.version, "born": write.born, "body": write.body})
    if gone:
        connection.execute(_delete, gone)
    if put:
        connection.execute(backend.upsert, put)
    connection.execute(_log, entries)
    last = head + len(entries)
    if head // _TRIM_EVERY != last // _TRIM_EVERY:
        connection.execute(_trim, {"last": last - keep})
    return written
