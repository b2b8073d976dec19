"""The hypervisor driver ``qemu``. Started by ``pileus.cmd`` for the agent."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pileus.base.clock import Clock, SystemClock
from pileus.drivers.errors import PermanentError, RetryableError
from pileus.drivers.hypervisor.interface import BootFiles, Disk, DiskLayer, GuestState
from pileus.drivers.hypervisor.qemu import confinement, nodes
from pileus.drivers.hypervisor.qemu.cgroup import Cgroups
from pileus.drivers.hypervisor.qemu.guest import Guest
from pileus.drivers.hypervisor.qemu.home import Home, Record, host_boot_id, tidy
from pileus.drivers.hypervisor.qemu.launch import Machine
from pileus.drivers.hypervisor.qemu.process import holders
from pileus.hostapi.spec import GuestSpec, NicSpec

_T = TypeVar("_T")

_SHORTEST_STEP, _LONGEST_STEP = 0.02, 0.5  # seconds between looks at a merge


class QemuHypervisor:
    """Runs each guest in a confined QEMU of its own, which outlives this object and its process.

    Args:
        root: the host's data directory; guests are kept below ``root / "guests"``.
        accelerator: ``kvm`` or ``tcg``, as ``accelerator.probe`` found.
        uids: the user ids that guests get, one each; nobody else may have them.
        clock: the time.
        binary: QEMU.
        reset_limit: seconds after which a guest that was asked to reboot is reset hard.
        monitor_limit: seconds in which QEMU must answer, before the guest counts as impaired.
        start_limit: seconds in which a fresh QEMU must answer.

    Attributes:
        accelerator: as given.
        unlimited: cgroup controllers that this machine doesn't let us use; empty when all limits hold.
    """

    def __init__(
        self,
        root: Path,
        accelerator: str = "tcg",
        uids: range = confinement.DEFAULT_UIDS,
        clock: Clock | None = None,
        *,
        binary: str = "qemu-system-x86_64",
        reset_limit: float = 240.0,
        monitor_limit: float = 10.0,
        start_limit: float = 30.0,
    ) -> None:
        self.accelerator = accelerator
        cgroups = Cgroups()
        self.unlimited = cgroups.missing
        self._directory = root / "guests"
        self._uids = uids
        self._machine = Machine(
            accelerator=accelerator,
            binary=binary,
            cgroups=cgroups,
            clock=SystemClock() if clock is None else clock,
            host_boot=host_boot_id(),
            reset_limit=reset_limit,
            monitor_limit=monitor_limit,
            start_limit=start_limit,
        )
        self._guests: dict[str, Guest] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._on_change: Callable[[str], None] = lambda _: None

    async def open(self, on_change: Callable[[str], None]) -> None:
        """Finds the guests of an earlier agent, repairs what it left half done, and starts to watch them."""
        self._on_change = on_change
        homes = await asyncio.to_thread(tidy, self._directory)
        locked = [home.lock for home in homes if home.is_locked()]
        pids = await asyncio.to_thread(holders, locked)
        async with asyncio.TaskGroup() as group:
            for home in homes:
                record = home.load()
                assert record is not None
                guest = self._guests[record.instance_id] = Guest(home, record, self._machine, self._changed)
                group.create_task(guest.adopt(pids.get(home.lock)))

    async def close(self) -> None:
        """Lets go of the guests: they run on."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        for guest in self._guests.values():
            await guest.let_go()
        self._guests.clear()

    async def ensure_running(
        self, guest: GuestSpec, boot_files: BootFiles, disks: Sequence[Disk], taps: Mapping[str, int]
    ) -> None:
        """Starts the guest unless it runs at this boot.

        Raises:
            PermanentError: a file is missing or damaged, a serial is too long.
            RetryableError: anything else; nothing runs.
        """
        for disk in disks:
            nodes.check(disk)
        known = self._guests.get(guest.instance_id)
        if known is None:
            uid = confinement.free_uid(self._uids, {other.record.uid for other in self._guests.values()})
            record = Record(instance_id=guest.instance_id, uid=uid)
            known = Guest(Home(self._directory / guest.instance_id), record, self._machine, self._changed)
            self._guests[guest.instance_id] = known
        # The caller may be cancelled and close its taps while the start goes on.
        held = {interface: os.dup(tap) for interface, tap in taps.items()}
        await self._to_the_end(_closing(held.values(), known.start(guest, boot_files, disks, held)))

    async def reset(self, instance_id: str, reset: int) -> None:
        """Asks for a reboot; see the interface."""
        if (guest := self._guests.get(instance_id)) is not None:
            await self._to_the_end(guest.reset(reset))

    async def press_power_button(self, instance_id: str) -> None:
        """Presses the power button, every few seconds until the guest is off."""
        if (guest := self._guests.get(instance_id)) is not None:
            await self._to_the_end(guest.press_power_button())

    async def cut_power(self, instance_id: str) -> None:
        """Ends the guest's process and waits until it is gone."""
        if (guest := self._guests.get(instance_id)) is not None:
            await self._to_the_end(guest.cut_power())

    async def remove(self, instance_id: str) -> None:
        """Cuts the power and removes everything kept for the guest."""
        if (guest := self._guests.get(instance_id)) is not None:
            await self._to_the_end(guest.remove())
            if self._guests.get(instance_id) is guest:
                del self._guests[instance_id]

    async def observe(self) -> Sequence[GuestState]:
        """Every guest of which a start was completed."""
        states = (guest.state() for guest in self._guests.values())
        return [state for state in states if state is not None]

    async def plug(self, instance_id: str, disk: Disk) -> None:
        """Adds a disk to a running guest, or gives one that is there its size and limits; see the interface."""
        if (guest := self._guests.get(instance_id)) is not None:
            await self._to_the_end(guest.plug(disk))

    async def unplug(self, instance_id: str, volume_id: str, *, force: bool = False) -> None:
        """Asks the guest to let a disk go, or takes its data away; see the interface."""
        if (guest := self._guests.get(instance_id)) is not None:
            await self._to_the_end(guest.unplug(volume_id, force=force))

    async def plug_nic(self, instance_id: str, nic: NicSpec, tap: int) -> None:
        """Adds an interface to a running guest; see the interface."""
        if (guest := self._guests.get(instance_id)) is not None:
            held = os.dup(tap)  # the caller may be cancelled and close its own while the work goes on
            await self._to_the_end(_closing([held], guest.plug_nic(nic, held)))

    async def unplug_nic(self, instance_id: str, interface_id: str, *, force: bool = False) -> None:
        """Asks the guest to let an interface go, or takes its tap away; see the interface."""
        if (guest := self._guests.get(instance_id)) is not None:
            await self._to_the_end(guest.unplug_nic(interface_id, force=force))

    async def freeze(self, instance_id: str, tops: Mapping[str, DiskLayer]) -> None:
        """Puts fresh layers over volumes of a running guest, all at one instant; see the interface."""
        if (guest := self._guests.get(instance_id)) is not None:
            await self._to_the_end(guest.freeze(tops))

    async def merge(self, instance_id: str, volume_id: str, layer: Path) -> None:
        """Merges a frozen layer into the one below. May be cancelled: the next call goes on with it."""
        guest = self._guests.get(instance_id)
        if guest is None or (pid := guest.pid) is None:
            return
        pause = _SHORTEST_STEP
        while not await self._to_the_end(guest.merge_step(pid, volume_id, layer)):
            await self._machine.clock.sleep(pause)
            pause = min(2 * pause, _LONGEST_STEP)
            if self._guests.get(instance_id) is not guest:
                raise RetryableError(f"{instance_id} is not looked after any more")

    async def swap_base(self, instance_id: str, volume_id: str, base: DiskLayer) -> None:
        """Exchanges the lowest layer of a volume; see the interface."""
        if (guest := self._guests.get(instance_id)) is not None:
            await self._to_the_end(guest.swap_base(volume_id, base))

    async def console_output(self, instance_id: str) -> bytes:
        """The last 64 KiB of the serial console, over all boots."""
        guest = self._guests.get(instance_id)
        return b"" if guest is None else await self._to_the_end(guest.console_output())

    async def screenshot(self, instance_id: str) -> bytes:
        """The screen as PNG. Raises PermanentError when the guest is not running."""
        guest = self._guests.get(instance_id)
        if guest is None:
            raise PermanentError(f"{instance_id} is not here")
        return await self._to_the_end(guest.screenshot())

    def pid(self, instance_id: str) -> int | None:
        """The process id of a guest's QEMU, None while it is off."""
        guest = self._guests.get(instance_id)
        return None if guest is None else guest.pid

    def _changed(self, instance_id: str) -> None:
        self._on_change(instance_id)

    async def _to_the_end(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Does ``work`` even when the caller is cancelled meanwhile: nothing is ever left half done by that."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except OSError as error:
            raise RetryableError(str(error)) from error


async def _closing(descriptors: Iterable[int], work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
