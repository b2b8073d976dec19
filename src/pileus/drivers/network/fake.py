"""A network that exists in memory alone, for tests and the simulated cloud."""

import os
import socket
from collections.abc import Sequence

from pileus.drivers.errors import DriverError, RetryableError
from pileus.drivers.network.interface import NetworkState
from pileus.drivers.network.reachability import allows, public_addresses
from pileus.hostapi.network_spec import NetworkSpec
from pileus.hostapi.observation import FlowObservation


class FakeNetwork:
    """The network driver ``fake``.

    Attributes:
        spec: what was applied last. fail_next: an error that the next ``apply`` raises instead of doing anything.
        packets: by interface id, how many packets its guest is said to have sent. captured: what ``flows`` tells next.
    """

    def __init__(self) -> None:
        self.spec = NetworkSpec()
        self.fail_next: DriverError | None = None
        self.packets: dict[str, int] = {}
        self.captured: list[FlowObservation] = []

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def apply(self, spec: NetworkSpec) -> None:
        if self.fail_next is not None:
            error, self.fail_next = self.fail_next, None
            raise error
        self.spec = spec

    async def observe(self) -> NetworkState:
        return NetworkState(
            vpcs=frozenset(vpc.vpc_id for vpc in self.spec.vpcs),
            interfaces=frozenset(interface.interface_id for vpc in self.spec.vpcs for interface in vpc.interfaces),
            public_addresses=frozenset(address for vpc in self.spec.vpcs for address in public_addresses(vpc)),
        )

    async def open_tap(self, interface_id: str) -> int:
        """A descriptor that carries nothing."""
        if interface_id not in (await self.observe()).interfaces:
            raise RetryableError(f"{interface_id} is not here")
        return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    async def listen(self, place: str, address: str, port: int) -> socket.socket:
        """A listening socket on the loopback interface, on a port of the kernel's choice."""
        endpoints = {endpoint.endpoint_id for vpc in self.spec.vpcs for endpoint in vpc.endpoints}
        if place != "services" and place not in {vpc.vpc_id for vpc in self.spec.vpcs} | endpoints:
            raise RetryableError(f"{place} is not here")
        return socket.create_server(("127.0.0.1", 0))

    async def heard(self, interface_id: str) -> int:
        return self.packets.get(interface_id, 0)

    async def flows(self) -> Sequence[FlowObservation]:
        told, self.captured = self.captured, []
        return told

    async def destroy(self) -> None:
        self.spec = NetworkSpec()

    def allows(self, source: str, destination: str, protocol: str, port: int = -1) -> bool:
        """Whether what was applied lets a connection begin; see ``reachability.allows``."""
        return allows(self.spec, source, destination, protocol, port)
