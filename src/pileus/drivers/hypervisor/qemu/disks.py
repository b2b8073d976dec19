"""The disks of a running QEMU: plugged, limited, unplugged, torn out, given another base. Called by ``guest``.

Nothing is remembered that QEMU can be asked: each call looks at what is there (``inventory``) and does what is missing,
so it can be repeated after a kill at any moment, by another agent too. Whatever belongs to no device is swept away.

What was found out about QEMU 7.2 and is built upon here:

- ``blockdev-reopen`` gives a node another ``backing``, or the throttle filter another ``file``, in 1 to 3 ms while the
  guest runs. It waits for the requests that are under way, without limit when they wait for a server.
- It finds descriptors in the fd set of a node's file, so a set has a read-only and a read-write one, and a file node
  with ``auto-read-only`` is open for writing only while something above it writes.
- A LUKS layer takes from its ``secret`` what it needs when it is opened; it can be reopened after the secret is gone.
- ``change-backing-file`` records the format of the file itself as that of its backing file, which is wrong over a raw
  base; ``block-commit`` records the right one.
- The descriptors of an fd set are closed by ``remove-fd`` once no node uses them, but only while the guest runs; those
  that no node has used yet are closed when the monitor's connection breaks.
- ``device_del`` may be repeated; on ``pc`` the guest is asked anew each time.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pileus.drivers.errors import DriverError, PermanentError, RetryableError
from pileus.drivers.hypervisor.interface import Disk, DiskLayer, passphrase
from pileus.drivers.hypervisor.qemu import inventory, nodes
from pileus.drivers.hypervisor.qemu.inventory import Volume
from pileus.drivers.hypervisor.qemu.layers import OpenLayer, open_disk, open_layer
from pileus.drivers.hypervisor.qemu.monitor import Monitor, MonitorError, Refused

_logger = logging.getLogger(__name__)

_JOB_ENDS_WITHIN = _EXPORT_ENDS_WITHIN = 100  # steps of 20 ms

_DAMAGED = ("Image is not in", "is corrupt", "Unsupported qcow2", "Invalid password", "not a LUKS volume")


def refusal(who: str, reason: str) -> DriverError:
    """Why QEMU didn't take a disk. What it says of a damaged one, or of a wrong key, won't change; all else may."""
    return (PermanentError if any(sign in reason for sign in _DAMAGED) else RetryableError)(f"{who}: {reason}")


class Disks:
    """The disks of one guest. The caller makes the calls one at a time.

    Attributes:
        unsettled: something may have changed that ``sweep`` has not seen: the caller makes it.
    """

    def __init__(self, instance_id: str) -> None:
        self.unsettled = True
        self._instance = instance_id
        self._unplugging: set[str] = set()

    def forget(self) -> None:
        """The process is gone; another one may come."""
        self._unplugging.clear()
        self.unsettled = True

    async def begin(self, monitor: Monitor, disks: Sequence[Disk]) -> None:
        """What the command line couldn't do for a QEMU that was just created with ``disks``. Raises MonitorError."""
        if not disks:
            return
        for volume in (await inventory.read(monitor)).values():
            for secret in volume.secrets:
                await monitor.execute("object-del", {"id": secret})
        for disk in disks:
            await _grow(monitor, disk)

    async def plug(self, monitor: Monitor, pid: int, disk: Disk, *, exported: bool = False) -> None:
        """Adds a disk, or gives one that is there its size and limits. Raises DriverError, MonitorError.

        ``exported``: for the clients of a server, not for a guest of this QEMU.
        """
        found = (await inventory.read(monitor)).get(disk.volume_id)
        if found is not None and found.plugged:
            if found.torn or disk.volume_id in self._unplugging:
                raise RetryableError(f"{self._instance} is still unplugging {disk.volume_id}")
            limits = {"path": f"/objects/{disk.volume_id}", "property": "limits", "value": nodes.limits(disk)}
            await monitor.execute("qom-set", limits)
            await _grow(monitor, disk)
            return
        if found is not None and not await _clear(monitor, found):
            raise RetryableError(f"{self._instance} still has something of {disk.volume_id}")
        if not disk.layers:
            raise RetryableError(f"{self._instance} does not have {disk.volume_id} any more")
        nodes.check(disk)
        try:
            with contextlib.ExitStack() as opened, _explained(disk.volume_id):
                layers = open_disk(disk, opened)
                await monitor.execute("object-add", nodes.group(disk))
                below = None
                for layer in reversed(layers):
                    below = await _add_layer(monitor, pid, layer, below)
                assert below is not None
                await monitor.execute("blockdev-add", nodes.throttle(disk.volume_id, below))
                await _grow(monitor, disk)
                if exported:
                    await monitor.execute("block-export-add", nodes.export(disk))
                else:
                    await monitor.execute("device_add", nodes.device(disk))
        except (DriverError, Refused):
            self.unsettled = True
            raise

    async def end_export(self, monitor: Monitor, volume_id: str) -> None:
        """Takes a volume from all clients and closes it. They wait. Raises DriverError, MonitorError."""
        await _try(monitor, "block-export-del", {"id": volume_id, "mode": "hard"}, silently=True)
        for _ in range(_EXPORT_ENDS_WITHIN):
            found = (await inventory.read(monitor)).get(volume_id)
            if found is None or (not found.plugged and await _clear(monitor, found)):
                return
            await asyncio.sleep(0.02)
        raise RetryableError(f"{volume_id} is still exported")

    async def unplug(self, monitor: Monitor, volume_id: str, *, force: bool) -> None:
        """Asks the guest to let the disk go; ``force`` takes the data away before. Raises DriverError, MonitorError."""
        found = (await inventory.read(monitor)).get(volume_id)
        if found is None:
            return
        self.unsettled = True
        if not found.plugged:
            await _clear(monitor, found)
            return
        self._unplugging.add(volume_id)
        if force:
            await self._tear_out(monitor, found)
        await _ask_to_unplug(monitor, volume_id)

    async def nudge(self, monitor: Monitor) -> None:
        """Asks for the disks again that the guest did not let go. Raises MonitorError."""
        for volume_id in self._unplugging:
            await _ask_to_unplug(monitor, volume_id)
            self.unsettled = True

    async def sweep(self, monitor: Monitor) -> tuple[str, ...]:
        """Removes what belongs to no device; returns the volumes that QEMU still has anything of. Raises MonitorError."""
        self.unsettled = False
        found = await inventory.read(monitor)
        untidy = [volume for volume in found.values() if volume.untidy]
        for volume in untidy:
            self.unsettled |= not await _clear(monitor, volume)
        if untidy:
            found = await inventory.read(monitor)
        self._unplugging = {volume_id for volume_id in self._unplugging if volume_id in found}
        self._unplugging |= {volume.volume_id for volume in found.values() if volume.torn}
        return tuple(sorted(volume.volume_id for volume in found.values() if volume.held))

    async def freeze(self, monitor: Monitor, pid: int, tops: Mapping[str, DiskLayer]) -> None:
        """Puts a fresh layer over each of the volumes, all at one instant. Raises DriverError, MonitorError."""
        found = await inventory.read(monitor)
        fresh: dict[str, DiskLayer] = {}
        for volume_id, top in tops.items():
            volume = found.get(volume_id)
            if volume is None or not volume.plugged or volume.torn:
                raise PermanentError(f"{volume_id} is not in {self._instance}")
            if volume.chain[0] not in volume.paths:
                raise PermanentError(f"{volume_id} is a server's: it is frozen there")
            if volume.chain[0] != nodes.node_of(volume_id, top):
                await _clear(monitor, volume)
                fresh[volume_id] = top
        if not fresh:
            return
        try:
            with contextlib.ExitStack() as opened:
                for volume_id, top in fresh.items():
                    with _explained(volume_id):
                        await _add_layer(monitor, pid, open_layer(volume_id, top, opened), None)
            # QEMU writes back what the host still holds before it changes over, and the guest waits for that. Done
            # from here, before, the guest waits for what it wrote in the meantime alone.
            olds = {volume_id: found[volume_id] for volume_id in fresh}
            await asyncio.to_thread(write_back, [volume.paths[volume.chain[0]] for volume in olds.values()])
            actions = [
                {
                    "type": "blockdev-snapshot",
                    "data": {"node": olds[volume_id].chain[0], "overlay": nodes.node_of(volume_id, top)},
                }
                for volume_id, top in fresh.items()
            ]
            await monitor.execute("transaction", {"actions": actions})
        except (DriverError, Refused):
            self.unsettled = True
            raise

    async def swap_base(self, monitor: Monitor, pid: int, volume_id: str, base: DiskLayer) -> None:
        """Exchanges the lowest layer of a volume. Raises DriverError, MonitorError."""
        volume = (await inventory.read(monitor)).get(volume_id)
        if volume is None or not volume.plugged or volume.torn:
            return
        node = nodes.node_of(volume_id, base)
        if volume.chain[-1] != node:
            if len(volume.chain) == 1:
                raise PermanentError(f"{volume_id} has no base")
            await _clear(monitor, volume)
            try:
                with contextlib.ExitStack() as opened, _explained(volume_id):
                    await _add_layer(monitor, pid, open_layer(volume_id, base, opened), None)
                above = volume.chain[-2]
                block = (await inventory.read_blocks(monitor))[above]
                options = nodes.contents(above, block.drv, node, encrypted=block.encrypted, read_only=block.ro)
                await monitor.execute("blockdev-reopen", {"options": [options]})
            except (DriverError, Refused):
                self.unsettled = True
                raise
        self.unsettled = True  # the old base is still open

    async def _tear_out(self, monitor: Monitor, volume: Volume) -> None:
        """Leaves the guest's device without its data: nothing that it says from now on reaches a file of the volume."""
        blocks = await inventory.read_blocks(monitor)
        if not volume.torn:
            for node in volume.chain:  # requests that wait for a server fail now, or we would wait for them
                if blocks[node].drv == "nbd":
                    await _try(monitor, "yank", {"instances": [{"type": "block-node", "node-name": node}]})
            await end_job(monitor, volume)
            await _clear(monitor, volume)
            for properties in nodes.torn(volume.volume_id, blocks[nodes.stem(volume.volume_id)].size):
                await monitor.execute("blockdev-add", properties)
            upper, _ = nodes.dead_end(volume.volume_id)
            await monitor.execute("blockdev-reopen", {"options": [nodes.throttle(volume.volume_id, upper)]})
        volumes = await self.sweep(monitor)
        self.unsettled = True
        if volume.volume_id in volumes:
            raise RetryableError(f"{self._instance} still has files of {volume.volume_id}")


async def end_job(monitor: Monitor, volume: Volume) -> bool:
    """Cancels the volume's merge and waits until it is gone; says whether it is. Raises MonitorError."""
    if volume.job is None:
        return True
    name = nodes.merge_job(volume.volume_id)
    await _try(monitor, "job-cancel", {"id": name})
    for _ in range(_JOB_ENDS_WITHIN):
        job = next((job for job in await inventory.read_jobs(monitor) if job.id == name), None)
        if job is None or (job.status == "concluded" and await _try(monitor, "job-dismiss", {"id": name})):
            return True
        await asyncio.sleep(0.02)
    return False


async def _grow(monitor: Monitor, disk: Disk) -> None:
    """Gives a disk its size, if it is below that."""
    if disk.size is None:
        return
    node = nodes.stem(disk.volume_id)
    if (await inventory.read_blocks(monitor))[node].size < disk.size:
        await monitor.execute("block_resize", {"node-name": node, "size": disk.size})


async def _add_layer(monitor: Monitor, pid: int, opened: OpenLayer, below: str | None) -> str:
    """Makes the nodes of a layer; returns its format node."""
    node, layer = opened.node, opened.layer
    if opened.directory is not None:
        number = await _hand_over(monitor, pid, opened.directory, node)
        await monitor.execute("blockdev-add", nodes.server(node, layer, number))
        return node
    assert opened.reader is not None
    label = nodes.label(node, layer.path)
    fdset = await monitor.add_file(opened.reader, label)
    if opened.writer is not None:
        await monitor.add_file(opened.writer, label, fdset)
    await monitor.execute("blockdev-add", nodes.file(node, fdset, writable=opened.writer is not None))
    data = nodes.contents(
        node, layer.format, below, encrypted=layer.key is not None, read_only=not layer.writable
    )  # fmt: skip
    if layer.key is None:
        await monitor.execute("blockdev-add", data)
        return node
    secret = nodes.secret(node)
    await monitor.execute("object-add", {"qom-type": "secret", "id": secret, "data": passphrase(layer.key)})
    try:
        await monitor.execute("blockdev-add", data)
    finally:  # QEMU has taken from it what it needs
        await _try(monitor, "object-del", {"id": secret})
    return node


async def _hand_over(monitor: Monitor, pid: int, directory: int, name: str) -> int:
    """Gives QEMU a directory; returns its number there, which QEMU itself doesn't say."""
    before = set(_numbers_of(pid, directory))
    await monitor.add_named(directory, name)
    number = min(set(_numbers_of(pid, directory)) - before, default=None)
    if number is None:
        raise RetryableError(f"the directory for {name} did not arrive")
    return number


def _numbers_of(pid: int, directory: int) -> Iterator[int]:
    wanted = os.fstat(directory)
    with os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # closed meanwhile
                if os.path.samestat(entry.stat(), wanted):
                    yield int(entry.name)


async def _clear(monitor: Monitor, volume: Volume) -> bool:
    """Removes what belongs to no device; says whether nothing of that is left. Raises MonitorError."""
    if not volume.plugged and not await end_job(monitor, volume):
        return False
    left = {*volume.chain, *volume.strays}
    for node in volume.strays:
        if await _try(monitor, "blockdev-del", {"node-name": node}):
            left.discard(node)
            if node not in volume.sets:  # it may be a server's
                await _try(monitor, "closefd", {"fdname": node}, silently=True)
    done = not left.intersection(volume.strays)
    for node, sets in volume.sets.items():
        if not left.intersection({node, nodes.file_node(node)}):
            for fdset in sets:
                done &= await _try(monitor, "remove-fd", {"fdset-id": fdset})
    for secret in volume.secrets:
        done &= await _try(monitor, "object-del", {"id": secret})
    if done and not volume.plugged:
        done = await _try(monitor, "object-del", {"id": volume.volume_id})
    return done


async def _ask_to_unplug(monitor: Monitor, volume_id: str) -> None:
    # Refused while QEMU still waits for the guest's answer to the last request, and when the device is gone.
    await _try(monitor, "device_del", {"id": volume_id}, silently=True)


async def _try(monitor: Monitor, command: str, arguments: Mapping[str, object], *, silently: bool = False) -> bool:
    """Does what QEMU may refuse; says whether it was done."""
    try:
        await monitor.execute(command, arguments)
    except Refused as error:
        if not silently:
            _logger.info("QEMU refused, to be tried again: %s", error)
        return False
    return True


def write_back(paths: Iterable[Path]) -> None:
    """Waits until what was written to the files is on the disk itself. Raises OSError."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _explained(volume_id: str) -> Generator[None]:
    """Says what went wrong with a volume's layers in the errors of drivers."""
    try:
        yield
    except Refused as error:
        raise refusal(volume_id, str(error)) from error
    except BlockingIOError as error:
        raise RetryableError(f"{volume_id}: another process has it: {error}") from error
    except FileNotFoundError as error:
        raise PermanentError(f"{volume_id}: {error}") from error
    except MonitorError:
        raise
    except OSError as error:
        raise RetryableError(f"{volume_id}: {error}") from error
