"""Removal of blobs that nothing names: garbage once its last reader has gone, and what killed processes left. Run by the store.

A blob can't come back: its name is never used again, and nothing that has left the table ``blobs`` gets in again. What a
process is writing is not in the index yet; whether it is still at it shows its presence: so a blob is an orphan if, in this
order, it was listed, its process was found dead (or it is ours and we are not writing it), and the index did not have it.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from pileus.engines.objects.blobs import Blobs, process_of
from pileus.engines.objects.errors import ObjectsError
from pileus.engines.objects.index import Index, Transaction
from pileus.engines.objects.presence import Presence, now

_log = logging.getLogger(__name__)

_BATCH = 1000
_REST = 0.05
"""Seconds in which garbage gathers before it is taken out."""
_RETRY = 2.0
"""Seconds until readers are looked at again."""


class Reaper:
    """Takes garbage out when told that there is some. ``writing`` tells what this process is writing."""

    def __init__(
        self, blobs: Blobs, presence: Presence, executor: Executor, writing: Callable[[], frozenset[str]]
    ) -> None:
        self._blobs = blobs
        self._presence = presence
        self._executor = executor
        self._writing = writing
        self._seen: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """There is garbage. From any thread."""
        self._loop.call_soon_threadsafe(self._wake.set)

    def start(self, index: Index) -> None:
        """Begins to wait for garbage."""
        self._task = asyncio.create_task(self._run(index))

    async def stop(self) -> None:
        """What is left is for the next one."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self, index: Index) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(_REST)
            self._wake.clear()
            try:
                _, left = await self.reap(index)
            except ObjectsError:
                _log.exception("garbage of the object store could not be removed")
                left = True
            if left:
                await asyncio.sleep(_RETRY)
                self._wake.set()

    async def reap(self, index: Index) -> tuple[int, bool]:
        """Removes garbage that no reader can want any more. (How many blobs, whether some was left.)"""
        async with self._lock:
            return await self._reap(index)

    async def _reap(self, index: Index) -> tuple[int, bool]:
        names = await index.read(_garbage)
        moment = now()  # whoever begins to read from here on does not see these
        self._seen = {name: self._seen.get(name, moment) for name in names}
        oldest = await self._loop.run_in_executor(self._executor, self._presence.oldest_reader)
        free = [name for name in names if oldest is None or self._seen[name] < oldest]
        if free:
            await self._blobs.delete(free)
            await asyncio.wrap_future(index.submit(lambda transaction: _forget(transaction, free)))
        return len(free), len(free) < len(names) or len(names) == _BATCH

    async def sweep(self, index: Index) -> int:
        """Removes orphans; their number."""
        while all(await self.reap(index)):
            pass
        removed = 0
        batch: list[str] = []
        async for name in self._blobs.names():
            batch.append(name)
            if len(batch) == _BATCH:
                removed += await self._sweep(index, batch)
                batch = []
        removed += await self._sweep(index, batch)
        await self._loop.run_in_executor(self._executor, self._presence.bury)
        return removed

    async def _sweep(self, index: Index, names: Sequence[str]) -> int:
        living = await self._loop.run_in_executor(self._executor, self._presence.living)
        writing = self._writing()
        suspects = [name for name in names if process_of(name) not in living and name not in writing]
        named = await index.read(lambda connection: _named(connection, suspects))
        orphans = [name for name in suspects if name not in named]
        await self._blobs.delete(orphans)
        return len(orphans)


def _garbage(connection: sqlite3.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM garbage LIMIT ?", (_BATCH,))]


def _named(connection: sqlite3.Connection, names: Sequence[str]) -> set[str]:
    """Those that are named, or garbage that is being taken care of."""
    found: set[str] = set()
    for name in names:
        row = connection.execute(
            "SELECT 1 FROM blobs WHERE name = :name UNION ALL SELECT 1 FROM garbage WHERE name = :name", {"name": name}
        ).fetchone()
        if row is not None:
            found.add(name)
    return found


def _forget(transaction: Transaction, names: Sequence[str]) -> None:
    transaction.connection.executemany("DELETE FROM garbage WHERE name = ?", [(name,) for name in names])
