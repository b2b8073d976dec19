"""The index's connections: many readers, and one writer thread that commits what waits in one transaction.

Called by the store. A change is a function of a ``Transaction``; those that arrive while a commit is on its way to the disk
share the next one, each behind a savepoint of its own. Other processes may have the database open too.
"""

import asyncio
import errno
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pileus.engines.objects.blobs import sync
from pileus.engines.objects.errors import BlobsUnavailable, StorageFull
from pileus.engines.objects.schema import Content, Segment, migrate

T = TypeVar("T")

_BATCH = 256
"""Changes in one transaction at most."""


class Transaction:
    """A write transaction as its functions see it: the connection, and the counting of who names which blob."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.execute = connection.execute
        self.garbage = False
        """Whether some blob was named for the last time."""

    def retain(self, segments: Iterable[Segment]) -> None:
        """Names blobs, new ones or such as are named already."""
        self.connection.executemany(
            "INSERT INTO blobs (name, uses) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET uses = uses + 1",
            [(segment.blob,) for segment in segments],
        )

    def holds(self, segments: Iterable[Segment]) -> bool:
        """Whether all these blobs are still named by something."""
        return all(
            self.execute("SELECT 1 FROM blobs WHERE name = ?", (segment.blob,)).fetchone() for segment in segments
        )

    def release(self, content: Content) -> None:
        """Takes names back; the last one makes a blob garbage."""
        for segment in content.segments:
            uses = self.execute(
                "UPDATE blobs SET uses = uses - 1 WHERE name = ? RETURNING uses", (segment.blob,)
            ).fetchone()
            if uses == (0,):
                self.execute("DELETE FROM blobs WHERE name = ?", (segment.blob,))
                self.execute("INSERT INTO garbage (name) VALUES (?)", (segment.blob,))
                self.garbage = True


class _Change:
    def __init__(self, function: Callable[[Transaction], Any]) -> None:
        self.function = function
        self.future: Future[Any] = Future()
        self.result: Any = None
        self.error: Exception | None = None


class Index:
    """The database. ``garbage`` is called on the writer thread after a commit that made some."""

    def __init__(self, path: Path, *, garbage: Callable[[], None], readers: int = 4, patience: float = 20.0) -> None:
        """``patience`` in seconds is how long to wait for other processes."""
        self._path = path
        self._patience = patience
        self._garbage = garbage
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        self._writer = self._connect()
        self._writer.execute("BEGIN IMMEDIATE")
        migrate(self._writer)
        self._writer.execute("COMMIT")
        sync(path.parent)
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._readers = ThreadPoolExecutor(readers, "objects-index-read")
        self._queue: queue.SimpleQueue[_Change | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="objects-index-write", daemon=True)
        self._thread.start()

    async def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Runs ``function`` on a reader thread; all that it reads is of one moment. Raises BlobsUnavailable."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, function)

    def submit(self, function: Callable[[Transaction], T]) -> Future[T]:
        """Runs ``function`` in a transaction. The future is done when the commit is durable, or has failed.

        An exception of the function takes back what it did, and nothing else. The future raises it, or StorageFull,
        BlobsUnavailable.
        """
        change = _Change(function)
        change.future.set_running_or_notify_cancel()  # so that nobody can cancel it
        self._queue.put(change)
        return change.future

    def close(self) -> None:
        """Commits what waits, and closes."""
        self._queue.put(None)
        self._thread.join()
        self._readers.shutdown()
        for connection in self._opened:
            connection.close()
        self._writer.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=self._patience, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 4000", "cache_size = -16384"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        try:
            connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = self._connect()
                self._opened.append(connection)
            connection.execute("BEGIN")
            try:
                return function(connection)
            finally:
                connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise _named(error) from error

    def _write(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            with suppress(queue.Empty):
                while len(batch) < _BATCH:
                    change = self._queue.get_nowait()
                    if change is None:
                        self._queue.put(None)
                        break
                    batch.append(change)
            self._commit(batch)

    def _commit(self, batch: list[_Change]) -> None:
        transaction = Transaction(self._writer)
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            for change in batch:
                self._apply(transaction, change)
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            for change in batch:
                change.future.set_exception(_named(error))
            return
        if transaction.garbage:
            self._garbage()
        for change in batch:
            if change.error is None:
                change.future.set_result(change.result)
            else:
                change.future.set_exception(change.error)

    def _apply(self, transaction: Transaction, change: _Change) -> None:
        transaction.execute("SAVEPOINT change")
        try:
            change.result = change.function(transaction)
        except sqlite3.OperationalError:
            raise  # the database's own trouble: the whole batch fails
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            change.error = error
            transaction.execute("ROLLBACK TO change")
        transaction.execute("RELEASE change")


def _named(error: sqlite3.Error) -> Exception:
    if (
        getattr(error, "sqlite_errorname", "").startswith("SQLITE_FULL")
        or getattr(error, "errno", None) == errno.ENOSPC
    ):
        return StorageFull(str(error))
    return BlobsUnavailable(str(error))
