"""Which processes have the object store open, and since when each is reading. Used by the store, the reaper and the sweep.

Each has a file of its own below ``processes/``, locked as long as it lives: the kernel drops the lock when it is killed. In the
file is the moment when its oldest reader, who may still need blobs that were deleted since, began (0: nobody reads). So a
blob may go when it had left the index before every living reader began.
"""

import fcntl
import mmap
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

_SIZE = 8


class Presence:
    """This process among those that have the store open. Called on one thread, but for ``oldest_reader``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.id, self._file = _appear(directory)
        os.truncate(self._file, _SIZE)
        self._map = mmap.mmap(self._file, _SIZE)
        self._cell = memoryview(self._map).cast("Q")  # written in one go, so that nobody reads half a number
        self._readers: dict[int, None] = {}
        self._last = 0

    def begin(self) -> int:
        """A reader comes, and has not looked into the index yet. Returns what ``end`` wants."""
        self._last = max(now(), self._last + 1)
        self._readers[self._last] = None
        if len(self._readers) == 1:
            self._cell[0] = self._last
        return self._last

    def end(self, reader: int) -> None:
        """The reader has gone."""
        if reader in self._readers:
            del self._readers[reader]
            self._cell[0] = next(iter(self._readers), 0)

    def oldest_reader(self) -> int | None:
        """When the oldest reader of all living processes began; None if nobody reads."""
        began: list[int] = []
        for name in self._names():
            with _opened(self._directory / name) as file:
                if file is not None and (name == self.id or not _dead(file)):
                    began.append(int.from_bytes(os.pread(file, _SIZE, 0), "little"))
        return min(filter(None, began), default=None)

    def living(self) -> set[str]:
        """Ids of the other processes that live."""
        living: set[str] = set()
        for name in self._names():
            with _opened(self._directory / name) as file:
                if file is not None and name != self.id and not _dead(file):
                    living.add(name)
        return living

    def bury(self) -> None:
        """Forgets dead processes: one without a file is dead, too."""
        for name in self._names():
            with _opened(self._directory / name) as file:
                if file is not None and name != self.id and _dead(file):
                    (self._directory / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Leaves. What this process left undone is for the others; readers that are still there find their blobs gone."""
        self._readers.clear()
        self._cell.release()
        self._map.close()
        (self._directory / self.id).unlink(missing_ok=True)
        os.close(self._file)

    def _names(self) -> Iterator[str]:
        yield from (path.name for path in self._directory.iterdir())


def now() -> int:
    """Nanoseconds on a clock that all processes of the machine share and nobody sets."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class _opened:  # noqa: N801 - a context manager used as a verb
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def __enter__(self) -> int | None:
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            self._file = None
        return self._file

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            os.close(self._file)


def _dead(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _appear(directory: Path) -> tuple[str, int]:
    """A new id and its file, locked. Whoever found it unlocked for a moment may have removed it: then another."""
    while True:
        name = secrets.token_hex(6)
        path = directory / name
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists():
            return name, file
        os.close(file)
