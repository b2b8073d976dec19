"""Lets the API read guests' consoles: a unix socket on which a question is one line of JSON, the answer a status and bytes.

The API has no way to the hosts; this is the only thing that it asks the controllers for. ``read_console`` is its client.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from pileus.hostapi.link import ConsoleError, HostLostError, HostSession

log = logging.getLogger(__name__)

_LIMIT = 16 << 20
_PATIENCE = 15.0


class Question(msgspec.Struct, frozen=True):
    """What is asked."""

    host_id: str
    instance_id: str
    what: Literal["output", "screenshot"]


class Answer(msgspec.Struct, frozen=True):
    """``data`` is base64 on the wire; ``error`` instead where there is none."""

    data: bytes = b""
    error: str = ""


class ConsoleServer:
    """Answers questions about the guests of the hosts that are connected to this process."""

    def __init__(self, path: Path, session_of: Callable[[str], HostSession | None]) -> None:
        self._path = path
        self._session_of = session_of
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begins to listen. The socket is for this process's user alone."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self._path))
        self._path.chmod(0o600)
        self._server = await asyncio.start_unix_server(self._converse, sock=listener)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                question = msgspec.json.decode(await reader.readline(), type=Question)
                writer.write(msgspec.json.encode(await self._answer(question)) + b"\n")
                await writer.drain()
        except (msgspec.DecodeError, TimeoutError, ConnectionError) as error:
            log.info("console question failed", extra={"reason": repr(error)})
        finally:
            writer.close()

    async def _answer(self, question: Question) -> Answer:
        session = self._session_of(question.host_id)
        if session is None:
            return Answer(error="its host is not connected")
        try:
            return Answer(data=await session.console(question.instance_id, question.what))
        except ConsoleError as error:
            return Answer(error=str(error) or "there is none")
        except (HostLostError, TimeoutError):
            return Answer(error="its host does not answer")


async def read_console(path: Path, question: Question) -> Answer:
    """Asks a ``ConsoleServer``. Raises OSError or TimeoutError when nobody answers."""
    async with asyncio.timeout(_PATIENCE):
        reader, writer = await asyncio.open_unix_connection(str(path), limit=_LIMIT)
        try:
            writer.write(msgspec.json.encode(question) + b"\n")
            line = await reader.readline()
        finally:
            writer.close()
    return msgspec.json.decode(line, type=Answer) if line else Answer(error="the controllers do not answer")
