"""The disks of one running guest: what ``parts`` does with them. Used by ``guest``."""

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import AbstractAsyncContextManager

import msgspec

from pileus.agent.parts import GuestParts, Owner
from pileus.agent.reports import Board
from pileus.drivers.errors import PermanentError
from pileus.drivers.hypervisor.interface import Disk, DiskLayer, GuestState
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


class GuestDisks(GuestParts[DiskSpec]):
    """Plugs, unplugs, grows and limits."""

    kind = "disk"

    def __init__(self, owner: Owner, volumes: VolumeAccess, board: Board) -> None:
        self._volumes = volumes
        self._board = board
        super().__init__(owner)

    def name_of(self, part: DiskSpec) -> str:
        return part.volume_id

    def listed(self, spec: GuestSpec) -> tuple[DiskSpec, ...]:
        return spec.disks

    def held_by(self, state: GuestState) -> Iterable[str]:
        return state.volumes

    def wish(self, part: DiskSpec) -> object:
        return part, self._volumes.size(part.volume_id)

    async def plug(self, part: DiskSpec, *, fresh: bool) -> None:
        size = self._volumes.size(part.volume_id)
        guest, hypervisor = self._owner.instance_id, self._owner.hypervisor
        if fresh:
            await self._volumes.ready(part.volume_id)
            async with self._volumes.hold([part.volume_id]):
                layers = await self._volumes.layers(part.volume_id)
                await hypervisor.plug(guest, attachment(part, layers, size))
            return
        if self._volumes.shared(part.volume_id):
            async with self._volumes.hold([part.volume_id]):
                await self._volumes.layers(part.volume_id)
        await hypervisor.plug(guest, attachment(part, (), size))

    async def unplug(self, name: str, *, force: bool) -> None:
        await self._owner.hypervisor.unplug(self._owner.instance_id, name, force=force)

    def given(self, part: DiskSpec) -> None:
        self._volumes.changed(part.volume_id, self._volumes.size(part.volume_id))

    def lost(self, name: str) -> None:
        self._volumes.changed(name, None)

    def failed(self, part: DiskSpec, error: PermanentError) -> None:
        about = {"instance": self._owner.instance_id, "volume": part.volume_id, "reason": str(error)}
        log.error("volume can't be plugged", extra=about)
        self._board.put_volume(VolumeObservation(volume_id=part.volume_id, phase="failed", detail=str(error)))


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
