"""Takes a stopped cloud off the machine: guests, networks, volumes, records. The images stay, for the next one."""

import shutil

from pileus.base.clock import SystemClock
from pileus.base.config import Config
from pileus.cmd.layout import Layout
from pileus.cmd.serve import real_drivers


async def destroy_everything(layout: Layout, settings: Config) -> None:
    """Ends every guest and removes all that the cloud made but its images. Safe to repeat after a crash."""
    if layout.identity_file.exists() and not layout.identity().simulated:
        drivers = await real_drivers(layout, settings, SystemClock())
        await drivers.hypervisor.open(lambda _: None)
        for guest in await drivers.hypervisor.observe():
            await drivers.hypervisor.remove(guest.instance_id)
        await drivers.hypervisor.close()
        if drivers.exports is not None:
            await drivers.exports.open()
            for volume_id in await drivers.exports.observe():
                await drivers.exports.stop(volume_id)
            await drivers.exports.close()
        await drivers.network.destroy()
    for path in layout.root.iterdir() if layout.root.exists() else ():
        if path not in {layout.images, layout.config_file}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
