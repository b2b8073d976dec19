"""Programs that serve on when the agent has ended: which process it is, and by which configuration, is asked of /proc.

Such a program has its configuration file among its arguments.
"""

import asyncio
import os
import select
import signal
from pathlib import Path
from typing import NamedTuple

from pileus.drivers.errors import RetryableError


class Process(NamedTuple):
    """A program, or a process that is about to become it. ``namespace``: the inode of its network namespace."""

    pid: int
    configuration: Path
    namespace: int


def find(directory: Path) -> list[Process]:
    """The processes that were started with a configuration file ``*.conf`` below ``directory``."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return [process for pid in pids if (process := identify(pid, directory)) is not None]


def identify(pid: int, directory: Path) -> Process | None:
    """What a process is; None when it is none of those."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        paths = [Path(word.rsplit("=", 1)[-1]) for word in words if word.endswith(".conf")]
        if not paths or directory not in paths[0].parents:
            return None
        return Process(pid, paths[0], Path(f"/proc/{pid}/ns/net").stat().st_ino)
    except (FileNotFoundError, ProcessLookupError):
        return None


def signal_to(process: Process, number: signal.Signals) -> int | None:
    """Signals the process unless its pid is another's by now. Returns its pidfd, or None when it is gone."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    if identify(process.pid, process.configuration.parent) != process:
        os.close(handle)
        return None
    try:
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        os.close(handle)
        return None
    return handle


async def end(processes: list[Process]) -> None:
    """Kills them (there is no state to lose) and waits until they are gone. Raises RetryableError when one stays."""
    for process in processes:
        handle = signal_to(process, signal.SIGKILL)
        if handle is None:
            continue
        try:
            if not await asyncio.to_thread(_is_readable, handle):
                raise RetryableError(f"process {process.pid} does not end")
        finally:
            os.close(handle)


def write(path: Path, text: str) -> None:
    """Exchanges the file's content in one step. It is readable to all, for such programs drop their privileges."""
    fresh = path.with_name(f".{path.name}")
    fresh.write_text(text)
    fresh.chmod(0o644)
    fresh.rename(path)


def _is_readable(handle: int, seconds: float = 5.0) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
