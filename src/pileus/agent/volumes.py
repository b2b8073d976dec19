"""Keeps the volumes of this host as its spec says. One loop per volume."""

import asyncio
from collections.abc import Callable, Iterable

from pileus.agent.loop import Loop, Signal
from pileus.agent.reports import Board
from pileus.base.clock import Clock
from pileus.drivers.errors import PermanentError, RetryableError
from pileus.drivers.volume.interface import Volumes
from pileus.hostapi.observation import VolumeObservation
from pileus.hostapi.spec import VolumeSpec


class VolumeKeeper:
    """All volumes of the host. ``in_use`` says whether a running guest has the volume: then it is not removed."""

    def __init__(self, volumes: Volumes, in_use: Callable[[str], bool], board: Board, clock: Clock) -> None:
        self._volumes = volumes
        self._in_use = in_use
        self._board = board
        self._clock = clock
        self._specs: dict[str, VolumeSpec] = {}
        self._loops: dict[str, Loop] = {}
        self._made: dict[str, VolumeSpec] = {}
        self._failed: dict[str, str] = {}
        self._settled = Signal()

    def accept(self, specs: Iterable[VolumeSpec]) -> None:
        """Takes a new spec. A volume that it no longer lists stays on the host."""
        wanted = {spec.volume_id: spec for spec in specs}
        for volume_id in self._specs.keys() - wanted.keys():
            self._made.pop(volume_id, None)
        changed = [spec for spec in wanted.values() if self._specs.get(spec.volume_id) != spec]
        self._specs = wanted
        for spec in changed:
            self._failed.pop(spec.volume_id, None)
            self.wake(spec.volume_id)
        self._settled.fire()

    def wake(self, volume_id: str) -> None:
        """Looks at a volume again: its spec, or the guest that uses it, changed."""
        if loop := self._loops.get(volume_id):
            loop.wake()
        elif volume_id in self._specs:
            self._loops[volume_id] = Loop(f"volume {volume_id}", lambda: self._pass(volume_id), self._clock)

    async def ready(self, volume_id: str) -> None:
        """Waits until the volume is as its spec says.

        Raises:
            PermanentError: it never will be. RetryableError: the spec doesn't list it.
        """
        while True:
            spec = self._specs.get(volume_id)
            if spec is None or spec.state != "present":
                raise RetryableError(f"volume {volume_id} is not in the host's spec")
            if self._made.get(volume_id) == spec:
                return
            if detail := self._failed.get(volume_id):
                raise PermanentError(f"volume {volume_id}: {detail}")
            await self._settled.wait()

    async def survey(self) -> None:
        """Looks which volumes exist, so that those which nobody lists are reported too, and lets go of idle loops."""
        present = set(await self._volumes.observe())
        for volume_id in self._board.volume_ids():
            if volume_id not in present and volume_id not in self._specs:
                self._board.drop(volume_id)
        for volume_id in present - self._specs.keys():
            self._board.put_volume(VolumeObservation(volume_id=volume_id, phase="present"))
        for volume_id in self._loops.keys() - self._specs.keys():
            await self._loops.pop(volume_id).stop()

    async def close(self) -> None:
        """Stops all loops; the volumes stay as they are."""
        await asyncio.gather(*(loop.stop() for loop in self._loops.values()))

    async def _pass(self, volume_id: str) -> None:
        spec = self._specs.get(volume_id)
        if spec is None or self._made.get(volume_id) == spec or volume_id in self._failed:
            return
        try:
            if spec.state == "present":
                await self._volumes.ensure(spec)
                self._made[volume_id] = spec
                self._board.put_volume(VolumeObservation(volume_id=volume_id, phase="present"))
            elif not self._in_use(volume_id):  # else the guest's keeper wakes this loop once the guest is off
                self._made.pop(volume_id, None)
                await self._volumes.remove(volume_id)
                self._board.put_volume(VolumeObservation(volume_id=volume_id, phase="gone"))
        except PermanentError as error:
            if self._specs.get(volume_id) == spec:
                self._failed[volume_id] = str(error)
            self._board.put_volume(VolumeObservation(volume_id=volume_id, phase="failed", detail=str(error)))
        self._settled.fire()
