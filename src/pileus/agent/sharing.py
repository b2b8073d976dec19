"""Who has a volume's chain of layers open: a guest's process, or, for a volume that several guests share, one of its own.

Used by snapshots and upkeep, which freeze, merge and swap through whoever that is, and by ``agent``, which has shared volumes
served before guests get them.
"""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from pileus.drivers.hypervisor.interface import Disk, DiskLayer, Exports, Hypervisor


class Holders:
    """A holder is named by the instance that has the volume, or by the volume itself where it is served.

    Args:
        exports: serves shared volumes; None on hosts whose volume driver does that itself.
        guest_of: looks which guest's process has a volume open now; None: no one's. Raises DriverError.
    """

    def __init__(
        self, hypervisor: Hypervisor, exports: Exports | None, guest_of: Callable[[str], Awaitable[str | None]]
    ) -> None:
        self._hypervisor = hypervisor
        self._exports = exports
        self._guest_of = guest_of

    async def holder(self, volume_id: str) -> str | None:
        """Who has the volume open now; None: nobody. Raises DriverError."""
        return volume_id if await self.served(volume_id) else await self._guest_of(volume_id)

    async def served(self, volume_id: str) -> bool:
        """Whether a process of its own has the volume."""
        return self._exports is not None and volume_id in await self._exports.observe()

    async def serve(self, volume_id: str, layers: tuple[DiskLayer, ...], size: int | None) -> tuple[DiskLayer, ...]:
        """What each guest of a shared volume gets in place of its layers. The limits are the guests' own."""
        if self._exports is None:
            return layers
        disk = Disk(volume_id=volume_id, index=0, serial=volume_id.replace("-", ""), layers=layers, size=size)
        return (await self._exports.ensure(disk),)

    async def release(self, volume_id: str) -> None:
        """Ends the process of a volume that no guest has any more."""
        if self._exports is not None:
            await self._exports.stop(volume_id)

    async def freeze(self, holder: str, tops: Mapping[str, DiskLayer]) -> None:
        """As ``Hypervisor.freeze``."""
        if holder not in tops:
            await self._hypervisor.freeze(holder, tops)
        elif self._exports is not None:
            await self._exports.freeze(holder, tops[holder])

    async def merge(self, holder: str, volume_id: str, layer: Path) -> None:
        """As ``Hypervisor.merge``."""
        if holder != volume_id:
            await self._hypervisor.merge(holder, volume_id, layer)
        elif self._exports is not None:
            await self._exports.merge(volume_id, layer)

    async def swap_base(self, holder: str, volume_id: str, base: DiskLayer) -> None:
        """As ``Hypervisor.swap_base``."""
        if holder != volume_id:
            await self._hypervisor.swap_base(holder, volume_id, base)
        elif self._exports is not None:
            await self._exports.swap_base(volume_id, base)
