"""One connection between an agent and the control plane: whole messages, nothing else.

A frame is four bytes of length (big endian) and a MessagePack map whose ``type`` says which message it is. Both sides
send a heartbeat when they have nothing to say; a side that hears nothing for ``SILENCE`` seconds gives the other up.
Used by ``pileus.hostapi.link`` (control plane), ``pileus.agent.uplink`` (agent) and ``block_link`` (the block store).
"""

import asyncio
import socket
import ssl
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from pileus.hostapi.observation import (
    ConsoleAnswer,
    ConsoleRequest,
    HostInventory,
    HostReport,
    KeyAnswer,
    KeyRequest,
)
from pileus.hostapi.spec import HostSpec, Spec

PROTOCOL = 1
HEARTBEAT = 3.0
SILENCE = 15.0

# A spec of a thousand guests with full user data has about 30 MB; a report of as many, or a screenshot, a few.
SPEC_LIMIT = 64 << 20
REPORT_LIMIT = 16 << 20
HELLO_LIMIT = 1 << 20


class Hello(Spec, frozen=True, kw_only=True, tag="hello"):
    """The agent's first message, said again whenever its inventory changes."""

    cloud_id: str
    inventory: HostInventory
    protocol: int = PROTOCOL


class Welcome(Spec, frozen=True, kw_only=True, tag="welcome"):
    """The control plane takes the host in."""

    protocol: int = PROTOCOL


class Refusal(Spec, frozen=True, kw_only=True, tag="refusal"):
    """The control plane does not; ``reason`` is for the operator of the host."""

    reason: str


class Heartbeat(Spec, frozen=True, kw_only=True, tag="heartbeat"):
    """Still there."""


ToAgent = Welcome | Refusal | Heartbeat | HostSpec | ConsoleRequest | KeyAnswer
ToControl = Hello | Heartbeat | HostReport | ConsoleAnswer | KeyRequest
TO_AGENT: msgspec.msgpack.Decoder[ToAgent] = msgspec.msgpack.Decoder(ToAgent)
TO_CONTROL: msgspec.msgpack.Decoder[ToControl] = msgspec.msgpack.Decoder(ToControl)

Received = TypeVar("Received")
_encoder = msgspec.msgpack.Encoder()


class UnixAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A socket on the same machine. ``mode`` are its permissions; who may speak is decided by user id besides."""

    path: Path
    mode: int = 0o600


class TlsAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A socket across machines. ``context`` holds the own certificate and demands the other side's.

    ``server_name`` is what the control plane's certificate must say (agents only; by default ``host``).
    """

    host: str
    port: int
    context: ssl.SSLContext
    server_name: str | None = None


Address = UnixAddress | TlsAddress


class ChannelError(Exception):
    """The connection is of no more use: it broke, fell silent, or carried something that is no message."""


class Channel(Generic[Received]):
    """Messages over a stream. After a ``ChannelError`` only ``abort`` is left to call."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        decoder: msgspec.msgpack.Decoder[Received],
        limit: int,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = decoder
        self._limit = limit
        self._sending = asyncio.Lock()

    async def receive(self, *, limit: int | None = None, silence: float = SILENCE) -> Received:
        """The next message. ``limit`` in bytes, ``silence`` in seconds. Raises ChannelError."""
        try:
            async with asyncio.timeout(silence):
                length = int.from_bytes(await self._reader.readexactly(4), "big")
                if length > (limit or self._limit):
                    raise ChannelError(f"a message of {length} bytes is too long")
                body = await self._reader.readexactly(length)
            return self._decoder.decode(body)
        except TimeoutError as error:
            raise ChannelError(f"nothing heard for {silence:g} s") from error
        except (OSError, asyncio.IncompleteReadError) as error:
            raise ChannelError("the other side went away") from error
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise ChannelError(f"not a message: {error}") from error

    async def send(self, message: Spec, *, silence: float = SILENCE) -> None:
        """Sends a message, waiting while the other side is slow to take it. Raises ChannelError."""
        frame = _encoder.encode(message)
        if len(frame) > SPEC_LIMIT:
            raise ChannelError(f"a message of {len(frame)} bytes is too long")
        try:
            async with self._sending, asyncio.timeout(silence):
                self._writer.write(len(frame).to_bytes(4, "big") + frame)
                await self._writer.drain()
        except TimeoutError as error:
            raise ChannelError(f"the other side took nothing for {silence:g} s") from error
        except OSError as error:
            raise ChannelError("the other side went away") from error

    async def beat(self, interval: float = HEARTBEAT) -> None:
        """Sends heartbeats until the connection ends."""
        while True:
            await asyncio.sleep(interval)
            await self.send(Heartbeat())

    def peer_uid(self) -> int:
        """The user id of the process at the other end of a unix socket (SO_PEERCRED)."""
        peer: socket.socket = self._writer.get_extra_info("socket")
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int.from_bytes(credentials[4:8], "little")

    def peer_names(self) -> frozenset[str]:
        """The DNS names in the certificate with which the other side proved itself; none without TLS."""
        certificate: dict[str, Any] = self._writer.get_extra_info("peercert") or {}
        return frozenset(name for kind, name in certificate.get("subjectAltName", ()) if kind == "DNS")

    def abort(self) -> None:
        """Ends the connection at once; whoever waits in it gets a ChannelError."""
        self._writer.transport.abort()


async def connect(address: Address) -> Channel[ToAgent]:
    """An agent's connection to the control plane, nothing said yet. Raises OSError (ssl.SSLError is one)."""
    return await open_channel(address, TO_AGENT, SPEC_LIMIT)


async def open_channel(address: Address, decoder: msgspec.msgpack.Decoder[Received], limit: int) -> Channel[Received]:
    """A connection on which messages of up to ``limit`` bytes come in. Raises OSError (ssl.SSLError is one)."""
    if isinstance(address, UnixAddress):
        reader, writer = await asyncio.open_unix_connection(address.path, limit=1 << 20)
    else:
        reader, writer = await asyncio.open_connection(
            address.host,
            address.port,
            ssl=address.context,
            server_hostname=address.server_name or address.host,
            limit=1 << 20,
        )
    return Channel(reader, writer, decoder, limit)


def bind(address: UnixAddress) -> socket.socket:
    """Binds the socket file with its permissions set before anyone can connect: that takes the later listen."""
    if address.path.is_socket():
        address.path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(address.path))
        address.path.chmod(address.mode)
    except OSError:
        listener.close()
        raise
    return listener


async def until_one_ends(*parts: Coroutine[Any, Any, None]) -> None:
    """Runs the parts of a conversation side by side until one ends or fails; the others are cancelled, its error raised."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
