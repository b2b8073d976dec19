"""Guests' way to the cloud's own API and S3: their connections, bytes untouched, to the API's process.

What the API is told of a connection's origin (see ``pileus.base.proxy_header``) goes ahead of it through a unix socket
that only the cloud's own processes may open, so nobody can say it for another.
"""

import asyncio
import contextlib
import logging
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from pileus.agent.loop import Loop
from pileus.base.clock import Clock
from pileus.base.proxy_header import Origin, encode
from pileus.drivers.errors import DriverError, RetryableError
from pileus.drivers.network.interface import Network
from pileus.hostapi.network_spec import NetworkSpec

log = logging.getLogger(__name__)

_PIECE = 64 << 10
_PER_PLACE = 1024  # connections at once: of a VPC's endpoint, or of all who come by the public address
_PER_SOURCE = 256
_LAST_WORDS = 10.0  # seconds for a peer to take what it was sent before the end
# Seconds until a peer that is silent is asked whether it lives, between two questions, and how many: a guest that was
# cut off holds a place for two minutes.
_KEEPALIVE = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 4}


class ApiSide(msgspec.Struct, frozen=True, kw_only=True):
    """Where the API's process takes connections in, and the ports on which guests reach it."""

    socket: Path
    ports: tuple[int, ...]


class Place(msgspec.Struct, frozen=True):
    """Where to listen: see ``Network.listen``. ``vpc`` and ``endpoint`` are told to the API."""

    name: str
    address: str
    port: int
    vpc: str = ""
    endpoint: str = ""


def places(spec: NetworkSpec, ports: tuple[int, ...]) -> Iterator[Place]:
    """Every place in a network at which guests reach the API."""
    for service in spec.services:
        for port in ports:
            yield Place("services", service.address, port)
    for vpc in spec.vpcs:
        interfaces = {interface.interface_id: interface for interface in vpc.interfaces}
        for endpoint in vpc.endpoints:
            here = [interfaces[name] for name in endpoint.interfaces if name in interfaces]
            for address in (each.address for interface in here for each in interface.addresses):
                for port in ports:
                    yield Place(endpoint.endpoint_id, address, port, vpc.vpc_id, endpoint.endpoint_id)


class ApiRelay:
    """Listens at all places of the host's network. ``api`` None: at none.

    A place where that fails for now holds up nothing else, guests least of all: it is tried again.
    """

    def __init__(self, network: Network, api: ApiSide | None, clock: Clock) -> None:
        self._network = network
        self._api = api
        self._clock = clock
        self._wanted: frozenset[Place] = frozenset()
        self._listeners: dict[Place, _Listener] = {}
        self._loop: Loop | None = None

    async def leave(self, spec: NetworkSpec) -> None:
        """Stops listening where this network has no place for it, and ends the connections there."""
        self._wanted &= self._places(spec)
        for place in self._listeners.keys() - self._wanted:
            self._listeners.pop(place).close()

    async def enter(self, spec: NetworkSpec) -> None:
        """Listens at every place of this network, which is there, as soon as that can be."""
        self._wanted = self._places(spec)
        if self._loop is not None:
            self._loop.wake()
        elif self._wanted:
            self._loop = Loop("relay to the API", self._listen, self._clock)

    async def close(self) -> None:
        """Ends everything."""
        if self._loop is not None:
            await self._loop.stop()
        await self.leave(NetworkSpec())

    def _places(self, spec: NetworkSpec) -> frozenset[Place]:
        return frozenset() if self._api is None else frozenset(places(spec, self._api.ports))

    async def _listen(self) -> None:
        assert self._api is not None
        failure: DriverError | None = None
        for place in self._wanted - self._listeners.keys():
            try:
                listening = await self._network.listen(place.name, place.address, place.port)
            except DriverError as error:
                failure = error
                continue
            listener = _Listener(place, self._api.socket)
            await listener.open(listening)
            if place in self._wanted:
                self._listeners[place] = listener
            else:  # it went meanwhile
                listener.close()
        if failure is not None:
            raise RetryableError(str(failure))


class _Listener:
    """One place, and the connections that came in there."""

    def __init__(self, place: Place, api: Path) -> None:
        self._place = place
        self._api = api
        self._server: asyncio.Server
        self._connections: dict[asyncio.Task[None], str] = {}
        self._sources: Counter[str] = Counter()

    async def open(self, listening: socket.socket) -> None:
        self._server = await asyncio.start_server(self._take, sock=listening, limit=_PIECE)

    def close(self) -> None:
        self._server.close()
        for connection in tuple(self._connections):
            connection.cancel()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source, port = (writer.get_extra_info("peername") or ("", 0))[:2]
        if not source or len(self._connections) >= _PER_PLACE or self._sources[source] >= _PER_SOURCE:
            writer.transport.abort()
            return
        peer: socket.socket = writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE.items():
            peer.setsockopt(socket.IPPROTO_TCP, option, value)
        origin = Origin(
            source=source,
            source_port=port,
            destination=self._place.address,
            destination_port=self._place.port,
            vpc=self._place.vpc,
            endpoint=self._place.endpoint,
        )
        task = asyncio.create_task(_relay(reader, writer, self._api, origin))
        self._connections[task] = source
        self._sources[source] += 1
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        source = self._connections.pop(task)
        self._sources[source] -= 1
        if not self._sources[source]:
            del self._sources[source]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a guest's connection to the API broke", extra={"source": source}, exc_info=error)


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, api: Path, origin: Origin) -> None:
    """Both ways, until the API has ended or one side is gone."""
    with contextlib.closing(_Ending(writer)):
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(str(api), limit=_PIECE)
        except OSError as error:
            log.warning("the API takes no connections", extra={"reason": str(error)})
            return
        with contextlib.closing(_Ending(far_writer)):
            far_writer.write(encode(origin))
            there = asyncio.create_task(_copy(reader, far_writer))
            back = asyncio.create_task(_copy(far_reader, writer))
            try:
                await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
                if (
                    there.done() and there.exception() is None
                ):  # the guest has said everything, and waits for the answer
                    await asyncio.wait({back})
            finally:
                there.cancel()
                back.cancel()
                results = await asyncio.gather(there, back, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception) and not isinstance(result, OSError):
            raise result


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_PIECE):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
    await writer.drain()


class _Ending:
    """Closes a writer once what it has is sent, or at once when nobody takes it."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def close(self) -> None:
        if self._writer.transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(_LAST_WORDS, self._writer.transport.abort)
        self._writer.close()
