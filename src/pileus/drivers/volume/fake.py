"""Volumes that exist in memory alone, for tests and the simulated cloud."""

from collections.abc import Sequence
from pathlib import Path

from pileus.drivers.errors import DriverError, PermanentError
from pileus.drivers.hypervisor.interface import DiskLayer
from pileus.drivers.image.interface import Images
from pileus.hostapi.spec import VolumeSpec


class FakeVolumes:
    """The volume driver ``fake``.

    Args:
        images: where the images are; without it every image is taken to be here and to fit.

    Attributes:
        sizes: volume id → bytes, of all volumes.
        fail_next: an error that the next ``ensure`` raises instead of doing anything.
    """

    def __init__(self, images: Images | None = None) -> None:
        self.sizes: dict[str, int] = {}
        self.fail_next: DriverError | None = None
        self._images = images
        self._backing: dict[str, Path] = {}

    async def ensure(self, volume: VolumeSpec) -> None:
        if self.fail_next is not None:
            error, self.fail_next = self.fail_next, None
            raise error
        size = self.sizes.get(volume.volume_id)
        if size is not None and volume.size < size:
            raise PermanentError(f"{volume.volume_id} has {size} bytes and can't shrink to {volume.size}")
        if size is None and volume.image is not None and self._images is not None:
            manifest, directory = await self._images.locate(volume.image)
            if volume.size < manifest.virtual_size:
                raise PermanentError(f"{volume.volume_id} is smaller than {manifest.name}")
            self._backing[volume.volume_id] = directory / "disk.qcow2"
        self.sizes[volume.volume_id] = volume.size

    async def layers(self, volume_id: str) -> tuple[DiskLayer, ...]:
        if volume_id not in self.sizes:
            raise PermanentError(f"{volume_id} is not here")
        top = DiskLayer(path=Path("/nonexistent") / volume_id, format="qcow2", writable=True)
        backing = self._backing.get(volume_id)
        return (top,) if backing is None else (top, DiskLayer(path=backing, format="qcow2", writable=False))

    async def remove(self, volume_id: str) -> None:
        self.sizes.pop(volume_id, None)
        self._backing.pop(volume_id, None)

    async def observe(self) -> Sequence[str]:
        return sorted(self.sizes)
