"""What is kept on disk of one guest: ``<root>/guests/<instance id>/``, for root alone. Called by ``guest`` and ``driver``.

``record`` is what holds of the guest, ``lock`` is held by its process (see ``process``), ``monitor`` is the QMP socket,
``console`` the end of its serial output. A directory without a record, or with a dot before its name, is the rest of
something that was killed half-way.
"""

import asyncio
import fcntl
import logging
import os
import secrets
import shutil
import socket
from pathlib import Path
from typing import Literal

import msgspec

from pileus.hostapi.observation import Cause

_logger = logging.getLogger(__name__)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What holds of a guest, durably. Written before it is acted upon.

    Attributes:
        uid: the user that its QEMU runs as, for as long as the guest is known here.
        boot: of the last start that was completed, 0 before the first; reset: of that boot.
        power: whether a process is meant to be there. One that is there against this was killed half-way, and goes.
        cause: why the power is off.
        host_boot: the host's boot id at the last start: a guest that is gone after another one went with the host.
        asked: the power button was pressed for us: the shutdown that follows is no wish of the guest.
        resetting: the number of a reset that was asked for and is not done.
        panicked: the guest's kernel gave up since its last reset.
        volumes: every volume of which its process may have anything open. interfaces: likewise of taps.
        cut: interfaces that were taken from the guest by force; what it has left of them is dead, or about to be.
    """

    instance_id: str
    uid: int
    boot: int = 0
    reset: int = 0
    power: Literal["on", "off"] = "off"
    cause: Cause = ""
    host_boot: str = ""
    asked: bool = False
    resetting: int | None = None
    panicked: bool = False
    volumes: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()


class Home:
    """One guest's directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = path / "lock"
        self.monitor = path / "monitor"
        self.console = path / "console"

    def load(self) -> Record | None:
        """The record; None when there is none that can be read."""
        try:
            return msgspec.json.decode((self.path / "record").read_bytes(), type=Record)
        except (OSError, msgspec.DecodeError):
            return None

    async def save(self, record: Record) -> None:
        """Replaces the record, on the disk itself when this returns. Raises OSError."""
        await asyncio.to_thread(self._write, msgspec.json.encode(record))

    def take_lock(self) -> int:
        """A descriptor of the lock file, locked. Raises BlockingIOError while the guest's process lives."""
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def is_locked(self) -> bool:
        """Whether the guest's process lives."""
        if not self.lock.exists():
            return False
        try:
            os.close(self.take_lock())
        except BlockingIOError:
            return True
        return False

    def listen(self) -> socket.socket:
        """The monitor's socket, made anew; QEMU inherits it. Raises OSError."""
        self.monitor.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            listener.bind(f"/proc/self/fd/{directory}/{self.monitor.name}")
            listener.listen(1)
        except BaseException:
            listener.close()
            raise
        finally:
            os.close(directory)
        return listener

    async def remove(self) -> None:
        """Removes everything, at once for whoever looks. Raises OSError."""
        doomed = self.path.with_name(f".{self.path.name}-{secrets.token_hex(4)}")
        self.path.rename(doomed)
        await asyncio.to_thread(shutil.rmtree, doomed)

    def _write(self, data: bytes) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self.path / "record.new"
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path / "record")
        directory = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def host_boot_id() -> str:
    """What the kernel calls this run of the host; another one after every boot. Source: random(4)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def tidy(guests: Path) -> list[Home]:
    """The homes below ``guests`` that hold a guest. The rests of killed work are removed."""
    guests.mkdir(mode=0o700, parents=True, exist_ok=True)
    homes: list[Home] = []
    for path in sorted(guests.iterdir()):
        home = Home(path)
        if not path.name.startswith(".") and home.load() is not None:
            homes.append(home)
        elif home.is_locked():
            _logger.error("a process runs that nobody has a record of; left alone", extra={"directory": str(path)})
        else:
            shutil.rmtree(path, ignore_errors=True)
    return homes
