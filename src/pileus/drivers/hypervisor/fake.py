"""Guests that exist in memory alone, for tests and the simulated cloud.

The guests live in a ``FakeHost``, which outlives the driver as QEMU outlives the agent: a second ``FakeHypervisor`` on
the same host finds them. The host's methods are what may befall a guest from outside.
"""

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pileus.base.clock import Clock, SystemClock
from pileus.drivers.errors import DriverError, PermanentError, RetryableError
from pileus.drivers.hypervisor.interface import BootFiles, Disk, DiskLayer, GuestState
from pileus.hostapi.observation import Cause
from pileus.hostapi.spec import GuestSpec, NicSpec

_CONSOLE_LIMIT = 64 * 1024


class FakeHost:
    """The machine under a fake hypervisor, with the guests on it.

    Attributes:
        boot_delay: seconds that a start takes.
        fail_next: an error that the next start raises instead of starting.
        fail_on: ``plug``, ``unplug``, ``plug_nic``, ``unplug_nic``, ``freeze``, ``merge`` or ``swap_base`` → an error
            that its next call raises.
        ignores_power_button: instances that must be unplugged.
        keeps_disks: instances whose guest never lets go of a disk or an interface unless it is forced.
        guests: instance id → what is so; tests may read it.
        disks: instance id → volume id → the disk as the running guest has it now, with its layers.
        nics: instance id → interface id → the interface as the running guest has it now.
        starts: instance ids in the order in which they were started, for counting.
        freezes: the volumes of each freeze that was done, in their order: those of one entry share an instant.
    """

    def __init__(self, boot_delay: float = 0.0) -> None:
        self.boot_delay = boot_delay
        self.fail_next: DriverError | None = None
        self.fail_on: dict[str, DriverError] = {}
        self.ignores_power_button: set[str] = set()
        self.keeps_disks: set[str] = set()
        self.guests: dict[str, GuestState] = {}
        self.disks: dict[str, dict[str, Disk]] = {}
        self.nics: dict[str, dict[str, NicSpec]] = {}
        self.unplugging: dict[str, set[str]] = {}
        self.consoles: dict[str, bytes] = {}
        self.starts: list[str] = []
        self.freezes: list[tuple[str, ...]] = []
        self.on_change: Callable[[str], None] | None = None

    def crash(self, instance_id: str) -> None:
        """The process is gone."""
        self._turn_off(instance_id, "crash")

    def guest_shutdown(self, instance_id: str) -> None:
        """Someone in the guest says ``poweroff``."""
        self._turn_off(instance_id, "guest-shutdown")

    def panic(self, instance_id: str) -> None:
        """The guest's kernel gives up: it runs on, dead."""
        self.change(instance_id, impaired=True)

    def guest_reboot(self, instance_id: str) -> None:
        """Someone in the guest says ``reboot``: it comes up again in the same boot."""
        self.change(instance_id, impaired=False)
        self.print(instance_id, "reboot")

    def restart(self) -> None:
        """The host itself lost power and came back."""
        for instance_id, guest in list(self.guests.items()):
            if guest.running:
                self._turn_off(instance_id, "host-restart")

    def change(self, instance_id: str, **facts: object) -> None:
        """Sets fields of a guest's state and tells the driver, if one is open."""
        self.guests[instance_id] = msgspec.structs.replace(self.guests[instance_id], **facts)
        if self.on_change is not None:
            self.on_change(instance_id)

    def lets_go(self, instance_id: str) -> None:
        """The guest answers what it was asked to unplug."""
        self.keeps_disks.discard(instance_id)
        for one in self.unplugging.pop(instance_id, set()):
            self.disks[instance_id].pop(one, None)
            self.nics[instance_id].pop(one, None)
        self.show_hardware(instance_id)

    def show_hardware(self, instance_id: str) -> None:
        """Makes the guest's state tell of its disks and interfaces, and tells the driver."""
        volumes, interfaces = (sorted(kind.get(instance_id, {})) for kind in (self.disks, self.nics))
        self.change(instance_id, volumes=tuple(volumes), interfaces=tuple(interfaces))

    def print(self, instance_id: str, line: str) -> None:
        """The guest writes a line to its serial console."""
        text = self.consoles.get(instance_id, b"") + line.encode() + b"\r\n"
        self.consoles[instance_id] = text[-_CONSOLE_LIMIT:]

    def _turn_off(self, instance_id: str, cause: Cause) -> None:
        if self.guests[instance_id].running:
            self.drop_hardware(instance_id)
            self.change(instance_id, running=False, impaired=False, cause=cause, volumes=(), interfaces=())

    def drop_hardware(self, instance_id: str) -> None:
        """The process is gone, and what it held with it."""
        self.disks.pop(instance_id, None)
        self.nics.pop(instance_id, None)
        self.unplugging.pop(instance_id, None)


class FakeHypervisor:
    """The hypervisor driver ``fake``. Guests reach ``running`` at once unless the host has a ``boot_delay``."""

    accelerator = "fake"

    def __init__(self, host: FakeHost | None = None, clock: Clock | None = None) -> None:
        self.host = FakeHost() if host is None else host
        self._clock = SystemClock() if clock is None else clock

    async def open(self, on_change: Callable[[str], None]) -> None:
        self.host.on_change = on_change

    async def close(self) -> None:
        self.host.on_change = None

    async def ensure_running(
        self, guest: GuestSpec, boot_files: BootFiles, disks: Sequence[Disk], taps: Mapping[str, int]
    ) -> None:
        known = self.host.guests.get(guest.instance_id)
        if known is not None and known.running:
            if known.boot == guest.boot:
                return
            await self.cut_power(guest.instance_id)
        if self.host.fail_next is not None:
            error, self.host.fail_next = self.host.fail_next, None
            raise error
        if self.host.boot_delay:
            await self._clock.sleep(self.host.boot_delay)
        for disk in disks:
            self._lock(guest.instance_id, disk)
        self.host.starts.append(guest.instance_id)
        self.host.disks[guest.instance_id] = {disk.volume_id: disk for disk in disks}
        self.host.nics[guest.instance_id] = {nic.interface_id: nic for nic in guest.nics}
        self.host.guests[guest.instance_id] = GuestState(
            instance_id=guest.instance_id,
            boot=guest.boot,
            reset=guest.reset,
            running=True,
            volumes=tuple(sorted(disk.volume_id for disk in disks)),
            interfaces=tuple(sorted(nic.interface_id for nic in guest.nics)),
        )
        self.host.print(guest.instance_id, f"{guest.instance_id} boot {guest.boot}")
        self.host.change(guest.instance_id)

    async def reset(self, instance_id: str, reset: int) -> None:
        guest = self.host.guests.get(instance_id)
        if guest is not None and guest.running and guest.reset < reset:
            self.host.print(instance_id, f"reset {reset}")
            self.host.change(instance_id, reset=reset, impaired=False)

    async def press_power_button(self, instance_id: str) -> None:
        guest = self.host.guests.get(instance_id)
        if guest is not None and guest.running and instance_id not in self.host.ignores_power_button:
            await self.cut_power(instance_id)

    async def cut_power(self, instance_id: str) -> None:
        guest = self.host.guests.get(instance_id)
        if guest is not None and guest.running:
            self.host.drop_hardware(instance_id)
            self.host.change(instance_id, running=False, impaired=False, cause="asked", volumes=(), interfaces=())

    async def remove(self, instance_id: str) -> None:
        self.host.drop_hardware(instance_id)
        self.host.guests.pop(instance_id, None)
        self.host.consoles.pop(instance_id, None)

    async def observe(self) -> Sequence[GuestState]:
        return list(self.host.guests.values())

    async def plug(self, instance_id: str, disk: Disk) -> None:
        disks = self._disks_for("plug", instance_id)
        if disks is None:
            return
        if disk.volume_id in self.host.unplugging.get(instance_id, ()):
            raise RetryableError(f"{instance_id} is still unplugging {disk.volume_id}")
        known = disks.get(disk.volume_id)
        if known is None:
            if not disk.layers:
                raise RetryableError(f"{instance_id} does not have {disk.volume_id} any more")
            self._lock(instance_id, disk)
            disks[disk.volume_id] = disk
        else:
            size = max(known.size or 0, disk.size or 0) or None
            disks[disk.volume_id] = msgspec.structs.replace(
                known, size=size, iops=disk.iops, throughput=disk.throughput
            )
        self.host.show_hardware(instance_id)

    async def unplug(self, instance_id: str, volume_id: str, *, force: bool = False) -> None:
        if (disks := self._disks_for("unplug", instance_id)) is not None:
            self._take_out(instance_id, disks, volume_id, force=force)

    async def plug_nic(self, instance_id: str, nic: NicSpec, tap: int) -> None:
        nics = self._nics_for("plug_nic", instance_id)
        if nics is None:
            return
        if nic.interface_id in self.host.unplugging.get(instance_id, ()):
            raise RetryableError(f"{instance_id} is still unplugging {nic.interface_id}")
        nics.setdefault(nic.interface_id, nic)
        self.host.show_hardware(instance_id)

    async def unplug_nic(self, instance_id: str, interface_id: str, *, force: bool = False) -> None:
        if (nics := self._nics_for("unplug_nic", instance_id)) is not None:
            self._take_out(instance_id, nics, interface_id, force=force)

    async def freeze(self, instance_id: str, tops: Mapping[str, DiskLayer]) -> None:
        disks = self._disks_for("freeze", instance_id)
        if disks is None:
            return
        for volume_id in tops:
            if volume_id not in disks:
                raise PermanentError(f"{volume_id} is not in {instance_id}")
        fresh = tuple(volume for volume, top in tops.items() if disks[volume].layers[0].path != top.path)
        for volume_id in fresh:
            below, *rest = disks[volume_id].layers
            frozen = msgspec.structs.replace(below, writable=False, mergeable=True)
            self._put_layers(disks, volume_id, (tops[volume_id], frozen, *rest))
        if fresh:
            self.host.freezes.append(fresh)

    async def merge(self, instance_id: str, volume_id: str, layer: Path) -> None:
        disks = self._disks_for("merge", instance_id)
        if disks is None or volume_id not in disks:
            return
        layers = disks[volume_id].layers
        paths = [known.path for known in layers]
        if layer not in paths:
            return
        place = paths.index(layer)
        if place == 0 or place + 1 == len(layers) or not layers[place + 1].mergeable:
            raise PermanentError(f"{layer} of {volume_id} has nothing above it, or nothing below it to be merged into")
        self._put_layers(disks, volume_id, (*layers[:place], *layers[place + 1 :]))

    async def swap_base(self, instance_id: str, volume_id: str, base: DiskLayer) -> None:
        disks = self._disks_for("swap_base", instance_id)
        if disks is None or volume_id not in disks:
            return
        layers = disks[volume_id].layers
        if len(layers) == 1:
            raise PermanentError(f"{volume_id} has no base")
        self._put_layers(disks, volume_id, (*layers[:-1], base))

    async def console_output(self, instance_id: str) -> bytes:
        return self.host.consoles.get(instance_id, b"")

    async def screenshot(self, instance_id: str) -> bytes:
        guest = self.host.guests.get(instance_id)
        if guest is None or not guest.running:
            raise PermanentError(f"{instance_id} does not run")
        return _black_png(64, 48)

    def _disks_for(self, operation: str, instance_id: str) -> dict[str, Disk] | None:
        """The disks of a running guest, None when it is off. Raises what the test asked for."""
        if (error := self.host.fail_on.pop(operation, None)) is not None:
            raise error
        guest = self.host.guests.get(instance_id)
        return self.host.disks[instance_id] if guest is not None and guest.running else None

    def _nics_for(self, operation: str, instance_id: str) -> dict[str, NicSpec] | None:
        """As ``_disks_for``."""
        return None if self._disks_for(operation, instance_id) is None else self.host.nics[instance_id]

    def _take_out(self, instance_id: str, there: dict[str, Any], name: str, *, force: bool) -> None:
        """Takes a disk or an interface from a guest, unless the guest keeps it."""
        if name not in there:
            return
        unplugging = self.host.unplugging.setdefault(instance_id, set())
        if force or instance_id not in self.host.keeps_disks:
            del there[name]
            unplugging.discard(name)
            self.host.show_hardware(instance_id)
        else:
            unplugging.add(name)

    def _put_layers(self, disks: dict[str, Disk], volume_id: str, layers: tuple[DiskLayer, ...]) -> None:
        disks[volume_id] = msgspec.structs.replace(disks[volume_id], layers=layers)

    def _lock(self, instance_id: str, disk: Disk) -> None:
        """Two guests never write one file; what a server exports they may share."""
        wanted = {layer.path for layer in disk.layers if _is_own(layer)}
        for other, disks in self.host.disks.items():
            held = {layer.path for known in disks.values() for layer in known.layers if _is_own(layer)}
            if other != instance_id and held & wanted:
                raise RetryableError(f"{other} has {disk.volume_id}")


def _is_own(layer: DiskLayer) -> bool:
    return layer.format != "nbd" and (layer.writable or layer.mergeable)


def _black_png(width: int, height: int) -> bytes:
    """A black picture. Source: RFC 2083."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = (b"\0" * (width + 1)) * height
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
