"""The disks of one running guest: follows its spec. Used by ``guest``.

Disks of a guest that is off need nothing: the launcher gives it those that its spec lists.
"""

import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, AbstractContextManager

import msgspec

from pileus.agent.loop import Loop
from pileus.agent.reports import Board
from pileus.agent.sightings import Sightings
from pileus.base.clock import Clock
from pileus.drivers.errors import DriverError, PermanentError
from pileus.drivers.hypervisor.interface import Disk, DiskLayer, GuestState, Hypervisor
from pileus.hostapi.observation import VolumeObservation
from pileus.hostapi.spec import DiskSpec, GuestSpec

log = logging.getLogger(__name__)


class VolumeAccess(msgspec.Struct, frozen=True, kw_only=True):
    """What a guest needs of the host's volumes.

    Attributes:
        ready: waits until a volume is there and no snapshot of it waits for its instant. Raises DriverError.
        size: the bytes that it is to have; None when the spec doesn't list it.
        hold: keeps its chain as it is meanwhile (see ``chains``).
        layers: opens it for a guest that does not have it yet; its chain must be held. A shared volume is served anew by
            it, with the size that it is to have.
        shared: whether several guests may have it.
        changed: told that a guest got the volume or gave it this size, or (None) lost it.
    """

    ready: Callable[[str], Awaitable[None]]
    size: Callable[[str], int | None]
    hold: Callable[[Collection[str]], AbstractAsyncContextManager[None]]
    layers: Callable[[str], Awaitable[tuple[DiskLayer, ...]]]
    shared: Callable[[str], bool]
    changed: Callable[[str, int | None], None]


class GuestDisks:
    """Plugs, unplugs, grows and limits. ``acting`` is entered while a disk of ``spec`` is on its way into the guest."""

    def __init__(
        self,
        instance_id: str,
        spec: Callable[[], GuestSpec | None],
        acting: Callable[[GuestSpec], AbstractContextManager[None]],
        hypervisor: Hypervisor,
        sightings: Sightings,
        volumes: VolumeAccess,
        board: Board,
        clock: Clock,
        patience: float,
    ) -> None:
        self._instance_id = instance_id
        self._spec = spec
        self._acting = acting
        self._hypervisor = hypervisor
        self._sightings = sightings
        self._volumes = volumes
        self._board = board
        self._patience = patience
        self._given: dict[str, tuple[DiskSpec, int | None]] = {}
        self._hopeless: dict[str, GuestSpec] = {}
        self._handled: object = None
        self._held: frozenset[str] = frozenset()
        self._loop = Loop(f"disks of {instance_id}", self._pass, clock)

    def look(self) -> None:
        """Something about the guest or its volumes may have changed: looks closer if it did."""
        if self._wish() != self._handled:
            self._loop.wake()

    def interrupt(self) -> None:
        """Breaks off what is being done: the spec wants something else."""
        self._loop.interrupt()

    def launched(self, spec: GuestSpec) -> None:
        """The guest was started with the disks of ``spec``."""
        self._given = {disk.volume_id: (disk, self._volumes.size(disk.volume_id)) for disk in spec.disks}

    async def stop(self) -> None:
        """Ends the loop; the disks stay as they are."""
        await self._loop.stop()

    def _wish(self) -> object:
        spec, state = self._spec(), self._sightings.latest.get(self._instance_id)
        if spec is None or not _is_on(spec, state):
            return None
        assert state is not None
        sizes = tuple(self._volumes.size(disk.volume_id) for disk in spec.disks)
        return spec.boot, spec.disks, spec.torn_out, spec.wiring, sizes, frozenset(state.volumes)

    async def _pass(self) -> float | None:
        state = (await self._sightings.fresh()).get(self._instance_id)
        self._handled = self._wish()
        held = frozenset(state.volumes) if state is not None and state.running else frozenset[str]()
        for volume_id in self._held - held:
            self._given.pop(volume_id, None)
            self._volumes.changed(volume_id, None)
        self._held = held
        spec = self._spec()
        if spec is None or not _is_on(spec, state):
            return None
        wanted = {disk.volume_id for disk in spec.disks}
        for volume_id in held - wanted:
            await self._hypervisor.unplug(self._instance_id, volume_id, force=volume_id in spec.torn_out)
        failure: DriverError | None = None
        for disk in spec.disks:
            try:
                await self._follow(spec, disk, fresh=disk.volume_id not in held)
            except PermanentError as error:
                self._give_up(spec, disk, error)
            except DriverError as error:
                failure = error
        if failure is not None:
            raise failure
        return self._patience if held - wanted else None  # a guest may need to be asked again

    async def _follow(self, spec: GuestSpec, disk: DiskSpec, *, fresh: bool) -> None:
        size = self._volumes.size(disk.volume_id)
        if not fresh and self._given.get(disk.volume_id) == (disk, size):
            return
        if self._hopeless.get(disk.volume_id) == spec:
            return
        with self._acting(spec):
            if fresh:
                await self._volumes.ready(disk.volume_id)
                async with self._volumes.hold([disk.volume_id]):
                    layers = await self._volumes.layers(disk.volume_id)
                    await self._hypervisor.plug(self._instance_id, attachment(disk, layers, size))
            else:
                if self._volumes.shared(disk.volume_id):
                    async with self._volumes.hold([disk.volume_id]):
                        await self._volumes.layers(disk.volume_id)
                await self._hypervisor.plug(self._instance_id, attachment(disk, (), size))
        self._given[disk.volume_id] = disk, size
        self._volumes.changed(disk.volume_id, size)

    def _give_up(self, spec: GuestSpec, disk: DiskSpec, error: PermanentError) -> None:
        about = {"instance": self._instance_id, "volume": disk.volume_id, "reason": str(error)}
        log.error("volume can't be plugged", extra=about)
        self._hopeless[disk.volume_id] = spec
        self._board.put_volume(VolumeObservation(volume_id=disk.volume_id, phase="failed", detail=str(error)))


def attachment(disk: DiskSpec, layers: tuple[DiskLayer, ...], size: int | None) -> Disk:
    """The disk as the hypervisor takes it. ``size`` in bytes; None: as its top layer says."""
    return Disk(
        volume_id=disk.volume_id,
        index=disk.index,
        serial=disk.serial,
        layers=layers,
        size=size,
        iops=disk.iops,
        throughput=disk.throughput,
    )


def _is_on(spec: GuestSpec, state: GuestState | None) -> bool:
    return spec.power == "on" and state is not None and state.running and state.boot == spec.boot
