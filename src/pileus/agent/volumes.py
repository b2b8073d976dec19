"""Keeps the volumes of this host as its spec says. One loop per volume."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping

from pileus.agent.loop import Loop, Signal
from pileus.agent.reports import Board
from pileus.base.clock import Clock
from pileus.drivers.errors import PermanentError, RetryableError
from pileus.drivers.volume.interface import Volumes, VolumeState
from pileus.hostapi.observation import VolumeObservation
from pileus.hostapi.spec import VolumeSpec


class VolumeKeeper:
    """All volumes of the host.

    ``in_use`` says whether a running guest has the volume: then it is not removed, and it grows in the guest. ``held``
    says whether a snapshot of it is still on its way: then it is not removed either.
    """

    def __init__(
        self,
        volumes: Volumes,
        in_use: Callable[[str], bool],
        held: Callable[[str], bool],
        board: Board,
        clock: Clock,
    ) -> None:
        self._volumes = volumes
        self._in_use = in_use
        self._held = held
        self._board = board
        self._clock = clock
        self._specs: dict[str, VolumeSpec] = {}
        self._states: Mapping[str, VolumeState] = {}
        self._loops: dict[str, Loop] = {}
        self._made: dict[str, VolumeSpec] = {}
        self._failed: dict[str, str] = {}
        self._given: dict[str, int] = {}
        self._settled = Signal()

    @property
    def states(self) -> Mapping[str, VolumeState]:
        """What was there when it was last looked at, by volume id."""
        return self._states

    def size(self, volume_id: str) -> int | None:
        """The bytes that the spec asks for; None when it doesn't list the volume."""
        spec = self._specs.get(volume_id)
        return None if spec is None else spec.size

    def shared(self) -> frozenset[str]:
        """The volumes that several guests may have at once, as the spec says."""
        return frozenset(
            volume_id for volume_id, spec in self._specs.items() if spec.shared and spec.state == "present"
        )

    def accept(self, specs: Iterable[VolumeSpec], asked_for: Collection[str] = ()) -> None:
        """Takes a new spec. A volume that it no longer lists stays on the host.

        ``asked_for`` are those that a guest is to have anew: what failed may work now (a key that is enabled again).
        """
        wanted = {spec.volume_id: spec for spec in specs}
        for volume_id in self._specs.keys() - wanted.keys():
            self._made.pop(volume_id, None)
        changed = [spec for spec in wanted.values() if self._specs.get(spec.volume_id) != spec]
        self._specs = wanted
        for volume_id in asked_for:
            self._forget_trouble(volume_id)
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

    def given(self, volume_id: str, size: int | None) -> None:
        """A guest got the volume and gave it this size, or (None) lost it."""
        if size is None:
            self._given.pop(volume_id, None)
        else:
            self._given[volume_id] = size
            self._made.pop(volume_id, None)
        self.wake(volume_id)

    async def survey(self) -> None:
        """Looks which volumes exist, so that those which nobody lists are reported too, and lets go of idle loops."""
        await self.look()
        for volume_id in self._board.volume_ids():
            if volume_id not in self._states and volume_id not in self._specs:
                self._board.drop(volume_id)
        for volume_id in self._loops.keys() - self._specs.keys():
            await self._loops.pop(volume_id).stop()

    async def look(self) -> None:
        """Looks at all volumes and says what they are like. Raises DriverError."""
        self._states = {state.volume_id: state for state in await self._volumes.observe()}
        for volume_id in self._states:
            self._tell(volume_id)

    async def close(self) -> None:
        """Stops all loops; the volumes stay as they are."""
        await asyncio.gather(*(loop.stop() for loop in self._loops.values()))

    async def _pass(self, volume_id: str) -> None:
        spec = self._specs.get(volume_id)
        if spec is None or self._made.get(volume_id) == spec or volume_id in self._failed:
            return
        try:
            if spec.state == "present":
                if not self._grows_in_guest(spec):
                    await self._volumes.ensure(spec)
                self._made[volume_id] = spec
                await self.look()
            elif not self._in_use(volume_id) and not self._held(volume_id):  # else this is woken when that is over
                self._made.pop(volume_id, None)
                await self._volumes.remove(volume_id)
                self._board.put_volume(VolumeObservation(volume_id=volume_id, phase="gone"))
        except PermanentError as error:
            if self._specs.get(volume_id) == spec:
                self._failed[volume_id] = str(error)
            self._board.put_volume(VolumeObservation(volume_id=volume_id, phase="failed", detail=str(error)))
        self._settled.fire()

    def _forget_trouble(self, volume_id: str) -> None:
        """What was said of it is no answer to what is asked now: if it fails again, that is said again."""
        if self._failed.pop(volume_id, None) is not None:
            self._board.drop(volume_id)
            self.wake(volume_id)
        self._tell(volume_id)

    def _grows_in_guest(self, spec: VolumeSpec) -> bool:
        """A volume that a guest has open is grown by whoever keeps that guest's disks, and then is what it should be."""
        state = self._states.get(spec.volume_id)
        if state is None or spec.size < state.size or not self._in_use(spec.volume_id):
            return False
        return self._given.get(spec.volume_id, 0) < spec.size

    def _tell(self, volume_id: str) -> None:
        state = self._states.get(volume_id)
        if state is None or volume_id in self._failed:
            return
        spec = self._specs.get(volume_id)
        if spec is not None and spec.state == "gone":
            return
        self._board.put_volume(
            VolumeObservation(
                volume_id=volume_id,
                phase="failed" if state.detail else "present",
                size=state.size,
                filled=state.filled,
                detail=state.detail,
            )
        )
