"""One QEMU process: started so that it outlives us, found again, ended. Called by ``guest`` and ``driver``.

A process is known by the guest's lock file, which it inherits open and locked: whoever holds it is the guest, from the
moment of the fork until the last thread is gone. No process id is ever kept on disk, so none can be mistaken for
another's after it was used again; while we run, a pidfd stands for the process.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pileus.base import process

_PATIENCE = 5.0  # seconds for QEMU to write back what it caches (qcow2 tables) after SIGTERM


class GuestProcess:
    """A running QEMU.

    Attributes:
        pid: its process id. ended: set once it is gone.
        status: its exit status (negative: the signal), None while it runs or when an earlier agent was its parent.
    """

    def __init__(self, pid: int, pidfd: int, complaints: int | None = None) -> None:
        self.pid = pid
        self.ended = asyncio.Event()
        self.status: int | None = None
        self._pidfd = pidfd
        self._complaints = complaints
        asyncio.get_running_loop().add_reader(pidfd, self._on_end)

    @classmethod
    def start(cls, argv: Sequence[str], descriptors: Iterable[int]) -> "GuestProcess":
        """Starts ``argv`` in a session of its own with ``descriptors`` open under their numbers. Raises OSError.

        Its complaints go to a pipe that never makes it wait: what doesn't fit, or has no reader, is dropped.
        """
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            with Path(os.devnull).open("r+b", buffering=0) as nothing:
                child = process.spawn(
                    *argv,
                    stdin=nothing,
                    stdout=nothing,
                    stderr=writer,
                    pass_fds=tuple(descriptors),
                    start_new_session=True,
                    cwd="/",
                    env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
                )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        child.returncode = 0  # we reap it by its pidfd; Popen must not
        return cls(child.pid, os.pidfd_open(child.pid), reader)

    @classmethod
    def find(cls, pid: int, lock: Path) -> "GuestProcess | None":
        """The process ``pid`` if it still holds ``lock``."""
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return None
        if not _holds(pid, {_identity(lock.stat()): lock}):
            os.close(pidfd)
            return None
        return cls(pid, pidfd)

    async def end(self, patience: float = _PATIENCE) -> None:
        """Asks it to end, kills it when it doesn't within ``patience`` seconds, and waits until it is gone."""
        self._signal(signal.SIGTERM)
        if not await self.ends_within(patience):
            await self.kill()

    async def ends_within(self, seconds: float) -> bool:
        """Waits for its end; says whether it came."""
        try:
            async with asyncio.timeout(seconds):
                await self.ended.wait()
        except TimeoutError:
            return False
        return True

    async def kill(self) -> None:
        """Kills it and waits until it is gone."""
        self._signal(signal.SIGKILL)
        await self.ended.wait()

    def complaints(self) -> str:
        """What it said on standard error since this was last asked, at most 64 KiB."""
        if self._complaints is None:
            return ""
        with contextlib.suppress(BlockingIOError):
            return os.read(self._complaints, 1 << 16).decode(errors="replace").strip()
        return ""

    def let_go(self) -> None:
        """Stops watching. The process runs on."""
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        if self._complaints is not None:
            os.close(self._complaints)
            self._complaints = None

    def _signal(self, number: signal.Signals) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def _on_end(self) -> None:
        with contextlib.suppress(ChildProcessError):  # not our child when an earlier agent started it
            result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
            assert result is not None
            self.status = result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        self.ended.set()


def holders(locks: Iterable[Path]) -> Mapping[Path, int]:
    """Which process has which of these lock files, ourselves left out. Looks through all of /proc: slow."""
    wanted = {_identity(lock.stat()): lock for lock in locks}
    if not wanted:
        return {}
    found: dict[Path, int] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - pathlib is several times slower over thousands of entries
        if entry.isdecimal() and int(entry) != os.getpid():
            found.update(dict.fromkeys(_holds(int(entry), wanted), int(entry)))
    return found


def _holds(pid: int, wanted: Mapping[tuple[int, int], Path]) -> set[Path]:
    held: set[Path] = set()
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                with contextlib.suppress(OSError):  # closed meanwhile
                    lock = wanted.get(_identity(entry.stat()))
                    if lock is not None:
                        held.add(lock)
    except OSError:  # ended meanwhile
        return set()
    return held


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
