"""Bodies that stream in: hashed, framed and written as they come, in constant memory. Called by the store."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from typing import ParamSpec, TypeVar

import msgspec

from pileus.engines.objects.blobs import Blobs, BlobWriter, Buffers, new_name
from pileus.engines.objects.digests import BodyDigest
from pileus.engines.objects.errors import LengthMismatch, ObjectsError, TooLarge
from pileus.engines.objects.frames import FRAME, INLINE, Frames
from pileus.engines.objects.model import Checksum, Digests
from pileus.engines.objects.schema import Content, Segment

_log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

INLINE_LIMIT = 16 * 1024
"""Bytes that an object may have to be kept in the index itself."""
BATCH = 16 * FRAME
"""Bytes that are worth a trip to a thread."""


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """A body that was stored durably, but is not in the index yet. ``blob`` is the one that was written, if any."""

    size: int
    md5: bytes
    checksum: Checksum | None
    content: Content
    inline: bytes = b""
    blob: str | None = None


class Receiver:
    """Writes blobs. ``writing`` has those that were begun and are not settled: the sweep lets them be."""

    def __init__(self, blobs: Blobs, process: str, executor: Executor) -> None:
        self._blobs = blobs
        self._process = process
        self._executor = executor
        self.writing: set[str] = set()

    async def receive(
        self, body: AsyncIterator[bytes], digests: Digests, key: bytes | None, limit: int, *, inline: bool
    ) -> Received:
        """Stores a body. The blob must then be settled, or discarded.

        Raises DigestMismatch, LengthMismatch, TooLarge, WrongKey, StorageFull, BlobsUnavailable, and what the body raises.
        """
        blob = new_name(self._process)
        self.writing.add(blob)
        try:
            received = await _Reception(self._blobs, self._executor, blob, digests, key).run(body, limit, inline=inline)
        except BaseException:
            await self.discard(blob)
            raise
        if received.blob is None:
            self.settle(blob)
        return received

    async def hash(self, body: AsyncIterator[bytes], digests: Digests) -> Received:
        """As ``receive``, but nothing is stored. Raises DigestMismatch, LengthMismatch, and what the body raises."""
        digest = BodyDigest(digests.algorithm)
        size = 0
        async for piece in body:
            size += len(piece)
            await asyncio.get_running_loop().run_in_executor(self._executor, digest.update, piece)
        if digests.length is not None and digests.length != size:
            raise LengthMismatch(digests.length, size)
        return Received(size=size, md5=digest.md5(None), checksum=digest.checksum(None), content=Content())

    def settle(self, blob: str) -> None:
        """The index names it now, or it was never written."""
        self.writing.discard(blob)

    async def discard(self, blob: str) -> None:
        """Removes a blob that will not be named. Should that fail, the sweep does it."""
        try:
            await asyncio.shield(self._blobs.delete([blob]))
        except ObjectsError:
            _log.warning("blob could not be removed, a sweep will do it", extra={"blob": blob}, exc_info=True)
        finally:
            self.writing.discard(blob)


class _Reception:
    """One body."""

    def __init__(self, blobs: Blobs, executor: Executor, blob: str, digests: Digests, key: bytes | None) -> None:
        self._blobs = blobs
        self._executor = executor
        self._blob = blob
        self._digests = digests
        self._digest = BodyDigest(digests.algorithm)
        self._key = key
        self._frames = Frames(blob, key)
        self._writer: BlobWriter | None = None
        self._frame = 0
        self._pending: asyncio.Task[None] | None = None

    async def run(self, body: AsyncIterator[bytes], limit: int, *, inline: bool) -> Received:
        try:
            size, rest = await self._take(body, limit)
            stored_inline = inline and self._writer is None and size <= INLINE_LIMIT
            data = b""
            if stored_inline:
                self._frames = Frames(INLINE, self._key)
                self._digest.update(rest)
                data = b"".join(self._frames.encode(rest, 0))
            elif self._writer is None:
                await self._store(rest)
            else:
                await self._push(rest)
                await self._settled()
            md5, checksum = self._verify(size)
            if self._writer is not None:
                await self._writer.finish()
        except BaseException:
            await self._abandon()
            raise
        salt, check = self._frames.salt, self._frames.check
        if stored_inline:
            content = Content(inline=True, salt=salt, check=check)
            return Received(size=size, md5=md5, checksum=checksum, content=content, inline=data)
        segments = (Segment(self._blob, 0, size, size, salt, check),)
        return Received(size=size, md5=md5, checksum=checksum, content=Content(segments=segments), blob=self._blob)

    async def _take(self, body: AsyncIterator[bytes], limit: int) -> tuple[int, bytearray]:
        """Writes full batches as they come; (bytes in all, the last ones)."""
        size = 0
        buffer = bytearray()
        async for piece in body:
            size += len(piece)
            if size > limit:
                raise TooLarge(limit, size)
            buffer += piece
            if len(buffer) > BATCH:
                cut = (len(buffer) - 1) // FRAME * FRAME  # something is left for the last frame
                if self._writer is None:
                    self._writer = await self._blobs.create(self._blob)
                rest = buffer[cut:]
                del buffer[cut:]
                await self._push(buffer)
                buffer = rest
        return size, buffer

    async def _push(self, data: bytearray) -> None:
        """Begins to work on a batch when the one before is done; meanwhile the next one is received."""
        await self._settled()
        first, self._frame = self._frame, self._frame + -(-len(data) // FRAME)
        self._pending = asyncio.create_task(self._work(data, first))

    async def _work(self, data: bytearray, first: int) -> None:
        assert self._writer is not None
        hashed = self._thread(self._digest.update, data)
        try:
            await self._writer.write(lambda: self._frames.encode(data, first))
        finally:
            await hashed

    async def _settled(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            await pending

    async def _store(self, data: bytearray) -> None:
        """A whole body at once: a large one is hashed while it is written, a small one before."""
        if len(data) < BATCH // 4:
            await self._blobs.store(self._blob, lambda: self._process(data))
            return
        hashed = self._thread(self._digest.update, data)
        try:
            await self._blobs.store(self._blob, lambda: self._frames.encode(data, 0))
        finally:
            await hashed

    def _process(self, data: bytearray) -> Buffers:
        self._digest.update(data)
        self._verify(len(data))
        return self._frames.encode(data, 0)

    def _verify(self, size: int) -> tuple[bytes, Checksum | None]:
        expected = self._digests.expected
        if self._digests.length is not None and self._digests.length != size:
            raise LengthMismatch(self._digests.length, size)
        if callable(expected):
            expected = expected()
        return self._digest.md5(self._digests.md5), self._digest.checksum(expected)

    async def _abandon(self) -> None:
        """Waits for the threads, so that nothing is written behind the blob's removal."""
        if self._pending is not None:
            await asyncio.wait([self._pending])
            self._pending.exception()
        if self._writer is not None:
            await self._writer.abandon()

    def _thread(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._executor, lambda: function(*arguments, **named))
