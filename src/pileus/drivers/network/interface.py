"""The network family: desired state in, observed state out. Called by ``pileus.agent``."""

import socket
from typing import Protocol

import msgspec

from pileus.hostapi.spec import NetworkSpec


class NetworkState(msgspec.Struct, frozen=True, kw_only=True):
    """What is there: VPC ids that have a namespace, interface ids that have a working tap, public addresses that work."""

    vpcs: frozenset[str]
    interfaces: frozenset[str]
    public_addresses: frozenset[str]


class Network(Protocol):
    """All calls are idempotent. Rule changes are atomic: no moment at which a packet passes that neither the old nor the
    new rules let pass. Traffic that was established keeps flowing while rules change, as EC2 documents.

    Raises the errors of ``pileus.drivers.errors``.
    """

    async def open(self) -> None:
        """Prepares the host (edge namespace, uplink veth); finds what an earlier process made."""
        ...

    async def close(self) -> None:
        """Lets go without touching anything: packets flow on. Helper processes that serve guests stay."""
        ...

    async def apply(self, spec: NetworkSpec) -> None:
        """Makes it so, and removes what is not in it."""
        ...

    async def observe(self) -> NetworkState:
        """What is there now, asked of the kernel."""
        ...

    async def open_tap(self, interface_id: str) -> int:
        """A descriptor of the interface's tap (IFF_TAP, IFF_NO_PI, IFF_VNET_HDR) for a guest; the caller closes it."""
        ...

    async def listen(self, vpc_id: str, address: str, port: int) -> socket.socket:
        """A listening TCP socket inside the VPC's namespace (the metadata service's 169.254.169.254:80)."""
        ...

    async def destroy(self) -> None:
        """Removes everything this cloud ever made on the host's network, edge included."""
        ...
