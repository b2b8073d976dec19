"""Volumes as qcow2 files on this host's file system. Started by ``pileus.cmd`` for the agent.

A volume is ``<root>/volumes/<volume id>/disk.qcow2``; one that starts as an image is an overlay over the image's own
disk, so that it is there at once and holds only what was changed. What is being made or removed has a name that begins
with a dot: a volume is there whole or not at all, whenever we are killed.

A disk in use is locked (``flock``) by the process that has it open. The lock belongs to the open file, so it lasts
exactly as long as QEMU holds the descriptor that it was given, whatever becomes of the agent.
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Sequence
from pathlib import Path

from pileus.base import process
from pileus.drivers.errors import PermanentError, RetryableError
from pileus.drivers.hypervisor.interface import DiskLayer
from pileus.drivers.image.interface import Images
from pileus.drivers.volume import qcow2
from pileus.drivers.volume.interface import OpenKey, VolumeState
from pileus.hostapi.spec import VolumeSpec

DISK = "disk.qcow2"

# Subclusters of 4 KiB, a guest's page: a first write copies 4 KiB from the image instead of a whole cluster (measured:
# random writes twice as fast, the overlay fifteen times smaller). Reference counts are not lazy: a lazy file must be
# checked from end to end after a crash, before the guest can start.
_OPTIONS = "cluster_size=128k,extended_l2=on,lazy_refcounts=off"


class LocalVolumes:
    """The volume driver ``local``.

    Args:
        root: the host's data directory; volumes are below ``root / "volumes"``, readable by root alone.
        images: where the images are that volumes start as.
    """

    def __init__(self, root: Path, images: Images) -> None:
        self._directory = root / "volumes"
        self._images = images
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._unfinished: set[Path] = set()

    async def ensure(self, volume: VolumeSpec) -> None:
        """Makes the volume, or grows it while no guest has it open.

        Raises:
            PermanentError: the image is not on this host, the size is below the image's or below what the volume has.
            RetryableError: the volume must grow and a guest has it open.
        """
        async with self._locks[volume.volume_id]:
            disk = self._disk(volume.volume_id)
            if not disk.exists():
                await self._create(volume)
                return
            size = _read_size(disk)
            if volume.size < size:
                raise PermanentError(f"{volume.volume_id} has {size} bytes and can't shrink to {volume.size}")
            if volume.size > size:
                with _unused(disk):
                    await _qemu_img("resize", "-q", "-f", "qcow2", str(disk), str(volume.size))

    async def layers(self, volume_id: str) -> tuple[DiskLayer, ...]:
        """The files of the volume, top first. Raises PermanentError when it is not here or damaged."""
        disk = self._disk(volume_id)
        try:
            paths = list(qcow2.chain(disk))
        except (OSError, ValueError) as error:
            raise PermanentError(f"{volume_id} can't be read: {error}") from error
        return tuple(DiskLayer(path=path, format="qcow2", writable=path == disk) for path in paths)

    async def remove(self, volume_id: str) -> None:
        """Removes the data for ever. Raises RetryableError while a guest has it open."""
        async with self._locks[volume_id]:
            disk = self._disk(volume_id)
            if not disk.exists():
                return
            with _unused(disk), self._unfinished_directory(volume_id) as doomed:
                disk.parent.rename(doomed)
                _flush(self._directory)
                await asyncio.to_thread(shutil.rmtree, doomed)

    async def open(self, keys: OpenKey, on_change: Callable[[str], None]) -> None:
        """Nothing is kept in memory."""

    async def close(self) -> None:
        """Nothing goes on in the background."""

    async def uncovered(self, volume_id: str) -> tuple[str, DiskLayer] | None:
        """No volume is covered yet."""
        return None

    async def next_merge(self, volume_id: str, keep: Collection[str] = ()) -> Path | None:
        """No volume has frozen layers yet."""
        return None

    async def observe(self) -> Sequence[VolumeState]:
        """All whole volumes. What an earlier process left unfinished is removed."""
        if not self._directory.exists():
            return ()
        volumes: list[VolumeState] = []
        for entry in sorted(self._directory.iterdir()):
            if not entry.name.startswith("."):
                volumes.append(VolumeState(volume_id=entry.name, size=_read_size(entry / DISK)))
            elif entry not in self._unfinished:
                await asyncio.to_thread(shutil.rmtree, entry, ignore_errors=True)
        return volumes

    def _disk(self, volume_id: str) -> Path:
        return self._directory / volume_id / DISK

    async def _create(self, volume: VolumeSpec) -> None:
        backing: tuple[str, ...] = ()
        if volume.image is not None:
            manifest, directory = await self._images.locate(volume.image)
            if volume.size < manifest.virtual_size:
                raise PermanentError(
                    f"{volume.volume_id}: {volume.size} bytes are below the {manifest.virtual_size} of {manifest.name}"
                )
            backing = ("-b", str((directory / DISK).absolute()), "-F", "qcow2")
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._unfinished_directory(volume.volume_id) as fresh:
            fresh.mkdir(mode=0o700)
            disk = fresh / DISK
            await _qemu_img("create", "-q", "-f", "qcow2", "-o", _OPTIONS, *backing, str(disk), str(volume.size))
            disk.chmod(0o600)
            await asyncio.to_thread(_flush, disk)
            _flush(fresh)
            fresh.rename(self._directory / volume.volume_id)
            _flush(self._directory)

    @contextlib.contextmanager
    def _unfinished_directory(self, volume_id: str) -> Generator[Path]:
        """A name of our own that ``observe`` leaves alone; nothing of it is left afterwards."""
        path = self._directory / f".{volume_id}-{secrets.token_hex(4)}"
        self._unfinished.add(path)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            self._unfinished.discard(path)


@contextlib.contextmanager
def _unused(disk: Path) -> Generator[None]:
    """Holds the lock that a running guest would hold. Raises RetryableError when one does."""
    descriptor = os.open(disk, os.O_RDWR)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RetryableError(f"{disk} is in use") from error
        yield
    finally:
        os.close(descriptor)


def _read_size(disk: Path) -> int:
    try:
        return qcow2.read_header(disk).virtual_size
    except (OSError, ValueError) as error:
        raise PermanentError(f"{disk} can't be read: {error}") from error


async def _qemu_img(*arguments: str) -> None:
    try:
        await process.run("qemu-img", *arguments)
    except (process.ProcessError, TimeoutError, FileNotFoundError) as error:
        raise RetryableError(str(error)) from error


def _flush(path: Path) -> None:
    """Waits until the file or directory is on the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
