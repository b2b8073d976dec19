"""DHCP and DNS of a VPC: one dnsmasq in its namespace, which outlives the agent.

Which process that is, and by which configuration it was started, is asked of /proc: the configuration file's name is in
its arguments and contains the digest of the file.
"""

import asyncio
import hashlib
import os
import select
import signal
from pathlib import Path
from typing import NamedTuple

from pileus.drivers.errors import RetryableError
from pileus.drivers.network.linux.dnsmasq_files import configuration, leases, names
from pileus.drivers.network.linux.namespace import Namespace
from pileus.hostapi.network_spec import VpcSpec


class Dnsmasq:
    """The dnsmasq of one VPC, with its files in ``directory``."""

    def __init__(self, directory: Path, namespace: Namespace, upstream: tuple[str, ...]) -> None:
        self._directory = directory
        self._namespace = namespace
        self._upstream = upstream
        self._process: Process | None = None
        self._seen: str | None = None
        """The names and leases that the running process is known to have read."""

    async def ensure(self, vpc: VpcSpec) -> None:
        """Starts it, or tells it what changed. Without interfaces it has nobody to serve, and ends."""
        if not vpc.interfaces:
            await self.remove()
            return
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o755)
        tables = {"names": names(vpc), "leases": leases(vpc)}
        for name, text in tables.items():
            _write(self._directory / name, text)
        text = configuration(vpc, self._directory, self._upstream)
        path = self._directory / f"dnsmasq-{hashlib.sha256(text.encode()).hexdigest()[:16]}.conf"
        content = "\0".join(tables.values())
        running = find(self._directory)
        if [(process.configuration, process.namespace) for process in running] != [(path, self._namespace.inode())]:
            await _end(running)
            for old in self._directory.glob("dnsmasq-*.conf"):
                old.unlink()
            _write(path, text)
            await self._namespace.run("dnsmasq", f"--conf-file={path}", "--pid-file")
            running = find(self._directory)
        elif content != self._seen:
            _close(_signal(running[0], signal.SIGHUP))
        self._seen = content
        self._process = running[0] if running else None

    def is_running(self) -> bool:
        """Whether the process of the last ``ensure`` is there, or any where there was no ``ensure`` yet."""
        if self._process is None:
            return bool(find(self._directory))
        return _identify(self._process.pid, self._directory) == self._process

    async def remove(self) -> None:
        """Ends it and removes its files."""
        await _end(find(self._directory))
        self._seen = self._process = None
        if self._directory.exists():
            for path in self._directory.iterdir():
                path.unlink()
            self._directory.rmdir()


class Process(NamedTuple):
    """A dnsmasq, or a process that is about to become one. ``namespace``: the inode of its network namespace."""

    pid: int
    configuration: Path
    namespace: int


def find(directory: Path) -> list[Process]:
    """The processes that were started with a configuration below ``directory``."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return [process for pid in pids if (process := _identify(pid, directory)) is not None]


def _identify(pid: int, directory: Path) -> Process | None:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        paths = [Path(word.removeprefix("--conf-file=")) for word in arguments if word.startswith("--conf-file=")]
        if not paths or directory not in paths[0].parents:
            return None
        return Process(pid, paths[0], Path(f"/proc/{pid}/ns/net").stat().st_ino)
    except (FileNotFoundError, ProcessLookupError):
        return None


def _signal(process: Process, number: signal.Signals) -> int | None:
    """Signals the process unless its pid is another's by now. Returns its pidfd, or None when it is gone."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    if _identify(process.pid, process.configuration.parent) != process:
        os.close(handle)
        return None
    try:
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        os.close(handle)
        return None
    return handle


def _close(handle: int | None) -> None:
    if handle is not None:
        os.close(handle)


async def _end(processes: list[Process]) -> None:
    """Kills them (there is no state to lose) and waits until they are gone."""
    for process in processes:
        handle = _signal(process, signal.SIGKILL)
        if handle is None:
            continue
        try:
            if not await asyncio.to_thread(_is_readable, handle):
                raise RetryableError(f"dnsmasq {process.pid} does not end")
        finally:
            os.close(handle)


def _is_readable(handle: int, seconds: float = 5.0) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _write(path: Path, text: str) -> None:
    """Exchanges the file's content in one step. It is readable to all, for dnsmasq has dropped its privileges."""
    fresh = path.with_name(f".{path.name}")
    fresh.write_text(text)
    fresh.chmod(0o644)
    fresh.rename(path)
