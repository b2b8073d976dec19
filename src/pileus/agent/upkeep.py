"""Tidies up volumes: forgets snapshots that are on record, merges their layers away, swaps in bases that are complete.

Used by ``agent``. One loop for each volume that had something to tidy.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from pileus.agent.chains import Chains
from pileus.agent.loop import Loop
from pileus.agent.sharing import Holders
from pileus.agent.snapshots import SnapshotKeeper
from pileus.base.clock import Clock
from pileus.drivers.volume.interface import Volumes, VolumeState

_INTERRUPTED = 1.0


class Upkeep:
    """``in_use`` says whether a guest has a volume, or is to have it; ``changed`` is told whose state is another now."""

    def __init__(
        self,
        volumes: Volumes,
        holders: Holders,
        chains: Chains,
        snapshots: SnapshotKeeper,
        in_use: Callable[[str], bool],
        changed: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self._volumes = volumes
        self._holders = holders
        self._chains = chains
        self._snapshots = snapshots
        self._in_use = in_use
        self._changed = changed
        self._clock = clock
        self._loops: dict[str, Loop] = {}

    def wake(self, volume_id: str) -> None:
        """Looks whether there is something to tidy."""
        if loop := self._loops.get(volume_id):
            loop.wake()
        else:
            self._loops[volume_id] = Loop(f"upkeep {volume_id}", lambda: self._pass(volume_id), self._clock)

    async def survey(self, states: Mapping[str, VolumeState]) -> None:
        """Looks at all volumes, and lets go of those that are gone."""
        for volume_id in self._loops.keys() - states.keys():
            await self._loops.pop(volume_id).stop()
        for volume_id, state in states.items():
            due = (
                state.base_ready or state.snapshots or volume_id in self._loops or await self._holders.served(volume_id)
            )
            if due or await self._volumes.next_merge(volume_id, self._snapshots.parents(volume_id)) is not None:
                self.wake(volume_id)

    async def close(self) -> None:
        """Stops everything; it can be repeated."""
        await asyncio.gather(*(loop.stop() for loop in self._loops.values()))

    async def _pass(self, volume_id: str) -> float | None:
        if not self._snapshots.accepted:
            return None
        state = next((state for state in await self._volumes.observe() if state.volume_id == volume_id), None)
        if state is None:
            return None
        listed = self._snapshots.listed(volume_id)
        for snapshot_id in state.snapshots:
            if snapshot_id not in listed:
                await self._volumes.forget(volume_id, snapshot_id)
        if state.base_ready:
            await self._swap_base(volume_id)
        if await self._holders.served(volume_id) and not self._in_use(volume_id):
            await self._release(volume_id)
        return await self._merge_all(volume_id)

    async def _swap_base(self, volume_id: str) -> None:
        async with self._chains.hold([volume_id]):
            base = await self._volumes.base(volume_id)
            if base is None:
                return
            if (holder := await self._holders.holder(volume_id)) is not None:
                await self._holders.swap_base(holder, volume_id, base)
            await self._volumes.base_swapped(volume_id)
        self._changed(volume_id)

    async def _release(self, volume_id: str) -> None:
        """A guest that gets the volume holds its chain from before it is served until it has it."""
        async with self._chains.hold([volume_id]):
            if not self._in_use(volume_id):
                await self._holders.release(volume_id)
        self._changed(volume_id)

    async def _merge_all(self, volume_id: str) -> float | None:
        while not self._snapshots.reading(volume_id):  # else this is woken when the upload is over
            layer = await self._volumes.next_merge(volume_id, self._snapshots.parents(volume_id))
            if layer is None:
                return None
            if not await self._chains.merge(volume_id, partial(self._merge, volume_id, layer)):
                return _INTERRUPTED
        return None

    async def _merge(self, volume_id: str, layer: Path) -> None:
        if self._snapshots.reading(volume_id):
            return
        holder = await self._holders.holder(volume_id)
        if holder is None:
            await self._volumes.merge(volume_id, layer)
        else:
            await self._holders.merge(holder, volume_id, layer)
            await self._volumes.merged(volume_id, layer)
