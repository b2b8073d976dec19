"""The volume family: block volumes of guests. Called by ``pileus.agent``."""

from collections.abc import Sequence
from typing import Protocol

from pileus.drivers.hypervisor.interface import DiskLayer
from pileus.hostapi.spec import VolumeSpec


class Volumes(Protocol):
    """All calls are idempotent, keyed by volume id, and safe to kill at any instruction."""

    async def ensure(self, volume: VolumeSpec) -> None:
        """Makes the volume, or grows it to ``size``. Its data is never touched once it exists.

        Raises:
            PermanentError: the image is not on this host, or the size is below the image's.
        """
        ...

    async def layers(self, volume_id: str) -> tuple[DiskLayer, ...]:
        """The layers of the volume, top first, for the hypervisor.

        Raises:
            PermanentError: it is not here, damaged, or its key is refused. RetryableError: the key can't be had now.
        """
        ...

    async def remove(self, volume_id: str) -> None:
        """Removes the data for ever."""
        ...

    async def observe(self) -> Sequence[str]:
        """The ids of all volumes that exist here, whole."""
        ...
