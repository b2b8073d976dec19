"""What volumes made from snapshots lie over: a file on this host once it is complete, a server of the blocks until then.

``<root>/bases/<name>`` is a complete base: the snapshot's bytes as a raw file, or as an encrypted one under the data key of
the snapshot. It belongs to no volume; it is there while any volume on this host lies over it. Called by ``driver``.
"""

import asyncio
import hashlib
import logging
import os
import shutil
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

from pileus.base.clock import Clock
from pileus.drivers.errors import DriverError, PermanentError, RetryableError
from pileus.drivers.hypervisor.interface import DiskLayer
from pileus.drivers.volume.interface import OpenKey
from pileus.drivers.volume.local import base_file
from pileus.drivers.volume.local.nbd_server import Connection
from pileus.drivers.volume.local.record import flush
from pileus.engines.blocks.encoding import BlockKey
from pileus.engines.blocks.interface import BLOCK, BlockError, Blocks, BlockStore, StoreUnavailable
from pileus.engines.blocks.manifest import Manifest, NotAManifest
from pileus.engines.blocks.reader import Reader
from pileus.hostapi.spec import SourceSpec

log = logging.getLogger(__name__)

T = TypeVar("T")

EXPORT = "base"
_SOCKET = "nbd"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_AFTER_DAMAGE = 30.0
_FETCHED_AT_ONCE = 2  # guests that read come first


class Base:
    """The bytes of one snapshot, fetched when they are read. Implements ``nbd_server.Readable``.

    ``trouble`` says what can't be had, "" when nothing is known to be missing; ``on_trouble`` is called when it changes.
    """

    def __init__(
        self, source: SourceSpec, blocks: Blocks, keys: OpenKey, clock: Clock, on_trouble: Callable[[], None]
    ) -> None:
        self.source = source
        self.trouble = ""
        self._blocks = blocks
        self._keys = keys
        self._clock = clock
        self._on_trouble = on_trouble
        self._session: BlockStore | None = None
        self._reader: Reader | None = None
        self._opening = asyncio.Lock()

    @property
    def size(self) -> int:
        return self.source.size

    async def read(self, offset: int, length: int) -> bytes:
        """Waits while the store or the key can't be had. Raises OSError when a block is gone, damaged or refused."""
        return await self._persist(lambda reader: reader.read(offset, length))

    async def extents(self, offset: int, length: int, limit: int) -> Sequence[tuple[int, bool]]:
        """Raises OSError like ``read``."""
        found: list[tuple[int, bool]] = []
        end = offset + length
        while offset < end:
            index = offset // BLOCK
            piece = min((index + 1) * BLOCK, end) - offset
            zero = await self._persist(lambda reader, index=index: reader.hole(index))
            if found and found[-1][1] == zero:
                found[-1] = found[-1][0] + piece, zero
            elif len(found) == limit:
                break
            else:
                found.append((piece, zero))
            offset += piece
        return found

    async def hole(self, index: int) -> bool:
        """Whether a block is all zeros. Raises OSError like ``read``."""
        return await self._persist(lambda reader: reader.hole(index))

    def clear(self) -> None:
        """What was missing is there."""
        self._say("")

    async def close(self) -> None:
        """Ends the session."""
        if self._session is not None:
            await self._session.close()
            self._session = self._reader = None

    async def _persist(self, ask: Callable[[Reader], Awaitable[T]]) -> T:
        pause = _FIRST_PAUSE
        while True:
            try:
                return await ask(await self._open())
            except (StoreUnavailable, RetryableError):
                await self._clock.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            except (BlockError, DriverError, ValueError, IndexError) as error:
                self._say(str(error))
                raise OSError(str(error)) from error

    async def _open(self) -> Reader:
        async with self._opening:
            if self._reader is None:
                key = None if self.source.key_id is None else BlockKey(await self._keys(self.source.key_id))
                self._session = self._session or self._blocks.session()
                try:
                    manifest = await Manifest.open(self._session, bytes.fromhex(self.source.root))
                except NotAManifest as error:
                    raise PermanentError(f"snapshot root {self.source.root}: {error}") from error
                if manifest.size != self.source.size:
                    raise PermanentError(f"snapshot root {self.source.root} has {manifest.size} bytes")
                self._reader = Reader(self._session, manifest, key)
            return self._reader

    def _say(self, trouble: str) -> None:
        if self.trouble != trouble:
            self.trouble = trouble
            if trouble:
                log.error("a snapshot can't be read", extra={"root": self.source.root, "reason": trouble})
            self._on_trouble()


class Bases:
    """All bases of a host, below ``directory``. ``on_change`` is told of a source whose base is complete or in trouble."""

    def __init__(self, directory: Path, blocks: Blocks | None, clock: Clock) -> None:
        self._directory = directory
        self._blocks = blocks
        self._clock = clock
        self._keys: OpenKey | None = None
        self._on_change: Callable[[SourceSpec], None] = lambda _: None
        self._served: dict[str, _Service] = {}

    def open(self, keys: OpenKey, on_change: Callable[[SourceSpec], None]) -> None:
        """From now on bases can be served. What an earlier process did not complete is removed."""
        self._keys, self._on_change = keys, on_change
        if self._directory.exists():
            for part in self._directory.glob(".*.part"):
                part.unlink()

    async def close(self) -> None:
        """Stops serving and filling: guests wait until it goes on."""
        for service in self._served.values():
            await service.stop()
        self._served.clear()

    def file(self, source: SourceSpec) -> Path:
        """Where the base is once it is complete."""
        return self._directory / _name(source)

    def complete(self, source: SourceSpec) -> bool:
        """Whether it is."""
        return self.file(source).exists()

    def trouble(self, source: SourceSpec) -> str:
        """What of it can't be had."""
        service = self._served.get(_name(source))
        return "" if service is None or self.complete(source) else service.base.trouble

    def layer(self, source: SourceSpec, key: bytes | None) -> DiskLayer:
        """The base as a guest opens it; ``key`` opens an encrypted one that is complete."""
        if self.complete(source):
            kind = base_file.file_format(source.key_id is not None)
            return DiskLayer(path=self.file(source), format=kind, writable=False, key=key)
        return DiskLayer(path=self._socket(source), format="nbd", writable=False, export=EXPORT)

    async def serve(self, source: SourceSpec) -> None:
        """Serves the base, and completes it in the background.

        Raises:
            PermanentError: this host has no block store. RetryableError: the driver is not open.
        """
        name = _name(source)
        if name in self._served:
            return
        if self._blocks is None:
            raise PermanentError("this host has no block store to make volumes of snapshots from")
        if self._keys is None:
            raise RetryableError("the driver is not open")
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        base = Base(source, self._blocks, self._keys, self._clock, lambda: self._on_change(source))
        service = self._served[name] = _Service(base, self._socket(source), self.file(source), self._clock, self._keys)
        await service.start(lambda: self._on_change(source))

    def connect(self, source: SourceSpec) -> socket.socket:
        """A connection to the server of a base that is served. Raises RetryableError."""
        service = self._served.get(_name(source))
        if service is None:
            raise RetryableError(f"the base {source.root} is not served")
        return service.connect()

    async def keep(self, needed: Collection[SourceSpec], served: Collection[SourceSpec]) -> None:
        """Removes all other bases, and stops serving those that are complete and that no process reads from the server."""
        names = {_name(source) for source in needed}
        serving = {_name(source) for source in served} | {
            _name(source) for source in needed if not self.complete(source)
        }
        # At once, before anyone else can ask for one of them.
        if self._directory.exists():
            for path in list(self._directory.iterdir()):
                if not path.name.startswith(".") and path.name.removesuffix(".server") not in names:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        for service in [self._served.pop(name) for name in self._served.keys() - serving]:
            await service.stop()

    def _socket(self, source: SourceSpec) -> Path:
        return self._directory / f"{_name(source)}.server" / _SOCKET


class _Service:
    """One base being served and filled."""

    def __init__(self, base: Base, path: Path, file: Path, clock: Clock, keys: OpenKey) -> None:
        self.base = base
        self._path = path
        self._file = file
        self._clock = clock
        self._keys = keys
        self._server: asyncio.Server | None = None
        self._filler: asyncio.Task[None] | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, on_complete: Callable[[], None]) -> None:
        self._path.parent.mkdir(mode=0o711, exist_ok=True)
        self._path.parent.chmod(0o711)
        self._path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        listening.setblocking(False)
        # By way of the directory's descriptor: the whole path may be longer than a socket's address can be.
        directory = os.open(self._path.parent, os.O_PATH)
        try:
            listening.bind(f"/proc/self/fd/{directory}/{self._path.name}")
        finally:
            os.close(directory)
        self._path.chmod(0o666)
        self._server = await asyncio.start_unix_server(self._accept, sock=listening, limit=1 << 20)
        if not self._file.exists():
            self._filler = asyncio.create_task(self._fill(on_complete))

    async def stop(self) -> None:
        tasks = [*self._connections, *([self._filler] if self._filler else [])]
        if self._server is not None:
            self._server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._path.unlink(missing_ok=True)
        await self.base.close()

    def connect(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)

        async def serve() -> None:
            await Connection(self.base, *await asyncio.open_unix_connection(sock=ours)).run()

        self._keep(asyncio.create_task(serve()))
        return theirs

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._keep(asyncio.create_task(Connection(self.base, reader, writer).run()))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _fill(self, on_complete: Callable[[], None]) -> None:
        while True:
            try:
                await self._write_file()
            except OSError as error:
                about = {"root": self.base.source.root, "reason": str(error)}
                log.warning("a base can't be completed, will be tried again", extra=about)
                await self._clock.sleep(_AFTER_DAMAGE)
            except DriverError as error:
                log.warning("a base waits", extra={"root": self.base.source.root, "reason": str(error)})
                await self._clock.sleep(_LONGEST_PAUSE)
            else:
                self.base.clear()
                on_complete()
                return

    async def _write_file(self) -> None:
        source = self.base.source
        key = None if source.key_id is None else await self._keys(source.key_id)
        part = self._file.with_name(f".{self._file.name}.part")
        with await asyncio.to_thread(base_file.create, part, source.size, key) as file:
            slots = asyncio.Semaphore(_FETCHED_AT_ONCE)

            async def copy(index: int) -> None:
                data = await self.base.read(index * BLOCK, min(BLOCK, source.size - index * BLOCK))
                await asyncio.to_thread(file.put, index, data)

            try:
                async with asyncio.TaskGroup() as group:
                    for index in range(-(-source.size // BLOCK)):
                        if not await self.base.hole(index):
                            await slots.acquire()
                            group.create_task(copy(index)).add_done_callback(lambda _: slots.release())
            except BaseExceptionGroup as several:
                raise several.exceptions[0] from None
            await asyncio.to_thread(file.finish)
        part.rename(self._file)
        await asyncio.to_thread(flush, self._file.parent)


def _name(source: SourceSpec) -> str:
    return hashlib.sha256(f"{source.root} {source.key_id or ''}".encode()).hexdigest()[:40]
