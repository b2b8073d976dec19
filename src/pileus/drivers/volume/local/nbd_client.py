"""Reads a disk that QEMU's storage daemon exports over NBD. Called by ``frozen``.

Source: the NBD protocol, and QEMU, docs/interop/nbd.txt (the context "qemu:allocation-depth").
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from typing import Self

from pileus.drivers.volume.local import nbd

_DEPTH = b"qemu:allocation-depth"
_STATUS_AT_ONCE = 1 << 30
_LIMIT = 64 << 20


class NbdError(Exception):
    """The server refused, failed, or doesn't speak NBD as expected. What was asked for is not known."""


class NbdClient:
    """A connection to one export; one request at a time. ``size`` in bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._cookie = 0
        self._asking = asyncio.Lock()
        self.size = 0

    @classmethod
    async def open(cls, connected: socket.socket, export: str) -> Self:
        """Takes the socket over. Raises NbdError."""
        connected.setblocking(False)
        client = cls(*await asyncio.open_unix_connection(sock=connected))
        try:
            await client._negotiate(export.encode())
        except (OSError, EOFError, struct.error) as error:
            client.close()
            raise NbdError(f"the handshake failed: {error}") from error
        except BaseException:
            client.close()
            raise
        return client

    def close(self) -> None:
        """Drops the connection."""
        self._writer.transport.abort()

    async def read(self, offset: int, length: int) -> bytes:
        """These bytes. Raises NbdError."""
        async with self._asking:
            data = bytearray(length)
            async for kind, body in self._ask(nbd.CMD_READ, offset, length):
                if kind == nbd.CHUNK_DATA:
                    (place,) = struct.unpack_from(">Q", body)
                    if not offset <= place <= offset + length - (len(body) - 8):
                        raise NbdError("data from somewhere else")
                    data[place - offset : place - offset + len(body) - 8] = body[8:]
                elif kind != nbd.CHUNK_HOLE:  # a hole is zeros, which it is already
                    raise NbdError(f"a read is answered by {kind}")
            return bytes(data)

    async def depths(self) -> AsyncIterator[tuple[int, int, int]]:
        """The whole disk in pieces: offset, length, and in which layer it is: 1 is the top, 0 none. Raises NbdError."""
        offset = 0
        while offset < self.size:
            async with self._asking:
                pieces: list[tuple[int, int]] = []
                length = min(_STATUS_AT_ONCE, self.size - offset)
                async for kind, body in self._ask(nbd.CMD_BLOCK_STATUS, offset, length):
                    if kind == nbd.CHUNK_BLOCK_STATUS:
                        pieces += struct.iter_unpack(">II", body[4:])
            if not pieces:
                raise NbdError("no block status")
            for length, depth in pieces:
                yield offset, min(length, self.size - offset), depth
                offset += length

    async def _negotiate(self, export: bytes) -> None:
        magic, option_magic, flags = struct.unpack(">QQH", await self._reader.readexactly(18))
        if (magic, option_magic) != (nbd.MAGIC, nbd.OPTION_MAGIC) or not flags & nbd.FIXED_NEWSTYLE:
            raise NbdError("not an NBD server")
        self._writer.write(struct.pack(">I", nbd.FIXED_NEWSTYLE | nbd.NO_ZEROES))
        await self._option(nbd.OPT_STRUCTURED_REPLY, b"")
        named = struct.pack(">I", len(export)) + export
        query = struct.pack(">II", 1, len(_DEPTH)) + _DEPTH
        if not await self._option(nbd.OPT_SET_META_CONTEXT, named + query):
            raise NbdError("the server doesn't say what is allocated")
        for info in await self._option(nbd.OPT_GO, named + struct.pack(">H", 0)):
            if struct.unpack_from(">H", info)[0] == nbd.INFO_EXPORT:
                (self.size,) = struct.unpack_from(">Q", info, 2)

    async def _option(self, option: int, data: bytes) -> list[bytes]:
        self._writer.write(nbd.OPTION.pack(nbd.OPTION_MAGIC, option, len(data)) + data)
        found: list[bytes] = []
        while True:
            head = await self._reader.readexactly(nbd.OPTION_REPLY.size)
            magic, answered, kind, length = nbd.OPTION_REPLY.unpack(head)
            body = await self._reader.readexactly(min(length, _LIMIT))
            if magic != nbd.OPTION_REPLY_MAGIC or answered != option:
                raise NbdError("not an answer")
            if kind == nbd.REP_ACK:
                return found
            if kind >= nbd.REP_ERR_UNSUP:
                raise NbdError(f"option {option} is refused: {body[:200].decode(errors='replace')}")
            found.append(body)

    async def _ask(self, command: int, offset: int, length: int) -> AsyncIterator[tuple[int, bytes]]:
        self._cookie += 1
        try:
            self._writer.write(nbd.REQUEST.pack(nbd.REQUEST_MAGIC, 0, command, self._cookie, offset, length))
            flags, failure = 0, ""
            while not flags & nbd.CHUNK_DONE:
                magic, flags, kind, cookie, size = nbd.CHUNK.unpack(await self._reader.readexactly(nbd.CHUNK.size))
                if magic != nbd.STRUCTURED_REPLY_MAGIC or cookie != self._cookie or size > _LIMIT:
                    raise NbdError("not a reply")
                body = await self._reader.readexactly(size)
                if kind & nbd.CHUNK_IS_ERROR:
                    failure = f"{length} bytes at {offset}: error {struct.unpack_from('>I', body)[0]}"
                elif kind != nbd.CHUNK_NONE:
                    yield kind, body
        except (OSError, EOFError, struct.error) as error:
            raise NbdError(f"the server went away: {error}") from error
        if failure:
            raise NbdError(failure)
