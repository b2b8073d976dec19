"""Objects opened for reading. Made by the store; used by the S3 service."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from types import TracebackType
from typing import Self

import msgspec

from pileus.engines.objects.blobs import Blobs
from pileus.engines.objects.errors import InvalidRange
from pileus.engines.objects.frames import FRAME, INLINE, Frames
from pileus.engines.objects.model import ObjectVersion
from pileus.engines.objects.schema import Content, Segment
from pileus.engines.objects.versions import Found

PIECE = 16 * FRAME
"""Bytes that are read, checked and yielded at once; one more piece is read ahead."""


class _Piece(msgspec.Struct, frozen=True):
    blob: str
    frames: Frames
    total: int
    offset: int
    length: int


class OpenObject:
    """See ``Reading``. ``release`` is called when it is closed."""

    def __init__(self, found: Found, blobs: Blobs, release: Callable[[], None]) -> None:
        self._found = found
        self._blobs = blobs
        self._release: Callable[[], None] | None = release
        self._reading: set[asyncio.Task[bytes]] = set()

    @property
    def version(self) -> ObjectVersion:
        return self._found.version

    @property
    def content(self) -> Content:
        """Where the bytes are."""
        return self._found.content

    @property
    def inline(self) -> bytes:
        """The bytes of an object that is kept in the index, as they are kept."""
        return self._found.inline

    def range(self, first: int, last: int | None) -> tuple[int, int]:
        """(first byte, number of bytes) of a range within the object. Raises InvalidRange."""
        size = self.version.size
        if last is None and first == 0:
            return 0, size
        end = size - 1 if last is None else last
        if not 0 <= first <= end < size:
            raise InvalidRange(first, end, size)
        return first, end - first + 1

    def require_key(self, key: bytes | None) -> None:
        """Raises WrongKey."""
        if self.content.inline:
            Frames.existing(INLINE, key, self.content.salt, self.content.check)
        for segment in self.content.segments:
            Frames.existing(segment.blob, key, segment.salt, segment.check)

    def stream(self, first: int = 0, last: int | None = None, *, key: bytes | None = None) -> AsyncIterator[bytes]:
        start, length = self.range(first, last)
        if self.content.inline:
            frames = Frames.existing(INLINE, key, self.content.salt, self.content.check)
            return _once(frames.decode(self._found.inline, 0, start, length))
        segments = clip(self.content.segments, start, length)
        for segment in segments[:1]:
            Frames.existing(segment.blob, key, segment.salt, segment.check)  # raises here, not at the first piece
        return self._ahead(_pieces(segments, key))

    async def _ahead(self, pieces: Iterator[_Piece]) -> AsyncIterator[bytes]:
        tasks: deque[asyncio.Task[bytes]] = deque()
        try:
            for piece in pieces:
                task = asyncio.create_task(self._fetch(piece))
                self._reading.add(task)
                task.add_done_callback(self._reading.discard)
                tasks.append(task)
                if len(tasks) == 2:
                    yield await tasks.popleft()
            while tasks:
                yield await tasks.popleft()
        finally:
            await _stop(tasks)

    async def _fetch(self, piece: _Piece) -> bytes:
        number, start, stored = piece.frames.span(piece.offset, piece.length, piece.total)
        return await self._blobs.read(
            piece.blob,
            start,
            stored,
            lambda data: piece.frames.decode(data, number, piece.offset % FRAME, piece.length),
        )

    async def close(self) -> None:
        """A stream that nobody goes on to read ends, too."""
        await _stop(self._reading.copy())
        release, self._release = self._release, None
        if release is not None:
            release()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def clip(segments: Sequence[Segment], start: int, length: int) -> list[Segment]:
    """The segments of a range of what ``segments`` are together."""
    end = start + length
    clipped: list[Segment] = []
    place = 0
    for segment in segments:
        first, last = max(start, place), min(end, place + segment.length)
        if first < last:
            clipped.append(msgspec.structs.replace(segment, offset=segment.offset + first - place, length=last - first))
        place += segment.length
    return clipped


def _pieces(segments: Sequence[Segment], key: bytes | None) -> Iterator[_Piece]:
    for segment in segments:
        frames = Frames.existing(segment.blob, key, segment.salt, segment.check)
        offset, end = segment.offset, segment.offset + segment.length
        while offset < end:
            stop = min(offset - offset % PIECE + PIECE, end)
            yield _Piece(segment.blob, frames, segment.total, offset, stop - offset)
            offset = stop


async def _stop(tasks: Collection[asyncio.Task[bytes]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    if data:
        yield data
