"""Blocks as files of one directory, which one process owns. Used by the ``storage`` process through ``store``.

``blocks/<first byte>/<digest>`` are whole and durable: a file is written and synced in ``incoming``, then renamed, then
its directory is synced; many renames share that. What a killed process left in ``incoming`` is removed at the next start.
``aside`` holds what was found damaged. A file's modification time is when its block was last put or asked for.
"""

import fcntl
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from pileus.engines.blocks.interface import STORED_LIMIT, Digest
from pileus.engines.blocks.shelf import BUCKETS, Stored


class DirectoryShelf:
    """A ``Shelf`` below ``root``, which is made. ``now`` tells the time in seconds.

    Raises:
        BlockingIOError: another process owns the directory.
    """

    def __init__(self, root: Path, now: Callable[[], float]) -> None:
        self._now = now
        self._blocks, self._incoming, self._aside = root / "blocks", root / "incoming", root / "aside"
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise
        for directory in (self._blocks, self._incoming, self._aside):
            directory.mkdir(mode=0o700, exist_ok=True)
        for left in self._incoming.iterdir():
            left.unlink()
        for bucket in range(BUCKETS):
            directory = self._bucket(bucket)
            directory.mkdir(mode=0o700, exist_ok=True)
            _sync(directory)  # a rename that the last owner did not live to sync is found, so it must be durable
        for directory in (self._aside, self._blocks, root):
            _sync(directory)
        self._set_aside = {bytes.fromhex(path.name) for path in self._aside.iterdir()}

    @property
    def scratch(self) -> Path:
        """A directory that is emptied at the next start."""
        return self._incoming

    def touch(self, digest: Digest, size: int | None = None) -> bool:
        path, now = self._path(digest), self._now()
        try:
            os.utime(path, (now, now))
            return size is None or path.stat().st_size == size
        except FileNotFoundError:
            return False

    def stage(self, digest: Digest, data: bytes) -> str:
        draft = self._incoming / f"{digest.hex()}.{secrets.token_hex(4)}"
        now = self._now()
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                rest = memoryview(data)
                while rest:
                    rest = rest[file.write(rest) :]
                os.utime(descriptor, (now, now))
                os.fsync(descriptor)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        return str(draft)

    def publish(self, staged: Sequence[tuple[Digest, str]]) -> None:
        for digest, draft in staged:
            os.replace(draft, self._path(digest))  # noqa: PTH105 - a string, for the shelf's interface
        for bucket in {digest[0] for digest, _ in staged}:
            _sync(self._bucket(bucket))
        for digest in self._set_aside.intersection(digest for digest, _ in staged):
            (self._aside / digest.hex()).unlink(missing_ok=True)
            self._set_aside.discard(digest)

    def read(self, digest: Digest) -> bytes:
        with self._path(digest).open("rb", buffering=0) as file:
            parts: list[bytes] = []
            left = STORED_LIMIT + 1
            while left and (part := file.read(left)):
                parts.append(part)
                left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def set_aside(self, digest: Digest) -> None:
        with suppress(FileNotFoundError):
            self._path(digest).rename(self._aside / digest.hex())
            self._set_aside.add(digest)
            _sync(self._aside)
            _sync(self._bucket(digest[0]))

    def is_aside(self, digest: Digest) -> bool:
        return digest in self._set_aside

    def aside(self) -> Sequence[Digest]:
        return sorted(self._set_aside)

    def list(self, bucket: int) -> Sequence[Stored]:
        found: list[Stored] = []
        for directory, names in ((self._bucket(bucket), None), (self._aside, self._set_aside.copy())):
            with os.scandir(directory) as entries:
                for entry in entries:
                    digest = bytes.fromhex(entry.name)
                    if digest[0] == bucket and (names is None or digest in names):
                        with suppress(FileNotFoundError):
                            status = entry.stat(follow_symlinks=False)
                            found.append(Stored(digest, status.st_mtime, status.st_size))
        return found

    def remove(self, digests: Sequence[Digest]) -> None:
        for digest in digests:
            self._path(digest).unlink(missing_ok=True)
            if digest in self._set_aside:
                (self._aside / digest.hex()).unlink(missing_ok=True)
                self._set_aside.discard(digest)

    def close(self) -> None:
        os.close(self._lock)

    def _bucket(self, number: int) -> Path:
        return self._blocks / f"{number:02x}"

    def _path(self, digest: Digest) -> Path:
        return self._bucket(digest[0]) / digest.hex()


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
