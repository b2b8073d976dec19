"""The network interfaces of a running QEMU: plugged, unplugged, cut. Called by ``guest``.

An interface is a device of its id over a backend that holds the tap. As with disks, nothing is remembered that QEMU can
be asked, so each call can be repeated after a kill at any moment, by another agent too. What QEMU does not say, that a
device has lost its backend, is in the guest's record, written before it is done.

What was found out about QEMU 7.2 and is built upon here:

- ``netdev_del`` under a device cuts its link and closes the tap at once. The device stays, dead, until the guest lets it
  go; ``info network`` goes on to list both.
- A descriptor that came by ``getfd`` is QEMU's until ``netdev_add`` takes it, also when the monitor's connection breaks.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from pileus.drivers.errors import PermanentError, RetryableError
from pileus.drivers.hypervisor.qemu.monitor import Monitor, Refused
from pileus.hostapi.spec import NicSpec

_ID = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_BACKEND = re.compile(r"^(?: \\ )?(\S+)\.tap: index=\d+,type=tap", re.MULTILINE)


class _Object(msgspec.Struct):
    name: str
    type: str


def backend(interface_id: str) -> str:
    """The name of an interface's host side."""
    return f"{interface_id}.tap"


def device(nic: NicSpec) -> Mapping[str, Any]:
    """What the guest sees. Without an option ROM: nobody boots from the network, and it costs the firmware time."""
    if not _ID.fullmatch(nic.interface_id):
        raise PermanentError(f"{nic.interface_id!r} is no interface id")
    name = nic.interface_id
    return {"driver": "virtio-net-pci", "id": name, "netdev": backend(name), "mac": nic.mac, "romfile": ""}


class Nics:
    """The interfaces of one guest. The caller makes the calls one at a time.

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

    async def plug(self, monitor: Monitor, nic: NicSpec, tap: int, cut: Collection[str]) -> None:
        """Adds an interface; ``cut`` are those that have lost their backend. Raises DriverError, MonitorError."""
        properties = device(nic)
        name = nic.interface_id
        self.unsettled |= name in cut  # it may be gone by now, which is for ``sweep`` to see
        there = name in await _devices(monitor)
        if name in cut or (there and name in self._unplugging):
            raise RetryableError(f"{self._instance} is still unplugging {name}")
        if there:
            return
        self.unsettled = True
        await _drop_backend(monitor, name)
        await monitor.add_named(tap, name)
        await monitor.execute("netdev_add", {"type": "tap", "id": backend(name), "fd": name})
        await monitor.execute("device_add", properties)

    async def unplug(self, monitor: Monitor, interface_id: str) -> None:
        """Asks the guest to let the interface go. Raises MonitorError."""
        self.unsettled = True
        if interface_id in await _devices(monitor):
            self._unplugging.add(interface_id)
            await _ask_to_unplug(monitor, interface_id)

    async def nudge(self, monitor: Monitor) -> None:
        """Asks for the interfaces again that the guest did not let go. Raises MonitorError."""
        for interface_id in self._unplugging:
            await _ask_to_unplug(monitor, interface_id)
            self.unsettled = True

    async def sweep(
        self, monitor: Monitor, recorded: Collection[str], cut: Collection[str]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Removes what belongs to no device, and the backends of those that are ``cut``. Raises MonitorError.

        ``recorded`` are those of which there may be anything. Returns the interfaces whose tap QEMU has, and those that
        are dead but still there.
        """
        self.unsettled = False
        devices = await _devices(monitor)
        for interface_id in (await _backends(monitor) | set(recorded)) - devices:
            await _drop_backend(monitor, interface_id)
        for interface_id in devices.intersection(cut):
            await _try(monitor, "netdev_del", {"id": backend(interface_id)})
        self._unplugging = (self._unplugging | set(cut)) & devices
        return tuple(sorted(devices.difference(cut))), tuple(sorted(devices.intersection(cut)))


async def _devices(monitor: Monitor) -> set[str]:
    try:
        found = await monitor.execute("qom-list", {"path": "/machine/peripheral"})
    except Refused:  # it is made with the first device
        return set()
    objects = msgspec.convert(found, list[_Object])
    return {one.name for one in objects if one.type == "child<virtio-net-pci>"}


async def _backends(monitor: Monitor) -> set[str]:
    text = await monitor.execute("human-monitor-command", {"command-line": "info network"})
    return set(_BACKEND.findall(str(text).replace("\r", "")))


async def _drop_backend(monitor: Monitor, interface_id: str) -> None:
    """Closes the tap of an interface that has no device, wherever it got to."""
    await _try(monitor, "netdev_del", {"id": backend(interface_id)})
    await _try(monitor, "closefd", {"fdname": interface_id})


async def _ask_to_unplug(monitor: Monitor, interface_id: str) -> None:
    # Refused while QEMU still waits for the guest's answer to the last request, and when the device is gone.
    await _try(monitor, "device_del", {"id": interface_id})


async def _try(monitor: Monitor, command: str, arguments: Mapping[str, object]) -> None:
    """Does what QEMU refuses when there is nothing to do."""
    try:
        await monitor.execute(command, arguments)
    except Refused:
        return
