"""One guest over its whole life: started, watched, asked, ended. Called by ``driver``, one object for each guest.

What is meant to be is in the record on disk; what is so is asked of QEMU. One task for each running guest, the keeper,
visits it whenever QEMU reports an event and every few seconds besides, compares the two and does what is missing. The
same visit repairs what an agent that was killed left half done, so there is no other path for that.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from pileus.drivers.errors import PermanentError, RetryableError
from pileus.drivers.hypervisor.interface import BootFiles, Disk, DiskLayer, GuestState
from pileus.drivers.hypervisor.qemu import command, merge
from pileus.drivers.hypervisor.qemu.console import Console
from pileus.drivers.hypervisor.qemu.disks import Disks, refusal
from pileus.drivers.hypervisor.qemu.home import Home, Record
from pileus.drivers.hypervisor.qemu.launch import Machine, launch, limits_of
from pileus.drivers.hypervisor.qemu.monitor import Monitor, MonitorError, Refused
from pileus.drivers.hypervisor.qemu.nics import Nics
from pileus.drivers.hypervisor.qemu.process import GuestProcess
from pileus.hostapi.observation import Cause
from pileus.hostapi.spec import GuestSpec, NicSpec

_logger = logging.getLogger(__name__)

_SHORTEST_VISIT, _LONGEST_VISIT = 0.25, 5.0  # seconds between visits: while the guest prints, and while it is silent
_LAST_BREATH = 0.25  # seconds between a process's connections closing and its end
_PRESS_EVERY = 5.0  # seconds: a guest that still boots does not hear its power button


class Guest:
    """A guest known on this host, running or off."""

    def __init__(self, home: Home, record: Record, machine: Machine, on_change: Callable[[str], None]) -> None:
        self.record = record
        self._home = home
        self._machine = machine
        self._on_change = on_change
        self._console = Console(home.console, command.CONSOLE_LIMIT)
        self._disks = Disks(record.instance_id)
        self._nics = Nics(record.instance_id)
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._process: GuestProcess | None = None
        self._monitor: Monitor | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._removed = False
        self._was_reset = False
        self._stuck = False
        self._reported: GuestState | None = None
        self._next_press = self._reset_deadline = self._next_unplug = 0.0

    @property
    def pid(self) -> int | None:
        """The process id of its QEMU, None while it is off."""
        return None if self._process is None else self._process.pid

    def state(self) -> GuestState | None:
        """What is so; None while no start was ever completed."""
        record, running = self.record, self._process is not None
        if not record.boot:
            return None
        return GuestState(
            instance_id=record.instance_id,
            boot=record.boot,
            reset=record.reset,
            running=running,
            impaired=running and (self._stuck or record.panicked),
            cause="" if running else record.cause,
            volumes=record.volumes if running else (),
            interfaces=record.interfaces if running else (),
        )

    async def adopt(self, pid: int | None) -> None:
        """Takes over what an earlier agent left: ``pid`` is the guest's process, if there is one."""
        async with self._lock:
            process = None if pid is None else GuestProcess.find(pid, self._home.lock)
            if process is not None and self.record.power == "on":
                self._process = process
            elif process is not None:  # killed between fork and record, or between record and end
                await process.end()
            elif self.record.power == "on":
                came_back = self.record.host_boot != self._machine.host_boot
                await self._record_off("host-restart" if came_back else self._cause_of_exit())
            self._reported = self.state()
        self._reset_deadline = self._machine.clock.monotonic() + self._machine.reset_limit
        await self._visit()  # it may have shut down while nobody was there
        if self._process is not None:
            self._keep()

    async def start(
        self, guest: GuestSpec, boot_files: BootFiles, disks: Sequence[Disk], taps: Mapping[str, int]
    ) -> None:
        """Starts it unless it runs at this boot. Raises RetryableError or PermanentError."""
        async with self._lock:
            if self._removed:
                raise RetryableError(f"{guest.instance_id} was removed meanwhile")
            if self._process is not None:
                if self.record.boot == guest.boot:
                    return
                await self._end("asked")
            if self._keeper is not None:
                self._keeper.cancel()
            await self._home.save(self.record)
            process = launch(self._machine, self._home, self.record.uid, guest, boot_files, disks, taps)
            try:
                await self._release(process, guest, disks)
            except BaseException as error:
                await process.kill()
                complaints = process.complaints()
                process.let_go()
                if isinstance(error, (MonitorError, OSError)):
                    raise refusal(f"{guest.instance_id} can't start", complaints or str(error)) from error
                raise
            self._process = process
            self._keep()

    async def press_power_button(self) -> None:
        """Presses it, and again every few seconds until the guest is off."""
        async with self._lock:
            if self._process is not None and not self.record.asked:
                await self._write(asked=True)
                self._next_press = 0.0
                self._wake.set()

    async def reset(self, number: int) -> None:
        """Asks for a reboot: power button, and the machine is reset when the guest has shut down, or at the limit."""
        async with self._lock:
            if self._process is None or number <= max(self.record.reset, self.record.resetting or 0):
                return
            await self._write(resetting=number)
            self._next_press = 0.0
            self._reset_deadline = self._machine.clock.monotonic() + self._machine.reset_limit
            self._wake.set()

    async def cut_power(self) -> None:
        """Ends the process and waits until it is gone."""
        async with self._lock:
            if self._process is not None:
                await self._end("asked")

    async def remove(self) -> None:
        """Ends the process, then forgets everything."""
        async with self._lock:
            if self._process is not None:
                await self._end("asked")
            self._removed = True
            await self._machine.cgroups.remove(self.record.instance_id)
            if self._home.path.exists():
                await self._home.remove()

    async def console_output(self) -> bytes:
        """The last of the serial console, up to this moment."""
        async with self._lock:
            with contextlib.suppress(MonitorError):
                await self._drain()
            return self._console.read()

    async def screenshot(self) -> bytes:
        """The screen as PNG. Raises PermanentError when it is off, RetryableError when QEMU doesn't answer."""
        async with self._lock:
            if self._process is None:
                raise PermanentError(f"{self.record.instance_id} does not run")
            try:
                return await (await self._connected()).screenshot()
            except MonitorError as error:
                raise RetryableError(str(error)) from error

    # Disks and interfaces: nothing is done while the guest is off.

    async def plug(self, disk: Disk) -> None:
        """Adds a disk, or gives one that is there its size and limits. Raises DriverError."""
        async with self._at_hardware() as monitor:
            if monitor is not None:
                assert self._process is not None
                if disk.volume_id not in self.record.volumes:
                    # On record first: whatever happens, nobody takes it to be free while QEMU may have it.
                    await self._write(volumes=tuple(sorted({*self.record.volumes, disk.volume_id})))
                    self._disks.unsettled = True
                await self._disks.plug(monitor, self._process.pid, disk)

    async def unplug(self, volume_id: str, *, force: bool) -> None:
        """Asks for the disk; ``force`` takes its data away at once. Raises DriverError."""
        async with self._at_hardware() as monitor:
            if monitor is not None:
                await self._disks.unplug(monitor, volume_id, force=force)
                self._next_unplug = self._machine.clock.monotonic() + _PRESS_EVERY

    async def plug_nic(self, nic: NicSpec, tap: int) -> None:
        """Adds an interface. Raises DriverError."""
        async with self._at_hardware() as monitor:
            if monitor is not None:
                if nic.interface_id not in self.record.interfaces and nic.interface_id not in self.record.cut:
                    await self._write(interfaces=tuple(sorted({*self.record.interfaces, nic.interface_id})))
                    self._nics.unsettled = True
                await self._nics.plug(monitor, nic, tap, self.record.cut)

    async def unplug_nic(self, interface_id: str, *, force: bool) -> None:
        """Asks for the interface; ``force`` takes its tap away at once. Raises DriverError."""
        async with self._at_hardware() as monitor:
            if monitor is not None:
                await self._nics.unplug(monitor, interface_id)
                self._next_unplug = self._machine.clock.monotonic() + _PRESS_EVERY
                if force and interface_id in self.record.interfaces:
                    await self._write(cut=tuple(sorted({*self.record.cut, interface_id})))

    async def freeze(self, tops: Mapping[str, DiskLayer]) -> None:
        """Puts fresh layers over volumes. Raises DriverError."""
        async with self._at_hardware() as monitor:
            if monitor is not None:
                assert self._process is not None
                await self._disks.freeze(monitor, self._process.pid, tops)

    async def merge_step(self, pid: int, volume_id: str, layer: Path) -> bool:
        """Merges a layer as far as it goes now; says whether that is done. Raises DriverError; also when another process
        than ``pid`` runs: what it has of the chain is another matter.
        """
        async with self._at_hardware() as monitor:
            if monitor is None or self.pid != pid:
                raise RetryableError(f"{self.record.instance_id} went off while {volume_id} was merged")
            done = await merge.step(monitor, volume_id, layer)
            self._disks.unsettled |= done
            return done

    async def swap_base(self, volume_id: str, base: DiskLayer) -> None:
        """Exchanges the lowest layer of a volume. Raises DriverError."""
        async with self._at_hardware() as monitor:
            if monitor is not None:
                assert self._process is not None
                await self._disks.swap_base(monitor, self._process.pid, volume_id, base)

    @contextlib.asynccontextmanager
    async def _at_hardware(self) -> AsyncGenerator[Monitor | None]:
        """The monitor, for work that nobody else does meanwhile; None when the guest is off.

        What the work changed is on record and told when it ends. Raises RetryableError when QEMU refuses or is silent.
        """
        async with self._lock:
            if self._process is None or self._process.ended.is_set():
                yield None
                return
            try:
                monitor = await self._connected()
                try:
                    yield monitor
                finally:
                    if self._disks.unsettled:
                        await self._look_at_hardware(monitor)
                    if self._nics.unsettled:
                        await self._look_at_nics(monitor)
            except Refused as error:
                raise RetryableError(str(error)) from error
            except MonitorError as error:
                await self._hang_up()
                raise RetryableError(str(error)) from error
            finally:
                self._tell()

    async def let_go(self) -> None:
        """Stops watching. The guest runs on."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await self._hang_up()
        if self._process is not None:
            self._process.let_go()

    # Starting and keeping: the lock is held, except by the keeper between its visits.

    async def _release(self, process: GuestProcess, guest: GuestSpec, disks: Sequence[Disk]) -> None:
        """Lets a QEMU that was created stopped run its guest, once it is limited and on record."""
        self._machine.cgroups.enter(guest.instance_id, process.pid, limits_of(guest))
        self._monitor = await self._connect(self._machine.start_limit)
        before = self.record
        try:
            await self._disks.begin(self._monitor, disks)
            await self._write(
                boot=guest.boot,
                reset=guest.reset,
                power="on",
                cause="",
                host_boot=self._machine.host_boot,
                asked=False,
                resetting=None,
                panicked=False,
                volumes=tuple(sorted(disk.volume_id for disk in disks)),
                interfaces=tuple(sorted(nic.interface_id for nic in guest.nics)),
                cut=(),
            )
            await self._monitor.execute("cont")
        except BaseException:
            await self._hang_up()
            self.record = before
            await self._home.save(before)
            raise
        self._stuck = self._was_reset = False

    def _keep(self) -> None:
        assert self._process is not None
        self._reported = self.state()
        self._keeper = asyncio.create_task(self._keep_watch(self._process))

    async def _keep_watch(self, process: GuestProcess) -> None:
        ended = asyncio.create_task(process.ended.wait())
        pause = _SHORTEST_VISIT
        try:
            while self._process is process:
                await self._pause(ended, pause)
                printed = await self._visit()
                pause = _SHORTEST_VISIT if printed else min(2 * pause, _LONGEST_VISIT)
        except Exception:
            _logger.exception("a guest is not watched any more", extra={"instance": self.record.instance_id})
            raise
        finally:
            ended.cancel()

    async def _pause(self, ended: asyncio.Task[bool], seconds: float) -> None:
        woken = asyncio.create_task(self._wake.wait())
        reasons = {woken} if ended.done() else {woken, ended}  # the end wakes us once, even if it can't be recorded yet
        await asyncio.wait(reasons, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        woken.cancel()
        self._wake.clear()

    async def _visit(self) -> bool:
        """Does what is missing; says whether the guest printed anything. Reports a change of state."""
        printed = False
        async with self._lock:
            if self._process is None:
                return False
            try:
                if self._process.ended.is_set():
                    await self._bury()
                else:
                    printed = await self._drain()
                    await self._settle()
            except MonitorError as error:
                await self._hang_up()
                # A connection that broke may be the first that we see of the process's end; then the next visit buries it.
                self._stuck = not await self._process.ends_within(_LAST_BREATH)
                if self._stuck:
                    _logger.warning(
                        "a guest's monitor is silent: %s", error, extra={"instance": self.record.instance_id}
                    )
            except OSError as error:  # the record can't be written: the next visit tries again
                _logger.warning("a guest can't be looked after: %s", error, extra={"instance": self.record.instance_id})
        self._tell()
        return printed

    def _tell(self) -> None:
        """Reports a change of state."""
        state = self.state()
        if state != self._reported:
            self._reported = state
            self._on_change(self.record.instance_id)

    async def _settle(self) -> None:
        """Compares QEMU's run state with the record. Raises MonitorError."""
        monitor = await self._connected()
        if self._was_reset:
            self._was_reset = False
            await self._write(reset=self.record.resetting or self.record.reset, resetting=None, panicked=False)
        status = await monitor.status()
        self._stuck = status in {"internal-error", "io-error"}
        match status:
            case "shutdown" if self.record.resetting and not self.record.asked:
                await monitor.execute("system_reset")
            case "shutdown":
                await self._end("asked" if self.record.asked else "guest-shutdown")
            case "guest-panicked":
                await self._write(panicked=True)
                await monitor.execute("cont")  # whether it hangs or restarts now is the guest's own setting
            case "prelaunch" | "io-error":  # a reset is done, or the host's disk was full: on with it
                await monitor.execute("cont")
            case _:
                await self._nudge(monitor)
        if self._process is not None:
            await self._settle_hardware(monitor)

    async def _settle_hardware(self, monitor: Monitor) -> None:
        """Looks whether the guest let go of anything, and asks again for what it didn't. Raises MonitorError."""
        now = self._machine.clock.monotonic()
        if now >= self._next_unplug:
            self._next_unplug = now + _PRESS_EVERY
            await self._disks.nudge(monitor)
            await self._nics.nudge(monitor)
        if self._disks.unsettled:
            await self._look_at_hardware(monitor)
        if self._nics.unsettled:
            await self._look_at_nics(monitor)

    async def _look_at_hardware(self, monitor: Monitor) -> None:
        volumes = await self._disks.sweep(monitor)
        if volumes != self.record.volumes:
            await self._write(volumes=volumes)

    async def _look_at_nics(self, monitor: Monitor) -> None:
        known = self.record.interfaces, self.record.cut
        found = await self._nics.sweep(monitor, *known)
        if found != known:
            await self._write(interfaces=found[0], cut=found[1])

    async def _nudge(self, monitor: Monitor) -> None:
        """Reminds the guest of what it was asked for."""
        now = self._machine.clock.monotonic()
        hopeless = self.record.panicked or self._stuck or now >= self._reset_deadline
        if self.record.resetting and not self.record.asked and hopeless:
            await monitor.execute("system_reset")
        elif (self.record.resetting or self.record.asked) and now >= self._next_press:
            self._next_press = now + _PRESS_EVERY
            await monitor.execute("system_powerdown")

    def _on_event(self, name: str) -> None:
        if name == "RESET":
            self._was_reset = True
        if name == "DEVICE_DELETED":
            self._disks.unsettled = self._nics.unsettled = True
        self._wake.set()

    # Parts of the above: the lock is held.

    async def _connected(self) -> Monitor:
        if self._monitor is None:
            self._monitor = await self._connect(self._machine.monitor_limit)
            self._disks.unsettled = self._nics.unsettled = True
        return self._monitor

    async def _connect(self, first_limit: float) -> Monitor:
        limit = self._machine.monitor_limit
        return await Monitor.connect(self._home.monitor, limit, self._on_event, first_limit=first_limit)

    async def _hang_up(self) -> None:
        monitor, self._monitor = self._monitor, None
        if monitor is not None:
            await monitor.close()

    async def _drain(self) -> bool:
        """Takes what the guest printed out of QEMU's ring. Raises MonitorError."""
        if self._process is None:
            return False
        text = await (await self._connected()).read_ring(command.CONSOLE_DEVICE, command.CONSOLE_LIMIT)
        try:
            if text:
                self._console.append(text)
        except OSError as error:
            _logger.warning("console output is lost: %s", error, extra={"instance": self.record.instance_id})
        return bool(text)

    async def _end(self, cause: Cause) -> None:
        """Ends the process and waits until it is gone."""
        assert self._process is not None
        if self._monitor is not None:  # else it is silent, and we would only wait
            with contextlib.suppress(MonitorError):
                await self._drain()
        await self._record_off(cause)
        await self._process.end()
        await self._forget_process()

    async def _bury(self) -> None:
        """The process ended by itself."""
        assert self._process is not None
        _logger.warning(
            "a guest's process ended: %s",
            self._process.complaints() or "it said nothing",
            extra={"instance": self.record.instance_id, "status": self._process.status},
        )
        await self._record_off(self._cause_of_exit())
        await self._forget_process()

    async def _forget_process(self) -> None:
        await self._hang_up()
        assert self._process is not None
        self._process.let_go()
        self._process = None
        self._disks.forget()
        self._nics.forget()
        self._wake.set()

    def _cause_of_exit(self) -> Cause:
        return "asked" if self.record.asked else "crash"

    async def _record_off(self, cause: Cause) -> None:
        facts = {"asked": False, "resetting": None, "panicked": False, "volumes": (), "interfaces": (), "cut": ()}
        await self._write(power="off", cause=cause, **facts)

    async def _write(self, **facts: object) -> None:
        record = msgspec.structs.replace(self.record, **facts)
        await self._home.save(record)
        self.record = record
