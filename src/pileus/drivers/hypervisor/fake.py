"""Guests that exist in memory alone, for tests and the simulated cloud.

The guests live in a ``FakeHost``, which outlives the driver as QEMU outlives the agent: a second ``FakeHypervisor`` on
the same host finds them. The host's methods are what may befall a guest from outside.
"""

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence

import msgspec

from pileus.base.clock import Clock, SystemClock
from pileus.drivers.errors import DriverError, PermanentError
from pileus.drivers.hypervisor.interface import BootFiles, Disk, GuestState
from pileus.hostapi.observation import Cause
from pileus.hostapi.spec import GuestSpec

_CONSOLE_LIMIT = 64 * 1024


class FakeHost:
    """The machine under a fake hypervisor, with the guests on it.

    Attributes:
        boot_delay: seconds that a start takes.
        fail_next: an error that the next start raises instead of starting.
        ignores_power_button: instances that must be unplugged.
        guests: instance id → what is so; tests may read it.
        starts: instance ids in the order in which they were started, for counting.
    """

    def __init__(self, boot_delay: float = 0.0) -> None:
        self.boot_delay = boot_delay
        self.fail_next: DriverError | None = None
        self.ignores_power_button: set[str] = set()
        self.guests: dict[str, GuestState] = {}
        self.consoles: dict[str, bytes] = {}
        self.starts: list[str] = []
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

    def print(self, instance_id: str, line: str) -> None:
        """The guest writes a line to its serial console."""
        text = self.consoles.get(instance_id, b"") + line.encode() + b"\r\n"
        self.consoles[instance_id] = text[-_CONSOLE_LIMIT:]

    def _turn_off(self, instance_id: str, cause: Cause) -> None:
        if self.guests[instance_id].running:
            self.change(instance_id, running=False, impaired=False, cause=cause)


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
        self.host.starts.append(guest.instance_id)
        self.host.guests[guest.instance_id] = GuestState(
            instance_id=guest.instance_id, boot=guest.boot, reset=guest.reset, running=True
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
            self.host.change(instance_id, running=False, impaired=False, cause="asked")

    async def remove(self, instance_id: str) -> None:
        self.host.guests.pop(instance_id, None)
        self.host.consoles.pop(instance_id, None)

    async def observe(self) -> Sequence[GuestState]:
        return list(self.host.guests.values())

    async def console_output(self, instance_id: str) -> bytes:
        return self.host.consoles.get(instance_id, b"")

    async def screenshot(self, instance_id: str) -> bytes:
        guest = self.host.guests.get(instance_id)
        if guest is None or not guest.running:
            raise PermanentError(f"{instance_id} does not run")
        return _black_png(64, 48)


def _black_png(width: int, height: int) -> bytes:
    """A black picture. Source: RFC 2083."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = (b"\0" * (width + 1)) * height
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
