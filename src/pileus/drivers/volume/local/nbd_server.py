"""Serves something that can be read as a disk to QEMU, read-only, over NBD on a unix socket. Called by ``bases``.

Fixed newstyle handshake, structured replies, and which parts are zeros ("base:allocation"). A client is a guest's QEMU: what
it sends is bounded, and it can read nothing but the one export that it was given the socket of.
"""

import asyncio
import struct
from collections.abc import Sequence
from typing import Protocol

from pileus.drivers.volume.local import nbd

_ALLOCATION = b"base:allocation"
_ALLOCATION_ID = 1
_AT_ONCE = 16
_LONGEST_OPTION = 64 * 1024
_LONGEST_STATUS = 1024


class Readable(Protocol):
    """What is served. Reads wait for as long as it takes; OSError means that these bytes can't be had."""

    @property
    def size(self) -> int:
        """In bytes."""
        ...

    async def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes, which lie within ``size``. Raises OSError."""
        ...

    async def extents(self, offset: int, length: int, limit: int) -> Sequence[tuple[int, bool]]:
        """From ``offset`` on, at most ``limit`` pieces: their length, and whether they are zeros. Raises OSError."""
        ...


class ProtocolError(Exception):
    """The client does not speak NBD."""


class Connection:
    """One client. ``run`` returns when it has gone; other tasks of it end with that."""

    def __init__(self, disk: Readable, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._disk = disk
        self._reader = reader
        self._writer = writer
        self._structured = False
        self._statuses = False
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> None:
        """Serves the client to its end. Raises nothing of the connection's."""
        try:
            if await self._negotiate():
                async with asyncio.TaskGroup() as group:
                    await self._serve(group)
        except (ProtocolError, OSError, EOFError):
            pass
        except BaseExceptionGroup as several:
            if several.split((ProtocolError, OSError, EOFError))[1] is not None:
                raise
        finally:
            self._writer.transport.abort()

    async def _negotiate(self) -> bool:
        flags = nbd.FIXED_NEWSTYLE | nbd.NO_ZEROES
        self._writer.write(struct.pack(">QQH", nbd.MAGIC, nbd.OPTION_MAGIC, flags))
        (chosen,) = struct.unpack(">I", await self._reader.readexactly(4))
        while True:
            magic, option, length = nbd.OPTION.unpack(await self._reader.readexactly(nbd.OPTION.size))
            if magic != nbd.OPTION_MAGIC or length > _LONGEST_OPTION:
                raise ProtocolError("not an option")
            data = await self._reader.readexactly(length)
            match option:
                case nbd.OPT_EXPORT_NAME:
                    zeros = b"" if chosen & nbd.NO_ZEROES else bytes(124)
                    self._writer.write(struct.pack(">QH", self._disk.size, self._flags()) + zeros)
                    return True
                case nbd.OPT_ABORT:
                    self._answer(option, nbd.REP_ACK)
                    return False
                case nbd.OPT_LIST:
                    self._answer(option, nbd.REP_SERVER, struct.pack(">I", 4) + b"base")
                    self._answer(option, nbd.REP_ACK)
                case nbd.OPT_GO | nbd.OPT_INFO:
                    self._inform(option)
                    if option == nbd.OPT_GO:
                        return True
                case nbd.OPT_STRUCTURED_REPLY:
                    self._structured = True
                    self._answer(option, nbd.REP_ACK)
                case nbd.OPT_SET_META_CONTEXT | nbd.OPT_LIST_META_CONTEXT:
                    self._choose_contexts(option, data)
                case _:
                    self._answer(option, nbd.REP_ERR_UNSUP)
            await self._writer.drain()

    def _flags(self) -> int:
        return nbd.FLAG_HAS_FLAGS | nbd.FLAG_READ_ONLY | nbd.FLAG_MULTI_CONN

    def _inform(self, option: int) -> None:
        export = struct.pack(">HQH", nbd.INFO_EXPORT, self._disk.size, self._flags())
        sizes = struct.pack(">HIII", nbd.INFO_BLOCK_SIZE, 1, 4096, nbd.LONGEST)
        self._answer(option, nbd.REP_INFO, export)
        self._answer(option, nbd.REP_INFO, sizes)
        self._answer(option, nbd.REP_ACK)

    def _choose_contexts(self, option: int, data: bytes) -> None:
        try:
            queries = _queries(data)
        except struct.error:
            self._answer(option, nbd.REP_ERR_INVALID)
            return
        wanted = not queries if option == nbd.OPT_LIST_META_CONTEXT else False
        if wanted or any(query in {_ALLOCATION, b"base:"} for query in queries):
            self._statuses = self._statuses or option == nbd.OPT_SET_META_CONTEXT
            self._answer(option, nbd.REP_META_CONTEXT, struct.pack(">I", _ALLOCATION_ID) + _ALLOCATION)
        self._answer(option, nbd.REP_ACK)

    def _answer(self, option: int, kind: int, data: bytes = b"") -> None:
        self._writer.write(nbd.OPTION_REPLY.pack(nbd.OPTION_REPLY_MAGIC, option, kind, len(data)) + data)

    async def _serve(self, group: asyncio.TaskGroup) -> None:
        tasks: set[asyncio.Task[None]] = set()
        try:
            while True:
                request = nbd.REQUEST.unpack(await self._reader.readexactly(nbd.REQUEST.size))
                magic, _flags, command, cookie, offset, length = request
                if magic != nbd.REQUEST_MAGIC:
                    raise ProtocolError("not a request")
                if command == nbd.CMD_DISC:
                    return
                await self._slots.acquire()
                task = group.create_task(self._perform(command, cookie, offset, length))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        finally:
            for task in tasks:
                task.cancel()

    async def _perform(self, command: int, cookie: int, offset: int, length: int) -> None:
        try:
            if command not in {nbd.CMD_READ, nbd.CMD_BLOCK_STATUS}:
                self._fail(cookie, nbd.EPERM)
            elif offset + length > self._disk.size or not length or (command == nbd.CMD_READ and length > nbd.LONGEST):
                self._fail(cookie, nbd.EINVAL)
            elif command == nbd.CMD_READ:
                self._send_data(cookie, offset, await self._disk.read(offset, length))
            elif self._statuses and self._structured:
                self._send_status(cookie, await self._disk.extents(offset, length, _LONGEST_STATUS))
            else:
                self._fail(cookie, nbd.EINVAL)
        except OSError:
            self._fail(cookie, nbd.EIO)
        finally:
            self._slots.release()
        await self._writer.drain()

    def _send_data(self, cookie: int, offset: int, data: bytes) -> None:
        if self._structured:
            self._chunk(cookie, nbd.CHUNK_DATA, struct.pack(">Q", offset) + data)
        else:
            self._writer.write(nbd.SIMPLE_REPLY.pack(nbd.SIMPLE_REPLY_MAGIC, 0, cookie) + data)

    def _send_status(self, cookie: int, extents: Sequence[tuple[int, bool]]) -> None:
        body = struct.pack(">I", _ALLOCATION_ID)
        for length, zero in extents:
            body += struct.pack(">II", length, nbd.STATE_HOLE | nbd.STATE_ZERO if zero else 0)
        self._chunk(cookie, nbd.CHUNK_BLOCK_STATUS, body)

    def _fail(self, cookie: int, error: int) -> None:
        if self._structured:
            self._chunk(cookie, nbd.CHUNK_ERROR, struct.pack(">IH", error, 0))
        else:
            self._writer.write(nbd.SIMPLE_REPLY.pack(nbd.SIMPLE_REPLY_MAGIC, error, cookie))

    def _chunk(self, cookie: int, kind: int, body: bytes) -> None:
        head = nbd.CHUNK.pack(nbd.STRUCTURED_REPLY_MAGIC, nbd.CHUNK_DONE, kind, cookie, len(body))
        self._writer.write(head + body)


def _queries(data: bytes) -> list[bytes]:
    """The names asked for in a meta context option. Raises struct.error."""
    (name_length,) = struct.unpack_from(">I", data)
    place = 4 + name_length
    (count,) = struct.unpack_from(">I", data, place)
    place += 4
    queries: list[bytes] = []
    for _ in range(count):
        (length,) = struct.unpack_from(">I", data, place)
        queries.append(data[place + 4 : place + 4 + length])
        place += 4 + length
    return queries
