"""A guest's QMP connection: commands with a time limit, and events as they come. Called by ``guest``."""

import asyncio
import base64
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from qemu.qmp import EventListener, ExecuteError, Message, QMPClient, QMPError

_PICTURE_LIMIT = 16 << 20
_PICTURE_SET = 999_999  # an fd set id that no disk has: those are numbered by descriptor

# The package reports each hang-up as an error of its own; ours say which guest, and whether it matters.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)


class MonitorError(Exception):
    """QEMU did not answer in time, hung up or refused. Whether a command took effect is unknown."""


class Refused(MonitorError):
    """QEMU answered with an error: the command has done nothing."""


class _Status(msgspec.Struct):
    status: str


class _Added(msgspec.Struct, rename="kebab"):
    fdset_id: int


class Monitor:
    """A connection to one QEMU. QEMU talks to one client at a time, so there is one of these for each guest."""

    def __init__(
        self, client: QMPClient, connection: socket.socket, limit: float, on_event: Callable[[str], None]
    ) -> None:
        self._client = client
        self._connection = connection
        self._limit = limit
        self._on_event = on_event
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def connect(
        cls, socket_path: Path, limit: float, on_event: Callable[[str], None], *, first_limit: float | None = None
    ) -> "Monitor":
        """Connects to a QEMU that must answer within ``limit`` seconds, now and to every command.

        ``first_limit`` holds for the connection instead: a QEMU that was just started answers once it is up.
        ``on_event`` is called with the name of each event. Raises MonitorError.
        """
        client = QMPClient()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        # The address of a unix socket has at most 107 bytes: we go through the directory's descriptor.
        directory = os.open(socket_path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            async with asyncio.timeout(limit if first_limit is None else first_limit):
                address = f"/proc/self/fd/{directory}/{socket_path.name}"
                await asyncio.get_running_loop().sock_connect(connection, address)
                await client.connect(connection.dup())
        except BaseException as error:
            connection.close()
            if isinstance(error, (QMPError, OSError, EOFError, TimeoutError)):
                raise MonitorError(f"no connection to {socket_path}: {error!r}") from error
            raise
        finally:
            os.close(directory)
        return cls(client, connection, limit, on_event)

    async def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> object:
        """Runs a QMP command. Raises MonitorError."""
        try:
            async with asyncio.timeout(self._limit):
                return await self._client.execute(command, arguments)
        except ExecuteError as error:
            raise Refused(f"{command}: {error.error.error.desc}") from error
        except (QMPError, OSError, EOFError, TimeoutError) as error:
            raise MonitorError(f"{command}: {error!r}") from error

    async def status(self) -> str:
        """The run state of ``query-status``: ``running``, ``shutdown``, ``guest-panicked``, ..."""
        return msgspec.convert(await self.execute("query-status"), _Status).status

    async def add_file(self, descriptor: int, label: str, fdset: int | None = None) -> int:
        """Gives QEMU an open file, into a set of its own or into ``fdset``; returns the set's number."""
        self._send(descriptor)
        place = {} if fdset is None else {"fdset-id": fdset}
        return msgspec.convert(await self.execute("add-fd", {"opaque": label, **place}), _Added).fdset_id

    async def add_named(self, descriptor: int, name: str) -> None:
        """Gives QEMU an open directory or socket that it keeps until it is told to close ``name``."""
        self._send(descriptor)
        await self.execute("getfd", {"fdname": name})

    async def read_ring(self, device: str, size: int) -> bytes:
        """Takes at most ``size`` bytes out of a ring buffer."""
        answer = await self.execute("ringbuf-read", {"device": device, "size": size, "format": "base64"})
        return base64.b64decode(msgspec.convert(answer, str))

    async def screenshot(self) -> bytes:
        """The screen as PNG, drawn into memory that we hand to QEMU: it has no file system to write to."""
        picture = os.memfd_create("screenshot")
        # QEMU opens it for writing, and finds in an fd set only what was opened in the same way.
        canvas = os.open(f"/proc/self/fd/{picture}", os.O_WRONLY)
        try:
            self._send(canvas)
            await self.execute("add-fd", {"fdset-id": _PICTURE_SET})
            try:
                await self.execute("screendump", {"filename": f"/dev/fdset/{_PICTURE_SET}", "format": "png"})
            finally:
                await self.execute("remove-fd", {"fdset-id": _PICTURE_SET})
            return os.pread(picture, _PICTURE_LIMIT, 0)
        finally:
            os.close(canvas)
            os.close(picture)

    async def close(self) -> None:
        """Hangs up."""
        self._listening.cancel()
        with contextlib.suppress(QMPError, OSError, EOFError, TimeoutError):
            async with asyncio.timeout(self._limit):
                await self._client.disconnect()
        self._connection.close()

    def _send(self, descriptor: int) -> None:
        """Sends a descriptor for the command that comes next.

        qemu.qmp's own way of sending descriptors reaches into asyncio's sockets, which uvloop doesn't have. Blank space
        between two commands means nothing.
        """
        try:
            socket.send_fds(self._connection, [b" "], [descriptor])
        except OSError as error:
            raise MonitorError(f"a descriptor can't be sent: {error!r}") from error

    async def _listen(self) -> None:
        listener = EventListener()
        with self._client.listen(listener):
            while True:
                event: Message = await listener.get()
                self._on_event(str(event["event"]))
