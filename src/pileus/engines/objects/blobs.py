"""Where the bytes of objects lie: the protocol, and blobs as files. Called by receiving, reading, the reaper and the sweep.

A blob is written once, by one process, whose id its name begins with; it is read only when the index names it. So it is
written under its name at once: nobody looks at it before.
"""

import asyncio
import errno
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

from pileus.engines.objects.errors import BlobsUnavailable, Damaged, StorageFull

Buffers = Sequence[bytes | memoryview]
Make = Callable[[], Buffers]
"""Gives what is to be written. It is called where waiting does no harm, and what it raises ends the call."""

_PROCESS = 12
_AT_ONCE = 512
"""Pieces in one writev; Linux takes 1024."""
T = TypeVar("T")


def new_name(process: str) -> str:
    """A name that never was and never will be another's: the process's id and 20 random hexadecimal digits."""
    return process + secrets.token_hex(10)


def process_of(name: str) -> str:
    """The id of the process that wrote the blob."""
    return name[:_PROCESS]


def shard(name: str) -> str:
    """Two random digits of the name, to spread blobs over directories."""
    return name[_PROCESS : _PROCESS + 2]


class BlobWriter(Protocol):
    """A blob that is being written."""

    async def write(self, make: Make) -> None:
        """Appends. Raises StorageFull, BlobsUnavailable."""
        ...

    async def finish(self) -> None:
        """Makes it durable. Raises StorageFull, BlobsUnavailable."""
        ...

    async def abandon(self) -> None:
        """Lets go of it unfinished; whoever began it removes it."""
        ...


class Blobs(Protocol):
    """A place for blobs."""

    async def create(self, name: str) -> BlobWriter:
        """Begins a blob of unknown length."""
        ...

    async def store(self, name: str, make: Make) -> None:
        """A whole blob at once; durable on return."""
        ...

    async def read(self, name: str, offset: int, length: int, decode: Callable[[bytes], bytes]) -> bytes:
        """What ``decode`` makes of exactly these bytes, called where waiting does no harm.

        Raises Damaged where the blob is missing or shorter, BlobsUnavailable.
        """
        ...

    async def delete(self, names: Iterable[str]) -> None:
        """Removes blobs, finished or not; one that is not there is no error."""
        ...

    def names(self) -> AsyncIterator[str]:
        """Every blob that is there, finished or not; one that comes or goes meanwhile may be among them."""
        ...


class FileBlobs:
    """Blobs as files ``<two random digits>/<name>``.

    Blocking calls go to threads: ``writers`` may wait for the disk for long, ``readers`` are not to wait behind them.
    """

    def __init__(self, directory: Path, writers: Executor, readers: Executor) -> None:
        self._directory = directory
        self._writers = writers
        self._readers = readers
        for number in range(256):
            (directory / f"{number:02x}").mkdir(mode=0o700, exist_ok=True)
        sync(directory)

    async def create(self, name: str) -> "FileWriter":
        return FileWriter(self._path(name), await self._run(_create, self._path(name)), self._run)

    async def store(self, name: str, make: Make) -> None:
        await self._run(_store, self._path(name), make)

    async def read(self, name: str, offset: int, length: int, decode: Callable[[bytes], bytes]) -> bytes:
        return await _run(self._readers, lambda: decode(_read(self._path(name), name, offset, length)))

    async def delete(self, names: Iterable[str]) -> None:
        await self._run(_delete, [self._path(name) for name in names])

    async def names(self) -> AsyncIterator[str]:
        for number in range(256):
            for name in await self._run(os.listdir, self._directory / f"{number:02x}"):
                yield name

    def _path(self, name: str) -> Path:
        return self._directory / shard(name) / name

    async def _run(self, function: Callable[..., T], *arguments: object) -> T:
        return await _run(self._writers, function, *arguments)


class FileWriter:
    """See ``BlobWriter``."""

    def __init__(self, path: Path, file: int, run: Callable[..., object]) -> None:
        self._path = path
        self._file: int | None = file
        self._run = run
        self._size = 0

    async def write(self, make: Make) -> None:
        await self._run(self._write, make)  # pyright: ignore[reportGeneralTypeIssues]

    def _write(self, make: Make) -> None:
        """Also tells the kernel to begin to write to the disk, which it would put off until the end otherwise."""
        assert self._file is not None
        written = _write(self._file, make())
        os.posix_fadvise(self._file, self._size, written, os.POSIX_FADV_DONTNEED)
        self._size += written

    async def finish(self) -> None:
        file, self._file = self._file, None
        await self._run(_finish, self._path, file)  # pyright: ignore[reportGeneralTypeIssues]

    async def abandon(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


async def _run(executor: Executor, function: Callable[..., T], *arguments: object) -> T:
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, function, *arguments)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise StorageFull(str(error)) from error
        raise BlobsUnavailable(str(error)) from error


def sync(directory: Path) -> None:
    """Makes the entries of a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _write(file: int, data: Buffers) -> int:
    """Writes all of it; the number of bytes."""
    total = 0
    for start in range(0, len(data), _AT_ONCE):
        rest = list(data[start : start + _AT_ONCE])
        while rest:
            written = os.writev(file, rest)
            total += written
            while rest and written >= len(rest[0]):
                written -= len(rest.pop(0))
            if written:
                rest[0] = memoryview(rest[0])[written:]
    return total


def _finish(path: Path, file: int) -> None:
    try:
        os.fsync(file)
    finally:
        os.close(file)
    sync(path.parent)


def _store(path: Path, make: Make) -> None:
    data = make()
    file = _create(path)
    try:
        _write(file, data)
    except BaseException:
        os.close(file)
        raise
    _finish(path, file)


def _read(path: Path, name: str, offset: int, length: int) -> bytes:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Damaged(name, "it is missing") from None
    try:
        data = os.pread(file, length, offset)
        while 0 < len(data) < length:
            more = os.pread(file, length - len(data), offset + len(data))
            if not more:
                break
            data += more
    finally:
        os.close(file)
    if len(data) != length:
        raise Damaged(name, "it is too short")
    return data


def _delete(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(FileNotFoundError):
            path.unlink()
