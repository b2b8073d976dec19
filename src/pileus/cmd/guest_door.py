"""Where the API takes in the connections that a host's agent hands on for guests. Opened by ``pileus.cmd.serve``.

Each begins with a PROXY header that says where it comes from. Only root and the cloud's own user may say so.
"""

import asyncio
import logging
import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pileus.base.proxy_header import FIXED_SIZE, Origin, decode, rest_size
from pileus.hostapi.channel import UnixAddress, bind

if TYPE_CHECKING:
    import uvicorn

_log = logging.getLogger(__name__)

_HEADER_WITHIN = 5.0
_BACKLOG = 256


class GuestDoor:
    """A unix socket beside the API's own. What comes in there is served as all else, with the guest's own address.

    A request's scope has ``vpc`` and ``endpoint`` in its ``state``.
    """

    def __init__(self, path: Path, server: "uvicorn.Server") -> None:
        self._path = path
        self._server = server
        self._allowed = {0, os.geteuid()}
        self._greeting: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Takes connections until cancelled. Raises OSError when the socket can't be made."""
        loop = asyncio.get_running_loop()
        with bind(UnixAddress(path=self._path)) as listener:
            listener.setblocking(False)
            listener.listen(_BACKLOG)
            try:
                while True:
                    connection, _ = await loop.sock_accept(listener)
                    task = asyncio.create_task(self._greet(connection))
                    self._greeting.add(task)
                    task.add_done_callback(self._greeting.discard)
            finally:
                for task in self._greeting:
                    task.cancel()

    async def _greet(self, connection: socket.socket) -> None:
        try:
            if _peer_uid(connection) not in self._allowed:
                raise PermissionError("only the cloud's own processes may speak for guests")  # noqa: TRY301
            async with asyncio.timeout(_HEADER_WITHIN):
                fixed = await _receive(connection, FIXED_SIZE)
                origin = decode(fixed, await _receive(connection, rest_size(fixed)))
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: _protocol(self._server, origin), connection, ssl=self._server.config.ssl
            )
        except (OSError, ValueError, TimeoutError) as error:
            _log.warning("a connection is not taken", extra={"reason": str(error)})
            connection.close()
        except BaseException:
            connection.close()
            raise


def _peer_uid(connection: socket.socket) -> int:
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return uid


async def _receive(connection: socket.socket, size: int) -> bytes:
    """Exactly as many bytes: what follows is the guest's."""
    data = b""
    while len(data) < size:
        piece = await asyncio.get_running_loop().sock_recv(connection, size - len(data))
        if not piece:
            raise ConnectionError("it ended in its header")
        data += piece
    return data


def _protocol(server: "uvicorn.Server", origin: Origin) -> asyncio.Protocol:
    """The server's own protocol, whose client is the guest."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class FromGuest(HttpToolsProtocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.client = origin.source, origin.source_port
            self.server = origin.destination, origin.destination_port

    state = {"vpc": origin.vpc, "endpoint": origin.endpoint}
    return FromGuest(config=server.config, server_state=server.server_state, app_state=state)
