"""Conversion of disk images by ``qemu-img`` in a jail (see ``jail``): what it reads is anybody's. Started by ``pileus.cmd``.

The source comes from the block store into a scratch file, the result goes back there; ``qemu-img`` is handed these two
files and can reach nothing else, whatever an image says of backing files, data files or extents. One that names any is
refused before, so that its owner learns why.
"""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pileus.base import process
from pileus.drivers.errors import PermanentError, RetryableError
from pileus.drivers.image import jail
from pileus.drivers.image.conversion_interface import Converted, OpenKey, Progress, Step
from pileus.engines.blocks.encoding import BlockKey
from pileus.engines.blocks.interface import (
    BLOCK,
    BlockDamaged,
    BlockMissing,
    Blocks,
    BlockStore,
    BlockUnreadable,
    StoreUnavailable,
)
from pileus.engines.blocks.manifest import Manifest
from pileus.engines.blocks.reader import Reader
from pileus.engines.blocks.upload import upload
from pileus.hostapi.spec import ConversionSpec

CONVERSION_UID = 690001
"""The user id that ``qemu-img`` runs under: nobody else's, and free again when it has ended."""

FORMATS = frozenset({"raw", "qcow2", "vmdk", "vpc", "vhdx"})
LARGEST = 16 << 40
"""Bytes of the largest disk, as of the largest volume."""

_MEMORY = 2 << 30
_SECONDS = 6 * 3600
_GIB = 1 << 30
_FETCHED, _CONVERTED = 30, 60
_MAGIC = (
    (b"QFI\xfb", "qcow2"),
    (b"KDMV", "vmdk"),
    (b"# Disk DescriptorFile", "vmdk"),
    (b"vhdxfile", "vhdx"),
    (b"conectix", "vpc"),
)
_OPTIONS = {"vmdk": ("-o", "subformat=streamOptimized"), "vpc": ("-o", "subformat=dynamic")}


class QemuConversions:
    """Converts one image at a time.

    Args:
        directory: for scratch files; made for root alone, and emptied at the start.
        blocks: the block store. uid: what ``qemu-img`` runs as.
    """

    def __init__(self, directory: Path, blocks: Blocks, uid: int = CONVERSION_UID) -> None:
        self._directory = directory
        self._blocks = blocks
        self._uid = uid
        self._one = asyncio.Lock()
        self._sessions: dict[str, BlockStore] = {}
        shutil.rmtree(directory, ignore_errors=True)

    async def convert(self, spec: ConversionSpec, keys: OpenKey, progress: Progress) -> Converted:
        """See ``Conversions.convert``."""
        async with self._one:
            await self.forget(spec.task_id)
            scratch = self._directory / spec.task_id
            scratch.mkdir(mode=0o700, parents=True)
            session = self._sessions[spec.task_id] = self._blocks.session()
            try:
                return await self._convert(spec, keys, session, scratch, progress)
            except (StoreUnavailable, OSError) as error:
                raise RetryableError(f"conversion {spec.task_id}: {error}") from error
            except (BlockMissing, BlockDamaged, BlockUnreadable) as error:
                raise PermanentError("ServerError: an internal error has occurred during conversion.") from error
            finally:
                await asyncio.to_thread(shutil.rmtree, scratch)

    async def forget(self, task_id: str) -> None:
        """See ``Conversions.forget``."""
        if (session := self._sessions.pop(task_id, None)) is not None:
            await session.close()

    async def _convert(
        self, spec: ConversionSpec, keys: OpenKey, session: BlockStore, scratch: Path, progress: Progress
    ) -> Converted:
        source, target = scratch / "source", scratch / "target"
        await _fetch(session, spec, await _key(keys, spec.source_key_id), source, progress)
        format_ = spec.source_format or await asyncio.to_thread(detect, source)
        size = await self.inspect(source, format_)
        free = shutil.disk_usage(scratch).free
        if size > free:
            raise PermanentError(f"ClientError: Disk validation failed [The disk is too large: {size} bytes]")
        progress("converting", _FETCHED)
        await self._run_convert(source, format_, target, spec.target_format, size)
        progress("converting", _CONVERTED)
        if spec.target_format == "raw":
            os.truncate(target, max(-(-size // _GIB), 1) * _GIB)
        return await _store(session, target, await _key(keys, spec.key_id), progress)

    async def inspect(self, source: Path, format_: str) -> int:
        """The bytes of the disk in an image. Raises PermanentError for what is no such image, or not one by itself."""
        if format_ not in FORMATS:
            raise PermanentError(f"ClientError: Disk validation failed [Unsupported format {format_}]")
        told = await self._jailed(source, None, 1 << 20, "info", "--output=json", "-f", format_, "{source}")
        try:
            info = msgspec.json.decode(told, type=dict[str, Any])
            size = int(info["virtual-size"])
        except (msgspec.DecodeError, KeyError, ValueError) as error:
            raise PermanentError(f"ClientError: Disk validation failed [Unsupported {format_} file]") from error
        if _others(info):
            raise PermanentError("ClientError: Disk validation failed [The disk image refers to other files]")
        if not 0 < size <= LARGEST:
            raise PermanentError(f"ClientError: Disk validation failed [A disk of {size} bytes is not supported]")
        return size

    async def _run_convert(self, source: Path, format_: str, target: Path, target_format: str, size: int) -> None:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL, 0o600))
        create: Sequence[str] = _OPTIONS.get(target_format, ())
        if target_format == "raw":
            os.truncate(target, -(-size // 512) * 512)
            create = ("-n", "--target-is-zero")
        # Headers and tables of any format are far below an eighth of what they describe.
        limit = size + size // 8 + (64 << 20)
        await self._jailed(
            source, target, limit, "convert", *create, "-f", format_, "-O", target_format, "{source}", "{target}"
        )

    async def _jailed(self, source: Path, target: Path | None, file_size: int, *words: str) -> bytes:
        """Runs ``qemu-img``; the two files are its own while it runs. Raises PermanentError with the end of what it says."""
        with contextlib.ExitStack() as opened:
            numbers: dict[str, int] = {}
            for name, path, flags in (("source", source, os.O_RDONLY), ("target", target, os.O_RDWR)):
                if path is not None:
                    os.chown(path, self._uid, self._uid)
                    path.chmod(0o400 if flags == os.O_RDONLY else 0o600)
                    numbers[name] = os.open(path, flags | os.O_CLOEXEC)
                    opened.callback(os.close, numbers[name])
            paths = {f"{{{name}}}": f"/dev/fd/{number}" for name, number in numbers.items()}
            program = shutil.which("qemu-img") or "/usr/bin/qemu-img"
            limits = (str(self._uid), str(_MEMORY), str(file_size), str(_SECONDS))
            argv = [sys.executable, "-I", "-S", str(Path(jail.__file__)), *limits, program]
            try:
                return await process.run(
                    *argv,
                    *(paths.get(word, word) for word in words),
                    timeout=_SECONDS,
                    pass_fds=tuple(numbers.values()),
                )
            except (process.ProcessError, TimeoutError) as error:
                said = error.stderr.strip()[-300:] if isinstance(error, process.ProcessError) else "it took too long"
                if said.startswith("jail:"):
                    raise RetryableError(said) from error
                for number in numbers.values():
                    said = said.replace(f"/dev/fd/{number}", "the disk image")
                raise PermanentError(f"ClientError: Disk validation failed [{said}]") from error


def detect(source: Path) -> str:
    """An image's format by its first bytes, or (VHD) its last; ``raw`` when it is none that says what it is."""
    with source.open("rb") as file:
        head = file.read(64)
        file.seek(max(0, os.fstat(file.fileno()).st_size - 512))
        tail = file.read(8)
    for magic, format_ in _MAGIC:
        if head.startswith(magic):
            return format_
    return "vpc" if tail == b"conectix" else "raw"


def _others(info: dict[str, Any]) -> bool:
    """Whether an image says that some of its data is elsewhere."""
    if any(info.get(name) for name in ("backing-filename", "full-backing-filename", "backing-image")):
        return True
    data: dict[str, Any] = info.get("format-specific", {}).get("data", {})
    if data.get("data-file") or data.get("data-file-raw"):
        return True
    extents: list[dict[str, Any]] = data.get("extents", [])
    return any(extent.get("filename") != info.get("filename") for extent in extents)


async def _key(keys: OpenKey, key_id: str | None) -> BlockKey | None:
    return BlockKey(await keys(key_id)) if key_id else None


async def _fetch(
    session: BlockStore, spec: ConversionSpec, key: BlockKey | None, path: Path, progress: Progress
) -> None:
    """Writes the source into a sparse file."""
    manifest = await Manifest.open(session, bytes.fromhex(spec.source))
    reader = Reader(session, manifest, key, cached=2)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        async for index, _ in manifest.allocated_from():
            block = await reader.block(index)
            length = min(BLOCK, spec.size - index * BLOCK)
            if length > 0:
                await asyncio.to_thread(os.pwrite, descriptor, block[:length], index * BLOCK)
            progress("fetching", _FETCHED * index // max(manifest.blocks, 1))
        os.ftruncate(descriptor, spec.size)
    finally:
        os.close(descriptor)


async def _store(session: BlockStore, path: Path, key: BlockKey | None, progress: Progress) -> Converted:
    size = os.stat(path).st_size  # noqa: PTH116 - a moment
    count = max(-(-size // BLOCK), 1)

    def told(done: int) -> None:
        step: Step = "storing"
        progress(step, min(99, _CONVERTED + (100 - _CONVERTED) * done // count))

    descriptor = os.open(path, os.O_RDONLY)
    try:
        done = await upload(session, _data(descriptor, size), size=size, key=key, progress=told)
    finally:
        os.close(descriptor)
    return Converted(root=done.root.hex(), size=size)


async def _data(descriptor: int, size: int) -> AsyncIterator[tuple[int, bytes]]:
    """The blocks of a file that are not holes in it."""
    offset = 0
    while offset < size:
        try:
            offset = os.lseek(descriptor, offset, os.SEEK_DATA) // BLOCK * BLOCK
        except OSError:  # ENXIO: there is no more data
            return
        yield offset // BLOCK, await asyncio.to_thread(os.pread, descriptor, min(BLOCK, size - offset), offset)
        offset += BLOCK
