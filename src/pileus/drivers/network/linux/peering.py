"""The veth between two VPCs. What comes by it reaches interfaces of the VPC and goes nowhere else (see ``names``)."""

from collections.abc import Iterable

from pileus.drivers.network.linux.names import LOWER_MAC, UPPER_MAC, peering_link
from pileus.drivers.network.linux.namespace import Namespace
from pileus.hostapi.network_spec import PeeringSpec


def of(vpc_id: str, peerings: Iterable[PeeringSpec]) -> tuple[PeeringSpec, ...]:
    """The peerings of one VPC."""
    return tuple(peering for peering in peerings if vpc_id in (peering.requester, peering.accepter))


async def connect(peering: PeeringSpec, requester: Namespace, accepter: Namespace) -> None:
    """Makes the veth in one step; neither namespace has an end of it, for ends go together."""
    name = peering_link(peering.peering_id)
    await requester.ip(
        [f"link add {name} address {UPPER_MAC} type veth peer name {name} address {LOWER_MAC} netns {accepter.name}"]
    )
