"""A network that exists in memory alone, for tests and the simulated cloud."""

import os
import socket

from pileus.drivers.errors import DriverError, RetryableError
from pileus.drivers.network.interface import NetworkState
from pileus.drivers.network.reachability import allows
from pileus.hostapi.network_spec import NetworkSpec


class FakeNetwork:
    """The network driver ``fake``.

    Attributes:
        spec: what was applied last. fail_next: an error that the next ``apply`` raises instead of doing anything.
    """

    def __init__(self) -> None:
        self.spec = NetworkSpec()
        self.fail_next: DriverError | None = None

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
        interfaces = [interface for vpc in self.spec.vpcs for interface in vpc.interfaces]
        return NetworkState(
            vpcs=frozenset(vpc.vpc_id for vpc in self.spec.vpcs),
            interfaces=frozenset(interface.interface_id for interface in interfaces),
            public_addresses=frozenset(
                interface.public_address
                for interface in interfaces
                if interface.public_address is not None and interface.to_internet
            ),
        )

    async def open_tap(self, interface_id: str) -> int:
        """A descriptor that carries nothing."""
        if interface_id not in (await self.observe()).interfaces:
            raise RetryableError(f"{interface_id} is not here")
        return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    async def listen(self, vpc_id: str, address: str, port: int) -> socket.socket:
        """A listening socket on the loopback interface, on a port of the kernel's choice."""
        if vpc_id not in (await self.observe()).vpcs:
            raise RetryableError(f"{vpc_id} is not here")
        return socket.create_server(("127.0.0.1", 0))

    async def destroy(self) -> None:
        self.spec = NetworkSpec()

    def allows(self, source: str, destination: str, protocol: str, port: int = -1) -> bool:
        """Whether what was applied lets a connection begin; see ``reachability.allows``."""
        return allows(self.spec, source, destination, protocol, port)
