"""Blobs in a bucket of another S3. The client is given by the composition root (``pileus.aws.remote_blobs`` has one).

A blob is kept in pieces of 8 MiB, the objects ``<prefix><two random digits>/<name>/<number>``: so one of unknown length needs
no multipart upload, nothing but put, ranged get, delete and list is asked of the other S3, and what a killed process leaves
is found by listing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Protocol

from pileus.engines.objects.blobs import Make, shard
from pileus.engines.objects.errors import Damaged

PIECE = 8 * 1024 * 1024


class RemoteBucket(Protocol):
    """What is asked of the other S3. Each may raise BlobsUnavailable, and StorageFull where it says so."""

    async def put(self, key: str, data: bytes) -> None:
        """Stores an object; durable on return. Raises StorageFull."""
        ...

    async def get(self, key: str, offset: int, length: int) -> bytes | None:
        """A range of an object, perhaps less where it ends before; None if there is no such object."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Deletes at most 1000 objects; one that is not there is no error."""
        ...

    async def list(self, prefix: str, after: str) -> Sequence[str]:
        """A page of keys greater than ``after``, in order; empty at the end."""
        ...


class RemoteBlobs:
    """See ``Blobs``. ``prefix`` sets this store apart from others in the bucket."""

    def __init__(self, bucket: RemoteBucket, prefix: str = "") -> None:
        self._bucket = bucket
        self._prefix = prefix

    async def create(self, name: str) -> "RemoteWriter":
        return RemoteWriter(self._bucket, self._folder(name))

    async def store(self, name: str, make: Make) -> None:
        writer = await self.create(name)
        await writer.write(make)
        await writer.finish()

    async def read(self, name: str, offset: int, length: int, decode: Callable[[bytes], bytes]) -> bytes:
        found: list[bytes] = []
        end = offset + length
        while offset < end:
            number, start = divmod(offset, PIECE)
            wanted = min(PIECE - start, end - offset)
            data = await self._bucket.get(f"{self._folder(name)}{number}", start, wanted)
            if data is None:
                raise Damaged(name, f"piece {number} is missing")
            if len(data) != wanted:
                raise Damaged(name, f"piece {number} is too short")
            found.append(data)
            offset += wanted
        return await asyncio.to_thread(decode, found[0] if len(found) == 1 else b"".join(found))

    async def delete(self, names: Iterable[str]) -> None:
        for name in names:
            folder = self._folder(name)
            while keys := await self._bucket.list(folder, ""):
                for start in range(0, len(keys), 1000):
                    await self._bucket.delete(keys[start : start + 1000])

    async def names(self) -> AsyncIterator[str]:
        after = last = ""
        while page := await self._bucket.list(self._prefix, after):
            for key in page:
                parts = key.removeprefix(self._prefix).split("/")
                if len(parts) != 3 or parts[1] == last:
                    continue  # no piece of a blob, or one more of the same
                last = parts[1]
                yield last
            after = page[-1]

    def _folder(self, name: str) -> str:
        return f"{self._prefix}{shard(name)}/{name}/"


class RemoteWriter:
    """See ``BlobWriter``. One piece is on its way while the next one gathers."""

    def __init__(self, bucket: RemoteBucket, folder: str) -> None:
        self._bucket = bucket
        self._folder = folder
        self._number = 0
        self._buffer = bytearray()
        self._pending: asyncio.Task[None] | None = None

    async def write(self, make: Make) -> None:
        for data in await asyncio.to_thread(make):
            self._buffer += data
        while len(self._buffer) >= PIECE:
            piece = bytes(self._buffer[:PIECE])
            del self._buffer[:PIECE]
            await self._put(piece)

    async def finish(self) -> None:
        if self._buffer or not self._number:
            await self._put(bytes(self._buffer))
        await self._settled()

    async def abandon(self) -> None:
        """Waits for what is on its way, so that it does not arrive behind the blob's removal."""
        if self._pending is not None:
            await asyncio.wait([self._pending])
            self._pending.exception()

    async def _put(self, piece: bytes) -> None:
        await self._settled()
        self._pending = asyncio.create_task(self._bucket.put(f"{self._folder}{self._number}", piece))
        self._number += 1

    async def _settled(self) -> None:
        if self._pending is not None:
            await asyncio.shield(self._pending)
            self._pending = None
