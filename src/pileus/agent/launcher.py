"""Starts a guest: brings together what the drivers of all families have made for it."""

import os
from contextlib import ExitStack

from pileus.agent.disks import VolumeAccess, attachment
from pileus.drivers.hypervisor.interface import BootFiles, Hypervisor
from pileus.drivers.image.interface import Images
from pileus.drivers.network.interface import Network
from pileus.hostapi.spec import GuestSpec


class Launcher:
    """The last step of a launch, once the guest's volumes and interfaces are there."""

    def __init__(self, hypervisor: Hypervisor, images: Images, volumes: VolumeAccess, network: Network) -> None:
        self._hypervisor = hypervisor
        self._images = images
        self._volumes = volumes
        self._network = network

    async def start(self, guest: GuestSpec) -> None:
        """Starts the guest. Raises DriverError."""
        boot_files = await self._boot_files(guest.image)
        async with self._volumes.hold([disk.volume_id for disk in guest.disks]):
            await self._start(guest, boot_files)

    async def _start(self, guest: GuestSpec, boot_files: BootFiles) -> None:
        disks = [attachment(disk, await self._volumes.layers(disk.volume_id), None) for disk in guest.disks]
        with ExitStack() as opened:
            taps: dict[str, int] = {}
            for nic in guest.nics:
                taps[nic.interface_id] = await self._network.open_tap(nic.interface_id)
                opened.callback(os.close, taps[nic.interface_id])
            await self._hypervisor.ensure_running(guest, boot_files, disks, taps)

    async def _boot_files(self, image: str | None) -> BootFiles:
        if image is None:
            return BootFiles()
        manifest, directory = await self._images.locate(image)
        return BootFiles(
            kernel=directory / manifest.kernel if manifest.kernel else None,
            initrd=directory / manifest.initrd if manifest.initrd else None,
            cmdline=manifest.cmdline,
        )
