"""Reads what a snapshot shows, beside the guest: which blocks differ from its parent's, and their bytes.

A storage daemon without rights opens the frozen layers read-only and exports them; nothing of ours looks into the files.
Called by ``driver``.
"""

import asyncio
import socket
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from pileus.base import process
from pileus.drivers.errors import RetryableError
from pileus.drivers.hypervisor.interface import DiskLayer
from pileus.drivers.volume.local.nbd_client import NbdClient, NbdError
from pileus.drivers.volume.local.tools import HandOver, Tools
from pileus.engines.blocks.interface import BLOCK

_EXPORT = "frozen"
_START_LIMIT = 30.0


class Frozen:
    """A frozen state, open for reading. ``size`` in bytes."""

    def __init__(self, client: NbdClient) -> None:
        self._client = client
        self.size = client.size

    async def blocks(self, layers: int | None) -> list[int]:
        """The blocks of which anything is allocated in the upper ``layers``; None: in any, the base too.

        Raises RetryableError.
        """
        found: list[int] = []
        try:
            async for offset, length, depth in self._client.depths():
                if depth and (layers is None or depth <= layers):
                    first, last = offset // BLOCK, (offset + length - 1) // BLOCK
                    found += range(first if not found or found[-1] < first else found[-1] + 1, last + 1)
        except NbdError as error:
            raise RetryableError(f"frozen layers can't be read: {error}") from error
        return found

    async def read(self, blocks: Sequence[int]) -> AsyncIterator[tuple[int, bytes]]:
        """These blocks' bytes; the last one of the volume may be shorter. Raises RetryableError."""
        for block in blocks:
            offset = block * BLOCK
            try:
                data = await self._client.read(offset, min(BLOCK, self.size - offset))
            except NbdError as error:
                raise RetryableError(f"frozen layers can't be read: {error}") from error
            yield block, data


@asynccontextmanager
async def opened(
    tools: Tools, layers: Sequence[DiskLayer], base: DiskLayer | None, served: socket.socket | None
) -> AsyncGenerator[Frozen]:
    """Opens frozen layers, top first, over a base: a file, or the socket of a connection to the base's server.

    Raises RetryableError: a file can't be opened, or the daemon doesn't start.
    """
    with tools.hand_over() as given:
        try:
            argv = _command(given, layers, base, served)
        except OSError as error:
            raise RetryableError(f"frozen layers can't be opened: {error}") from error
        daemon, connected = _start(tools, given, argv)
        try:
            client = await _connect(daemon, connected)
            try:
                yield Frozen(client)
            finally:
                client.close()
        finally:
            daemon.kill()
            await asyncio.to_thread(daemon.wait)


def _command(
    given: HandOver, layers: Sequence[DiskLayer], base: DiskLayer | None, served: socket.socket | None
) -> list[str]:
    # One node each, by name: a backing node that is written inline would be mixed with the file name in the header.
    nodes: list[dict[str, Any]] = []
    if served is not None:
        server = {"type": "fd", "str": str(given.keep_socket(served))}
        nodes.append({"driver": "nbd", "server": server, "export": "base", "read-only": True})
    elif base is not None:
        nodes.append(given.node(base, None))
    for layer in reversed(layers):
        node = given.node(layer, None)
        nodes.append(node | {"backing": f"{_EXPORT}-{len(nodes) - 1}"} if nodes else node)
    top = f"{_EXPORT}-{len(nodes) - 1}"
    export = {
        "type": "nbd",
        "id": _EXPORT,
        "node-name": top,
        "name": _EXPORT,
        "writable": False,
        "allocation-depth": True,
    }
    blocks = [
        word
        for number, node in enumerate(nodes)
        for word in ("--blockdev", _json(node | {"node-name": f"{_EXPORT}-{number}"}))
    ]
    return [*given.arguments(), *blocks, "--export", _json(export)]


def _start(tools: Tools, given: HandOver, argv: Sequence[str]) -> tuple[process.Child, socket.socket]:
    """The daemon, and a connection to it that nobody else could have made."""
    with tempfile.TemporaryDirectory(prefix="pileus-") as private, socket.socket(socket.AF_UNIX) as listening:
        path = str(Path(private) / "nbd")
        listening.bind(path)
        listening.listen(1)
        connected = socket.socket(socket.AF_UNIX)
        connected.connect(path)
        server = {"addr": {"type": "fd", "str": str(listening.fileno())}}
        daemon = process.spawn(
            *(*tools.words(), "qemu-storage-daemon", "--nbd-server", _json(server), *argv),
            pass_fds=(*given.descriptors, listening.fileno()),
            stdin=process.NOTHING,
            stdout=process.NOTHING,
            stderr=process.NOTHING,
        )
        return daemon, connected


async def _connect(daemon: process.Child, connected: socket.socket) -> NbdClient:
    try:
        async with asyncio.timeout(_START_LIMIT):
            return await NbdClient.open(connected, _EXPORT)
    except (NbdError, TimeoutError) as error:
        raise RetryableError(f"frozen layers can't be read: {error}") from error


def _json(value: dict[str, Any]) -> str:
    return msgspec.json.encode(value).decode()
