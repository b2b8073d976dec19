"""Keeps apart what would meet in one volume's chain of layers: starting, plugging, freezing, merging.

Used by the launcher, by the disks of running guests and by snapshots. Merging, which takes long and can be repeated, gives
way to everything else.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary


class Chains:
    """One lock for each volume."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._merges: dict[str, asyncio.Task[None]] = {}

    @asynccontextmanager
    async def hold(self, volume_ids: Iterable[str]) -> AsyncGenerator[None]:
        """Nobody else changes these volumes' chains, or opens them, meanwhile. A merge that runs is broken off."""
        async with AsyncExitStack() as held:
            for volume_id in sorted(set(volume_ids)):
                if merge := self._merges.get(volume_id):
                    merge.cancel()
                await held.enter_async_context(self._lock(volume_id))
            yield

    async def merge(self, volume_id: str, work: Callable[[], Coroutine[None, None, None]]) -> bool:
        """Runs a merge. Returns whether it came to its end; not so when someone else needed the chain."""
        async with self._lock(volume_id):
            task = self._merges[volume_id] = asyncio.create_task(work())
            try:
                await asyncio.wait({task})
                if task.cancelled():
                    return False
                task.result()
                return True
            finally:
                del self._merges[volume_id]
                if not task.done():
                    task.cancel()
                    await asyncio.wait({task})

    def _lock(self, volume_id: str) -> asyncio.Lock:
        """Lives as long as someone holds it or waits for it."""
        lock = self._locks.get(volume_id)
        if lock is None:
            lock = self._locks[volume_id] = asyncio.Lock()
        return lock
