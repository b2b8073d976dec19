"""One layer of a running guest's volume merged into the one below, step by step. Called by ``guest``.

QEMU's ``block-commit`` copies the layer down and then takes it out of the chain. Before it may do that, what it copied
must be on the disk: QEMU holds tables of the lower file in memory, and a layer above that names it as its backing file
would lose them in a crash. So the job is made to wait (``pending``), the lower file is flushed, and then it ends.

Killed at any moment, the chain is whole: before the end it is the old one, whose lower file has some of the upper one's
data beneath the upper one; after it, the new one.
"""

import asyncio
from pathlib import Path

import msgspec

from pileus.drivers.errors import PermanentError, RetryableError
from pileus.drivers.hypervisor.qemu import inventory, nodes
from pileus.drivers.hypervisor.qemu.disks import write_back
from pileus.drivers.hypervisor.qemu.inventory import Volume
from pileus.drivers.hypervisor.qemu.monitor import Monitor


async def step(monitor: Monitor, volume_id: str, layer: Path) -> bool:
    """Does what can be done now; says whether the layer is out of the chain. The caller makes it again until it is.

    A merge that an earlier agent began is finished first, whatever it merges.

    Raises:
        RetryableError: the merge failed. PermanentError: it can't be merged. MonitorError.
    """
    volume = (await inventory.read(monitor)).get(volume_id)
    if volume is None or not volume.plugged or volume.torn:
        return True
    node = nodes.node_at(volume_id, layer)
    if volume.job is None:
        if node not in volume.chain:
            return True
        await _begin(monitor, volume, node)
        return False
    match volume.job.status:
        case "pending":
            await _flush(monitor, volume)
            await monitor.execute("job-finalize", {"id": volume.job.id})
        case "concluded":
            error = volume.job.error
            await monitor.execute("job-dismiss", {"id": volume.job.id})
            if error:
                raise RetryableError(f"{volume_id}: merging {layer.name}: {error}")
        case _:
            pass
    return False


async def _begin(monitor: Monitor, volume: Volume, node: str) -> None:
    place = volume.chain.index(node)
    if place == 0 or place + 1 == len(volume.chain):
        raise PermanentError(f"{volume.volume_id}: there is nothing above or nothing below {node}")
    below = volume.chain[place + 1]
    if below not in volume.mergeable:
        raise PermanentError(f"{volume.volume_id}: what is below {node} is not its own")
    await monitor.execute(
        "block-commit",
        {
            "job-id": nodes.merge_job(volume.volume_id),
            "device": nodes.stem(volume.volume_id),
            "top-node": node,
            "base-node": below,
            "backing-file": str(volume.paths[below]),
            "filter-node-name": nodes.merge_filter(volume.volume_id),
            "auto-finalize": False,
            "auto-dismiss": False,
        },
    )


async def _flush(monitor: Monitor, volume: Volume) -> None:
    """Writes back the file that was merged into: the one below the layer that is on top of the job."""
    base = volume.merging_into
    if base is None:
        raise RetryableError(f"{volume.volume_id}: QEMU doesn't say into what it merges")
    said = await monitor.execute("human-monitor-command", {"command-line": f"qemu-io {base} flush"})
    if text := msgspec.convert(said, str).strip():
        raise RetryableError(f"{volume.volume_id}: {base} can't be flushed: {text}")
    await asyncio.to_thread(write_back, [volume.paths[base]])
