"""SQLite, the embedded database: one file in WAL mode, shared by the processes of one machine."""

import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import OperationalError

from pileus.store.backend import commit
from pileus.store.errors import StoreBusy, StoreUnavailable
from pileus.store.schema import documents, migrate
from pileus.store.wake import Bell

_insert = sqlite.insert(documents)


class SqliteBackend:
    """See ``Backend``. ``patience`` is in seconds; without ``durable`` a power failure may lose the last commits."""

    upsert: sa.Insert = _insert.on_conflict_do_update(
        index_elements=["kind", "id"],
        set_={name: _insert.excluded[name] for name in ("account", "region", "version", "born", "body")},
    )

    def __init__(self, path: Path, *, durable: bool, patience: float) -> None:
        self._engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(path)),
            connect_args={"timeout": patience, "check_same_thread": False, "isolation_level": None},
        )
        synchronous = "FULL" if durable else "OFF"

        @event.listens_for(self._engine, "connect")
        def configure(connection: sqlite3.Connection, _: Any) -> None:  # pyright: ignore[reportUnusedFunction] - by decorator
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {synchronous}")

        @event.listens_for(self._engine, "begin")
        def begin(connection: sa.Connection) -> None:  # pyright: ignore[reportUnusedFunction] - by decorator
            # Python's driver would begin by itself, late and without IMMEDIATE; isolation_level None stops it.
            connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

        with self.write() as connection:
            migrate(connection)
        self._bell = Bell(path.parent / "watch")
        if durable:
            _sync_directory(path.parent)
        # The one query of each view goes to the driver itself: a third of the time that SQLAlchemy would take.
        self._reader = self._engine.raw_connection()
        self._head = cast("sqlite3.Connection", self._reader.driver_connection)

    @contextmanager
    def read(self) -> Generator[sa.Connection]:
        with _named_errors(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Generator[sa.Connection]:
        with (
            _named_errors(),
            self._engine.connect().execution_options(begin="BEGIN IMMEDIATE") as connection,
            connection.begin() as transaction,
        ):
            yield connection
            commit(connection, transaction)

    def head(self) -> int:
        try:
            return self._head.execute("SELECT max(seq) FROM changes").fetchone()[0] or 0
        except sqlite3.OperationalError as error:
            raise StoreUnavailable(str(error)) from error

    def ring(self, connection: sa.Connection | None) -> None:
        if connection is None:
            self._bell.ring()

    def wait(self, timeout: float) -> bool:
        return self._bell.wait(timeout)

    def interrupt(self) -> None:
        self._bell.interrupt()

    def close(self) -> None:
        self._reader.close()
        self._engine.dispose()
        self._bell.close()


@contextmanager
def _named_errors() -> Generator[None]:
    try:
        yield
    except OperationalError as error:
        if getattr(error.orig, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
            raise StoreBusy(str(error.orig)) from error
        raise StoreUnavailable(str(error.orig)) from error


def _sync_directory(path: Path) -> None:
    """Makes the existence of a new database file durable, which SQLite leaves to its caller."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
