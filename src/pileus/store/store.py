"""The store: typed documents in a database that several processes share, read from memory. Opened by ``pileus.cmd``."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from pileus.base.clock import Clock
from pileus.base.record import Record
from pileus.store import leases, log
from pileus.store.backend import Backend
from pileus.store.errors import LogTrimmed, StoreClosed
from pileus.store.interface import Change, Lease, View
from pileus.store.internal import INTERNAL_KINDS
from pileus.store.mirror import Mirror, Written
from pileus.store.sqlite import SqliteBackend
from pileus.store.watch import Hub
from pileus.store.writer import Work, Writer

T = TypeVar("T")


class Store:
    """One process's access to the database. All methods may be called from any thread."""

    def __init__(self, backend: Backend, kinds: Iterable[type[Record]], clock: Clock, keep: int) -> None:
        self._backend = backend
        self._clock = clock
        self._kinds = tuple(kinds)
        self._closed = False
        self._catching_up = threading.Lock()
        self._mirror = self._load()
        self._hub = Hub(backend, self._refresh)
        self._writer = Writer(backend, clock, self._refresh, self._committed, keep)

    def view(self) -> View:
        """The state after every commit that was acknowledged before this call, by any process."""
        return self._refresh().snapshot()

    def transact(self, work: Work[T]) -> T:
        """Runs ``work`` in a transaction and returns its result when that is durable. Blocks: not for event loops.

        ``work`` runs in the writer's thread, should be short and, but for its transaction, without effects: it runs
        again when the database had to be reconnected. What it raises is raised here, and it has written nothing then.

        Raises:
            StoreBusy: other processes held the right to write for too long; nothing was written.
            StoreUnavailable: the database can't be reached or written; nothing was written.
            OutcomeUnknown: the database went away while it committed.
        """
        return self._writer.start(work).result()

    async def submit(self, work: Work[T]) -> T:
        """``transact`` for event loops. When cancelled, the transaction may happen or not."""
        return await asyncio.wrap_future(self._writer.start(work))

    def watch(self, since: int | None = None) -> AsyncIterator[Sequence[Change]]:
        """All changes after ``since`` (default: this call), in order, in batches that are never empty.

        Once a change has been seen here, ``view`` shows it or something later. The iteration ends when the store closes.

        Raises:
            LogTrimmed: (from the iteration) the log does not reach back to ``since``: start over from a view.
        """
        return self._watch(self._refresh().revision if since is None else since)

    def changes_since(self, revision: int) -> tuple[Sequence[Change], View]:
        """The changes after ``revision``, oldest first, and the view that they lead to.

        Raises:
            LogTrimmed: memory does not reach back that far: start over from a view.
        """
        view = self.view()
        changes = self._mirror.changes_since(revision)
        if changes is None:
            raise LogTrimmed(revision)
        return [one for one in changes if one.seq <= view.revision and one.kind not in INTERNAL_KINDS], view

    def lease(self, name: str, holder: str, ttl: float) -> Lease | None:
        """Takes a lease for ``ttl`` seconds; None while another holder has it. Blocks as ``transact`` does."""
        now = self._clock.now()
        return self.transact(lambda tx: leases.acquire(tx, name, holder, leases.expiry(now, ttl), now))

    def renew(self, lease: Lease, ttl: float) -> Lease:
        """Extends a lease to ``ttl`` seconds from now; its token stays. Raises LeaseLost."""
        expires = leases.expiry(self._clock.now(), ttl)
        return self.transact(lambda tx: leases.renew(tx, lease, expires))

    def release(self, lease: Lease) -> None:
        """Gives a lease back; does nothing when it has been lost."""
        self.transact(lambda tx: leases.release(tx, lease))

    def close(self) -> None:
        """Finishes the queued transactions, ends the watches and closes the database."""
        self._writer.close()
        self._hub.close()
        with self._catching_up:
            if not self._closed:
                self._closed = True
                self._backend.close()

    def _load(self) -> Mirror:
        mirror = Mirror(self._kinds)
        log.fill(self._backend, mirror)
        return mirror

    def _refresh(self) -> Mirror:
        """Brings the mirror to the head of the change log."""
        with self._catching_up:
            if self._closed:
                raise StoreClosed("the store is closed")
            if self._backend.head() != self._mirror.revision:
                try:
                    self._mirror.apply(log.news(self._backend, self._mirror))
                except LogTrimmed:
                    self._mirror = self._load()
            return self._mirror

    def _committed(self, written: Sequence[Written]) -> None:
        """Takes over what this process has committed, unless a view has already read it from the database."""
        with self._catching_up:
            if self._mirror.revision == written[0].change.seq - 1:
                self._mirror.apply(written)
        self._hub.wake()

    async def _watch(self, since: int) -> AsyncIterator[Sequence[Change]]:
        with self._hub.subscribe() as event:
            while not self._hub.closed:
                event.clear()
                batch = self._mirror.changes_since(since)
                if batch is None:
                    batch = await asyncio.to_thread(log.changes_since, self._backend, since)
                if not batch:
                    await event.wait()
                    continue
                since = batch[-1].seq
                visible = [change for change in batch if change.kind not in INTERNAL_KINDS]
                if visible:
                    yield visible


def open_store(
    url: str,
    kinds: Iterable[type[Record]],
    clock: Clock,
    *,
    durable: bool = True,
    patience: float = 10.0,
    keep: int = 100_000,
) -> Store:
    """Opens ``sqlite:///path`` or ``postgresql://…``, creating or migrating its tables.

    Args:
        kinds: the record types that this process reads and writes.
        durable: False leaves out fsync: for tests.
        patience: seconds to wait for the right to write, per attempt.
        keep: entries of the change log that are kept.

    Raises:
        SchemaTooNew: a newer version of Pileus has written the database.
    """
    parsed = sa.make_url(url)
    match parsed.get_backend_name():
        case "sqlite" if parsed.database:
            backend: Backend = SqliteBackend(Path(parsed.database), durable=durable, patience=patience)
        case "postgresql":
            # Here, because its driver takes a fifth of the time in which a process with SQLite starts.
            from pileus.store.postgresql import PostgresqlBackend  # noqa: PLC0415

            backend = PostgresqlBackend(parsed, durable=durable, patience=patience)
        case _:
            raise ValueError(f"not a database that the store supports: {parsed.render_as_string()}")
    return Store(backend, kinds, clock, keep)
