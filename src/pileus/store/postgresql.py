"""PostgreSQL, for control planes of several machines. Version 12 or later."""

import contextlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import OperationalError

from pileus.store.backend import commit
from pileus.store.errors import StoreBusy, StoreUnavailable
from pileus.store.schema import documents, migrate

_WRITER = 7_020_735_100
"""The advisory lock of the one transaction that writes."""

_CHANNEL = "pileus_store"
_CONNECT: dict[str, Any] = {"connect_timeout": 5, "application_name": "pileus"}
_IDLE = 30
"""Seconds after which the server ends a transaction whose process has stopped, so that others can write."""

_insert = postgresql.insert(documents)
_lock = sa.select(sa.func.pg_advisory_xact_lock(_WRITER))
_notify = sa.text(f"NOTIFY {_CHANNEL}")


class PostgresqlBackend:
    """See ``Backend``. ``patience`` is in seconds; without ``durable`` a power failure may lose the last commits."""

    upsert: sa.Insert = _insert.on_conflict_do_update(
        index_elements=["kind", "id"],
        set_={name: _insert.excluded[name] for name in ("account", "region", "version", "born", "body")},
    )

    def __init__(self, url: sa.URL, *, durable: bool, patience: float) -> None:
        # READ COMMITTED: the snapshot of a statement must be younger than the lock that an earlier one waited for.
        self._engine = sa.create_engine(
            url.set(drivername="postgresql+psycopg"),
            isolation_level="READ COMMITTED",
            pool_pre_ping=True,
            connect_args=_CONNECT,
        )
        limits = (
            f"SET lock_timeout = '{int(patience * 1000)}ms'; SET idle_in_transaction_session_timeout = '{_IDLE}s'; "
        )
        durability = (
            # Stronger settings of the operator (remote_apply) are kept.
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
            if durable
            else "SET synchronous_commit = off"
        )

        @event.listens_for(self._engine, "connect")
        def configure(connection: "psycopg.Connection[Any]", _: Any) -> None:  # pyright: ignore[reportUnusedFunction] - by decorator
            connection.execute((limits + durability).encode())
            connection.commit()

        self._reader: psycopg.Connection[Any] | None = None
        self._listener: psycopg.Connection[Any] | None = None
        with self.write() as connection:
            migrate(connection)

    @contextmanager
    def read(self) -> Generator[sa.Connection]:
        with _named_errors(), self._engine.connect() as connection:
            connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def write(self) -> Generator[sa.Connection]:
        with _named_errors(), self._engine.connect() as connection, connection.begin() as transaction:
            connection.execute(_lock)
            yield connection
            commit(connection, transaction)

    def head(self) -> int:
        try:
            return self._ask_head()
        except psycopg.OperationalError:
            self._reader = None  # the server was restarted, perhaps: once more, with a new connection
        try:
            return self._ask_head()
        except psycopg.OperationalError as error:
            self._reader = None
            raise StoreUnavailable(str(error)) from error

    def ring(self, connection: sa.Connection | None) -> None:
        if connection is not None:
            connection.execute(_notify)

    def wait(self, timeout: float) -> bool:
        try:
            if self._listener is None:
                self._listener = self._connect()
                self._listener.execute(f"LISTEN {_CHANNEL}")
                return True
            return any(True for _ in self._listener.notifies(timeout=timeout, stop_after=1))
        except psycopg.OperationalError as error:
            self._listener = None
            raise StoreUnavailable(str(error)) from error

    def interrupt(self) -> None:
        # Without a server there is nothing to interrupt: wait has failed, or ends with its timeout.
        with contextlib.suppress(OperationalError), self._engine.begin() as connection:
            connection.execute(_notify)

    def close(self) -> None:
        for connection in (self._reader, self._listener):
            if connection is not None:
                connection.close()
        self._engine.dispose()

    def _ask_head(self) -> int:
        if self._reader is None:
            self._reader = self._connect()
        row = self._reader.execute("SELECT max(seq) FROM changes").fetchone()
        assert row is not None
        return row[0] or 0

    def _connect(self) -> "psycopg.Connection[Any]":
        """A connection of its own that never has a transaction open."""
        arguments, options = self._engine.dialect.create_connect_args(self._engine.url)
        return psycopg.connect(*arguments, autocommit=True, **{**_CONNECT, **options})


@contextmanager
def _named_errors() -> Generator[None]:
    try:
        yield
    except OperationalError as error:
        if isinstance(error.orig, psycopg.errors.LockNotAvailable):
            raise StoreBusy(str(error.orig)) from error
        raise StoreUnavailable(str(error.orig)) from error
