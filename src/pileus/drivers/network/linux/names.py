"""Names, addresses and MACs of the driver's own objects, all derived, and what they mean to packets.

How a packet finds its way through a VPC's namespace: its subnet is that of the link that it came in by (``tap_name``),
which the rules turn into a firewall mark, ``table_number`` of the subnet's route table. The mark names the routing table
that is asked first. There, what is local is thrown back to the main table, which knows all interfaces of the VPC. What
comes from a peering's link or from the edge has no mark: it reaches interfaces of the VPC, and nothing beyond them.

What leaves by ``EDGE_LINK`` is translated 1:1, or it is on its way to one of the cloud's services by a gateway endpoint:
then it goes as the namespace's own address on ``EDGE_LINK`` (its transit address), which the edge knows the way back to.
"""

import hashlib
import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from pileus.drivers.errors import PermanentError
from pileus.hostapi.network_spec import InterfaceSpec, SubnetSpec, VpcSpec

METADATA = "169.254.169.254"
METADATA_PORT = 80
RESOLVER = "169.254.169.253"
"""The resolver's second address, the same in every VPC; the first is the VPC's base + 2."""
METADATA6, RESOLVER6 = "fd00:ec2::254", "fd00:ec2::253"
"""The same of IPv6, in VPCs that have it."""

NEXT_HOP, NEXT_HOP6 = "169.254.0.1", "fe80::1"
"""The other end of every link that is routed by. Nobody owns them: permanent neighbour entries point them at its MAC."""

GATEWAY_MAC = "02:00:a9:fe:00:01"
"""The MAC of every tap as its guest sees it: one value, so that a guest restored elsewhere keeps its gateway."""
GATEWAY6 = "fe80::a9ff:fefe:1"
"""The router of every subnet with IPv6, on every tap: what EUI-64 makes of ``GATEWAY_MAC``."""

UPPER_MAC, LOWER_MAC = "02:00:a9:fe:00:02", "02:00:a9:fe:00:03"
"""Of a veth's end towards the host, and of its end towards the guests."""

MTU = 1500
TAP_PREFIX, VETH_PREFIX, PEERING_PREFIX = "vt", "vpc", "pcx"
TRANSIT = ipaddress.IPv4Network("198.18.0.0/15")
"""Addresses of the VPCs' namespaces: of their resolvers that ask the host's, and of guests that use a gateway endpoint.
Between the VPCs and the edge only (RFC 2544's range)."""
HOST6 = "fd00:a9fe:a9fe::1"
"""The host's IPv6 address on its link to the edge."""

EDGE_LINK = "edge"
"""A VPC's end of its veth, in the VPC's namespace."""
HOST_LINK = "host"
"""The edge's end of the veth to the host, in the edge's namespace."""

Pools = tuple[ipaddress.IPv4Network, ...]

_KERNELS_TABLES = 1000
"""Routing tables below this are somebody else's, or the driver's fixed ones."""
OWN_TABLE = 900
"""The routing table of what a VPC's namespace itself sends and the main table has no way for."""


@lru_cache(maxsize=1 << 14)
def short_name(prefix: str, resource_id: str) -> str:
    """A link's name (at most 15 characters) for a resource: the prefix and 48 bits of a hash."""
    return prefix + hashlib.sha256(resource_id.encode()).hexdigest()[:12]


def tap_name(interface_id: str) -> str:
    """The link of an interface in its VPC's namespace: a tap for a guest, otherwise a veth to the driver's appliance."""
    return short_name(TAP_PREFIX, interface_id)


def veth_name(vpc_id: str) -> str:
    """The edge's end of a VPC's veth."""
    return short_name(VETH_PREFIX, vpc_id)


def peering_link(peering_id: str) -> str:
    """The veth of a peering, which has this name in both VPCs' namespaces."""
    return short_name(PEERING_PREFIX, peering_id)


def table_number(route_table_id: str) -> int:
    """The number of a route table in the kernel, which is the firewall mark of packets that are routed by it, too."""
    digest = hashlib.sha256(route_table_id.encode()).digest()
    return _KERNELS_TABLES + int.from_bytes(digest[:8]) % ((1 << 31) - _KERNELS_TABLES)


def transit(index: int) -> str:
    """The transit address that goes with the index of a VPC's veth in the edge."""
    return str(TRANSIT[index])


def gateway(subnet: SubnetSpec) -> str:
    """The subnet's router: base + 1, as in every VPC of EC2."""
    return str(ipaddress.IPv4Network(subnet.cidr)[1])


def gateway6(cidr: str) -> str:
    """The router's address in a subnet's IPv6 CIDR. Guests use the link-local one."""
    return str(ipaddress.IPv6Network(cidr)[1])


def subnets(vpc: VpcSpec) -> dict[str, SubnetSpec]:
    """The VPC's subnets by id."""
    return {subnet.subnet_id: subnet for subnet in vpc.subnets}


def owned(interface: InterfaceSpec) -> tuple[str, ...]:
    """All that is the interface's: its addresses of both families and its delegated prefixes."""
    return (*(one.address for one in interface.addresses), *interface.ipv6, *interface.prefixes)


def resolvers(vpc: VpcSpec) -> tuple[str, str]:
    """The addresses under which the VPC's DNS answers: base + 2 of the first CIDR, and the link-local one."""
    return str(ipaddress.IPv4Network(vpc.cidrs[0])[2]), RESOLVER


def pools(cidrs: Iterable[str]) -> Pools:
    """The pools of public addresses. Raises PermanentError when one is malformed, smaller than a /29, or TRANSIT's."""
    try:
        networks = tuple(ipaddress.IPv4Network(cidr) for cidr in cidrs)
    except ValueError as error:
        raise PermanentError(f"the pool of public addresses: {error}") from error
    for network in networks:
        if network.prefixlen > 29:
            raise PermanentError(f"the pool {network} is too small: four of its addresses are not handed out")
        if network.overlaps(TRANSIT):
            raise PermanentError(f"the pool {network} overlaps {TRANSIT}, which joins VPCs to the host")
    return networks
