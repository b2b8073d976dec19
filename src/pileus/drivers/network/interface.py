"""The network family: desired state in, observed state out. Called by ``pileus.agent``."""

import socket
from collections.abc import Sequence
from typing import Protocol

import msgspec

from pileus.hostapi.network_spec import NetworkSpec
from pileus.hostapi.observation import FlowObservation


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

    async def listen(self, place: str, address: str, port: int) -> socket.socket:
        """A listening TCP socket, from which the peer's true address can be read.

        ``place``: a VPC's id (the metadata service's 169.254.169.254:80), an interface endpoint's id (at its own
        interfaces' addresses), or ``services`` (the addresses of the spec's services).
        """
        ...

    async def heard(self, interface_id: str) -> int:
        """How many packets the guest behind an interface has sent since the interface was made. Only grows."""
        ...

    async def flows(self) -> Sequence[FlowObservation]:
        """What was captured for flow logs since the last call: whole minutes, and flows that ended."""
        ...

    async def destroy(self) -> None:
        """Removes everything this cloud ever made on the host's network, edge included."""
        ...
