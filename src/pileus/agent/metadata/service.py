"""The metadata service of a host: a listener in each VPC, and who has which address there."""

import asyncio
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from pileus.agent.metadata.answers import Answerer, Request, Response
from pileus.agent.metadata.connection import Connection
from pileus.agent.metadata.identity import load_or_create
from pileus.agent.metadata.tokens import Tokens, load_or_create_key
from pileus.base.clock import Clock
from pileus.drivers.network.interface import Network
from pileus.hostapi.network_spec import NetworkSpec
from pileus.hostapi.spec import GuestSpec, MetadataSpec

ADDRESS, PORT = "169.254.169.254", 80
_CONNECTIONS_PER_SOURCE = 64


class MetadataService:
    """Answers each guest with its own metadata. Who asks is told by the source address, which the network vouches for.

    ``directory`` holds ``token-key`` and ``identity.pem`` (key and certificate that sign identity documents).
    """

    def __init__(self, network: Network, directory: Path, clock: Clock) -> None:
        self._network = network
        self._directory = directory
        self._clock = clock
        self._answerer: Answerer
        self._guests: dict[tuple[str, str], MetadataSpec] = {}
        self._prefixes: dict[str, list[tuple[IPv4Network, MetadataSpec]]] = {}
        self._listeners: dict[str, _Listener] = {}

    async def open(self) -> None:
        """Reads the keys, or makes them at the first start. Raises OSError."""
        self._answerer = await asyncio.to_thread(self._load)

    def accept(self, guests: Sequence[GuestSpec]) -> None:
        """Takes a new spec; the next answer is already given by it."""
        self._guests = {
            (interface.vpc_id, address): guest.metadata
            # Those that run last: they win over a guest that is going and whose address was given away already.
            for guest in sorted(guests, key=lambda guest: guest.power == "on")
            if guest.power != "gone"
            for interface in guest.metadata.interfaces
            for address in interface.private_addresses
        }
        self._prefixes = {}
        for guest in guests:
            for interface in guest.metadata.interfaces if guest.power != "gone" else ():
                of_vpc = self._prefixes.setdefault(interface.vpc_id, [])
                of_vpc += [(IPv4Network(prefix), guest.metadata) for prefix in interface.ipv4_prefixes]

    async def leave(self, spec: NetworkSpec) -> None:
        """Stops listening in VPCs that this network does not have."""
        for vpc_id in self._listeners.keys() - {vpc.vpc_id for vpc in spec.vpcs}:
            self._listeners.pop(vpc_id).close()

    async def enter(self, spec: NetworkSpec) -> None:
        """Listens in all VPCs of this network, which is there. Raises DriverError."""
        for vpc_id in {vpc.vpc_id for vpc in spec.vpcs} - self._listeners.keys():
            listener = _Listener(self, vpc_id)
            await listener.open(self._network)
            self._listeners[vpc_id] = listener

    def answer(self, vpc_id: str, source: str, request: Request) -> Response:
        """The answer to whoever has the address ``source`` in a VPC."""
        return self._answerer.answer(self._guests.get((vpc_id, source)) or self._behind(vpc_id, source), request)

    def _behind(self, vpc_id: str, source: str) -> MetadataSpec | None:
        """The guest with a prefix that the address is in."""
        if not (prefixes := self._prefixes.get(vpc_id)):
            return None
        address = IPv4Address(source)
        return next((guest for prefix, guest in prefixes if address in prefix), None)

    async def close(self) -> None:
        """Stops listening everywhere."""
        await self.leave(NetworkSpec())

    def _load(self) -> Answerer:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = load_or_create_key(self._directory / "token-key")
        identity = load_or_create(self._directory / "identity.pem", self._clock.now())
        return Answerer(Tokens(key, self._clock), identity)


class _Listener:
    """169.254.169.254 in one VPC, and its connections."""

    def __init__(self, service: MetadataService, vpc_id: str) -> None:
        self._service = service
        self._vpc_id = vpc_id
        self._server: asyncio.Server
        self._connections: set[Connection] = set()

    async def open(self, network: Network) -> None:
        listening = await network.listen(self._vpc_id, ADDRESS, PORT)
        self._server = await asyncio.get_running_loop().create_server(lambda: Connection(self), sock=listening)

    def close(self) -> None:
        self._server.close()
        for connection in tuple(self._connections):
            connection.abort()

    def admit(self, connection: Connection) -> bool:
        """Takes a connection in, unless its source has enough of them."""
        self._connections.add(connection)
        return sum(other.source == connection.source for other in self._connections) <= _CONNECTIONS_PER_SOURCE

    def forget(self, connection: Connection) -> None:
        """The connection has ended."""
        self._connections.discard(connection)

    def answer(self, source: str, request: Request) -> Response:
        """The answer to a request that came from ``source``."""
        return self._service.answer(self._vpc_id, source, request)
