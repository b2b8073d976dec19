"""Volumes that several guests have at once: a process for each owns its files and serves it to the guests (NBD).

Called by the volume driver, which gives guests what ``ensure`` returns as the only layer of the disk. The process is a
QEMU without a machine rather than a ``qemu-storage-daemon``, because that one (of 7.2) has no system call filter; it is
confined as a guest is, limits the volume as a whole, outlives the agent and is found again. While it is gone, the guests'
requests wait for it.

What is kept on disk: ``<root>/exports/<volume id>/`` as of a guest (see ``home``), and in it ``server/``, which guests'
processes are handed, with the server's socket and nothing else.
"""

import asyncio
import contextlib
import os
import socket
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from pileus.base.clock import Clock, SystemClock
from pileus.drivers.errors import RetryableError
from pileus.drivers.hypervisor.interface import Disk, DiskLayer
from pileus.drivers.hypervisor.qemu import confinement, inventory, merge, nodes
from pileus.drivers.hypervisor.qemu.cgroup import Cgroups, Limits
from pileus.drivers.hypervisor.qemu.disks import Disks
from pileus.drivers.hypervisor.qemu.home import Home, Record, tidy
from pileus.drivers.hypervisor.qemu.monitor import Monitor, MonitorError
from pileus.drivers.hypervisor.qemu.process import GuestProcess, holders

_LIMITS = Limits(memory=384 << 20, cpus=1.0, tasks=128, weight=1)
_SOCKET = "nbd"
_STEP = 0.1  # seconds between looks at a merge


class _Server:
    """One volume's process, with all that is known of it."""

    def __init__(self, home: Home, record: Record) -> None:
        self.home = home
        self.record = record
        self.process: GuestProcess | None = None
        self.disks = Disks(record.instance_id)

    @property
    def running(self) -> bool:
        return self.process is not None and not self.process.ended.is_set()


class Exports:
    """All volumes of the host that are shared.

    All calls are idempotent, keyed by volume id, and safe to kill at any instruction.

    Args:
        root: the host's data directory; its own path must be passable for nobody but root.
        uids: the user ids that the processes get, one each; nobody else may have them.
        clock: the time.
        binary: QEMU.
        monitor_limit: seconds in which it must answer. start_limit: the same for a fresh one.
    """

    def __init__(
        self,
        root: Path,
        uids: range = confinement.EXPORT_UIDS,
        clock: Clock | None = None,
        *,
        binary: str = "qemu-system-x86_64",
        monitor_limit: float = 10.0,
        start_limit: float = 30.0,
    ) -> None:
        self._directory = root / "exports"
        self._uids = uids
        self._clock = SystemClock() if clock is None else clock
        self._binary = binary
        self._monitor_limit = monitor_limit
        self._start_limit = start_limit
        self._cgroups = Cgroups()
        self._servers: dict[str, _Server] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def open(self) -> None:
        """Finds what runs already."""
        homes = await asyncio.to_thread(tidy, self._directory)
        pids = await asyncio.to_thread(holders, [home.lock for home in homes if home.is_locked()])
        for home in homes:
            record = home.load()
            assert record is not None
            server = self._servers[record.instance_id] = _Server(home, record)
            if (pid := pids.get(home.lock)) is not None:
                server.process = GuestProcess.find(pid, home.lock)

    async def close(self) -> None:
        """Lets go of the processes: they run on."""
        for server in self._servers.values():
            if server.process is not None:
                server.process.let_go()
        self._servers.clear()

    async def ensure(self, disk: Disk) -> DiskLayer:
        """Serves the volume, with this size and these limits; returns the layer that each of its guests gets.

        A volume grows with a short pause in which the guests' requests wait; then ``Hypervisor.plug`` with the new size
        shows it to a guest (RetryableError until the guest's process has connected anew).

        Raises:
            PermanentError: a file is missing or damaged, or a key is wrong. RetryableError: anything else.
        """
        nodes.check(disk)
        volume_id = disk.volume_id
        async with self._locks[volume_id]:
            server = self._servers.get(volume_id)
            if server is None:
                used = {other.record.uid for other in self._servers.values()}
                record = Record(instance_id=volume_id, uid=confinement.free_uid(self._uids, used), power="on")
                server = self._servers[volume_id] = _Server(Home(self._directory / volume_id), record)
            if not server.running:
                await self._start(server)
            async with self._monitor(server) as (monitor, pid):
                found = (await inventory.read(monitor)).get(volume_id)
                if found is not None and found.plugged and disk.size is not None:
                    size = (await inventory.read_blocks(monitor))[nodes.stem(volume_id)].size
                    if size < disk.size:  # QEMU can't change the size of what it exports
                        await server.disks.end_export(monitor, volume_id)
                await server.disks.plug(monitor, pid, disk, exported=True)
            return DiskLayer(path=_socket_of(server.home), format="nbd", writable=True, export=volume_id)

    async def freeze(self, volume_id: str, top: DiskLayer) -> None:
        """As ``Hypervisor.freeze``. A volume that is not served is left alone."""
        async with self._at(volume_id) as found:
            if found is not None:
                server, monitor, pid = found
                await server.disks.freeze(monitor, pid, {volume_id: top})

    async def merge(self, volume_id: str, layer: Path) -> None:
        """As ``Hypervisor.merge``. A volume that is not served is left alone."""
        while True:
            async with self._at(volume_id) as found:
                if found is None:
                    return
                server, monitor, _ = found
                if await merge.step(monitor, volume_id, layer):
                    server.disks.unsettled = True
                    return
            await self._clock.sleep(_STEP)

    async def swap_base(self, volume_id: str, base: DiskLayer) -> None:
        """As ``Hypervisor.swap_base``. A volume that is not served is left alone."""
        async with self._at(volume_id) as found:
            if found is not None:
                server, monitor, pid = found
                await server.disks.swap_base(monitor, pid, volume_id, base)

    async def stop(self, volume_id: str) -> None:
        """Ends the process, after it has written back everything, and removes what was kept for it. The files stay.

        No guest may have the volume any more: it would wait for ever, since its process can't find the next server.
        """
        async with self._locks[volume_id]:
            server = self._servers.get(volume_id)
            if server is None:
                return
            if server.running:
                assert server.process is not None
                await server.process.end()
            if server.process is not None:
                server.process.let_go()
            await self._cgroups.remove(_cgroup(volume_id))
            if server.home.path.exists():
                await server.home.remove()
            del self._servers[volume_id]

    async def observe(self) -> Sequence[str]:
        """The volumes that are served now."""
        return sorted(volume_id for volume_id, server in self._servers.items() if server.running)

    def pid(self, volume_id: str) -> int | None:
        """The process that serves a volume, None when there is none."""
        server = self._servers.get(volume_id)
        return server.process.pid if server is not None and server.process is not None and server.running else None

    async def _start(self, server: _Server) -> None:
        """Starts a process that serves nothing yet. Raises RetryableError."""
        volume_id = server.record.instance_id
        if server.process is not None:
            server.process.let_go()
            server.process = None
        server.disks.forget()
        try:
            await server.home.save(server.record)
            with contextlib.ExitStack() as opened:
                lock = server.home.take_lock()
                opened.callback(os.close, lock)
                listener = opened.enter_context(server.home.listen())
                argv = (
                    *confinement.confined(server.record.uid, "tcg"),
                    self._binary,
                    *confinement.SANDBOX,
                    *("-nodefaults", "-no-user-config", "-display", "none", "-machine", "none"),
                    *("-name", f"guest={volume_id}"),
                    *("-chardev", f"socket,id=monitor,fd={listener.fileno()},server=on,wait=off"),
                    *("-mon", "chardev=monitor,mode=control"),
                )
                process = GuestProcess.start(argv, (lock, listener.fileno()))
            try:
                self._cgroups.enter(_cgroup(volume_id), process.pid, _LIMITS)
                monitor = await Monitor.connect(
                    server.home.monitor, self._monitor_limit, _ignore, first_limit=self._start_limit
                )
                try:
                    await _serve(monitor, server.home)
                finally:
                    await monitor.close()
            except BaseException as error:
                await process.kill()
                complaints = process.complaints()
                process.let_go()
                if isinstance(error, (MonitorError, OSError)):
                    raise RetryableError(f"{volume_id} can't be served: {complaints or error}") from error
                raise
        except OSError as error:
            raise RetryableError(f"{volume_id} can't be served: {error}") from error
        server.process = process

    @contextlib.asynccontextmanager
    async def _at(self, volume_id: str) -> AsyncGenerator[tuple[_Server, Monitor, int] | None]:
        async with self._locks[volume_id]:
            server = self._servers.get(volume_id)
            if server is None or not server.running:
                yield None
                return
            async with self._monitor(server) as (monitor, pid):
                yield server, monitor, pid

    @contextlib.asynccontextmanager
    async def _monitor(self, server: _Server) -> AsyncGenerator[tuple[Monitor, int]]:
        """A connection to the process for one piece of work, and its id. Raises RetryableError."""
        assert server.process is not None
        try:
            monitor = await Monitor.connect(server.home.monitor, self._monitor_limit, _ignore)
            try:
                yield monitor, server.process.pid
            finally:
                if server.disks.unsettled:
                    with contextlib.suppress(MonitorError):
                        await server.disks.sweep(monitor)
                await monitor.close()
        except (MonitorError, OSError) as error:
            raise RetryableError(f"{server.record.instance_id}: {error}") from error


async def _serve(monitor: Monitor, home: Home) -> None:
    """Lets the process listen for guests on a socket that we make for it. Raises MonitorError, OSError."""
    path = _socket_of(home)
    path.parent.mkdir(exist_ok=True)
    path.parent.chmod(0o711)
    path.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(f"/proc/self/fd/{directory}/{path.name}")
            path.chmod(0o666)
            listener.listen(64)
            await monitor.add_named(listener.fileno(), _SOCKET)
    finally:
        os.close(directory)
    address = {"type": "fd", "data": {"str": _SOCKET}}
    await monitor.execute("nbd-server-start", {"addr": address, "max-connections": 0})


def _socket_of(home: Home) -> Path:
    return home.path / "server" / _SOCKET


def _cgroup(volume_id: str) -> str:
    return f"export-{volume_id}"


def _ignore(_: str) -> None:
    """Events say nothing here that is not asked for."""
