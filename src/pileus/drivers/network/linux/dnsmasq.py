"""DHCP and DNS of a VPC: one dnsmasq in its namespace, which outlives the agent.

By which configuration it was started is told by the file's name, which contains the digest of the file.
"""

import hashlib
import os
import signal
from pathlib import Path

from pileus.drivers.network.linux import daemon
from pileus.drivers.network.linux.dnsmasq_files import configuration, leases, names
from pileus.drivers.network.linux.namespace import Namespace
from pileus.hostapi.network_spec import VpcSpec


class Dnsmasq:
    """The dnsmasq of one VPC, with its files in ``directory``."""

    def __init__(self, directory: Path, namespace: Namespace, upstream: tuple[str, ...]) -> None:
        self._directory = directory
        self._namespace = namespace
        self._upstream = upstream
        self._process: daemon.Process | None = None
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
            daemon.write(self._directory / name, text)
        text = configuration(vpc, self._directory, self._upstream)
        path = self._directory / f"dnsmasq-{hashlib.sha256(text.encode()).hexdigest()[:16]}.conf"
        content = "\0".join(tables.values())
        running = daemon.find(self._directory)
        if [(process.configuration, process.namespace) for process in running] != [(path, self._namespace.inode())]:
            await daemon.end(running)
            for old in self._directory.glob("dnsmasq-*.conf"):
                old.unlink()
            daemon.write(path, text)
            await self._namespace.run("dnsmasq", f"--conf-file={path}", "--pid-file")
            running = daemon.find(self._directory)
        elif content != self._seen and (handle := daemon.signal_to(running[0], signal.SIGHUP)) is not None:
            os.close(handle)
        self._seen = content
        self._process = running[0] if running else None

    def is_running(self) -> bool:
        """Whether the process of the last ``ensure`` is there, or any where there was no ``ensure`` yet."""
        if self._process is None:
            return bool(daemon.find(self._directory))
        return daemon.identify(self._process.pid, self._directory) == self._process

    async def remove(self) -> None:
        """Ends it and removes its files."""
        await daemon.end(daemon.find(self._directory))
        self._seen = self._process = None
        if self._directory.exists():
            for path in self._directory.iterdir():
                path.unlink()
            self._directory.rmdir()
