"""Names, addresses and MACs of the driver's own objects, all derived, and the checks on what the spec brings in.

Everything that ends up in a script or a path passes through here first, so that no value can smuggle syntax.
"""

import hashlib
import ipaddress
import re
from collections.abc import Iterable

from pileus.drivers.errors import PermanentError
from pileus.hostapi.network_spec import InterfaceSpec, NetworkSpec, VpcSpec

METADATA = "169.254.169.254"
METADATA_PORT = 80
RESOLVER = "169.254.169.253"
"""The resolver's second address, the same in every VPC; the first is the VPC's base + 2."""

NEXT_HOP = "169.254.0.1"
"""The other end of every veth. Nobody owns it: a permanent neighbour entry points it at the other end's MAC."""

GATEWAY_MAC = "02:00:a9:fe:00:01"
"""The MAC of every tap as its guest sees it: one value, so that a guest restored elsewhere keeps its gateway."""

UPPER_MAC, LOWER_MAC = "02:00:a9:fe:00:02", "02:00:a9:fe:00:03"
"""Of a veth's end towards the host, and of its end towards the guests."""

MTU = 1500
TAP_PREFIX, VETH_PREFIX = "vt", "vpc"
TRANSIT = ipaddress.IPv4Network("198.18.0.0/15")
"""Addresses of the VPCs' resolvers on their way to the host's: between the VPCs and the edge only (RFC 2544's range)."""

EDGE_LINK = "edge"
"""A VPC's end of its veth, in the VPC's namespace."""
HOST_LINK = "host"
"""The edge's end of the veth to the host, in the edge's namespace."""

Pools = tuple[ipaddress.IPv4Network, ...]

_CLOUD = re.compile(r"[a-z][a-z0-9]{0,9}")
_ID = re.compile(r"[a-z]+-[0-9a-z]{1,40}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


def check_cloud(name: str) -> str:
    """A cloud's name, which begins the names of all it makes: up to ten letters and digits, for links have fifteen."""
    if not _CLOUD.fullmatch(name):
        raise PermanentError(f"a cloud's name is up to ten lower-case letters and digits, not {name!r}")
    return name


def short_name(prefix: str, resource_id: str) -> str:
    """A link's name (at most 15 characters) for a resource: the prefix and 48 bits of a hash."""
    return prefix + hashlib.sha256(resource_id.encode()).hexdigest()[:12]


def tap_name(interface_id: str) -> str:
    """The tap of an interface."""
    return short_name(TAP_PREFIX, interface_id)


def veth_name(vpc_id: str) -> str:
    """The edge's end of a VPC's veth."""
    return short_name(VETH_PREFIX, vpc_id)


def transit(index: int) -> str:
    """The transit address that goes with the index of a VPC's veth in the edge."""
    return str(TRANSIT[index])


def gateway(interface: InterfaceSpec) -> str:
    """The subnet's router: base + 1, as in every VPC of EC2."""
    return str(ipaddress.IPv4Network(interface.subnet_cidr)[1])


def resolvers(vpc: VpcSpec) -> tuple[str, str]:
    """The addresses under which the VPC's DNS answers: base + 2 of the first CIDR, and the link-local one."""
    return str(ipaddress.IPv4Network(vpc.cidrs[0])[2]), RESOLVER


def pools(cidrs: Iterable[str]) -> Pools:
    """The pools of public addresses. Raises PermanentError when one is malformed or smaller than a /29."""
    try:
        networks = tuple(ipaddress.IPv4Network(cidr) for cidr in cidrs)
    except ValueError as error:
        raise PermanentError(f"the pool of public addresses: {error}") from error
    for network in networks:
        if network.prefixlen > 29:
            raise PermanentError(f"the pool {network} is too small: four of its addresses are not handed out")
    return networks


def check(spec: NetworkSpec, owned: Pools) -> None:
    """Refuses a spec whose values are malformed or contradict each other.

    Raises:
        PermanentError: it says which value of which resource.
    """
    taken: dict[str, str] = {}

    def claim(what: str, owner: str) -> None:
        if taken.setdefault(what, owner) != owner:
            raise PermanentError(f"{what} belongs to {taken[what]} and to {owner}")

    for vpc in spec.vpcs:
        _check_vpc(vpc)
        claim(veth_name(vpc.vpc_id), vpc.vpc_id)
        for interface in vpc.interfaces:
            _check_interface(interface, vpc)
            claim(tap_name(interface.interface_id), f"{interface.interface_id} in {vpc.vpc_id}")
            claim(f"{interface.private_address} of {vpc.vpc_id}", interface.interface_id)
            if interface.public_address is not None:
                claim(interface.public_address, interface.interface_id)
                _check_public(ipaddress.IPv4Address(interface.public_address), owned)


def _check_public(address: ipaddress.IPv4Address, owned: Pools) -> None:
    pool = next((pool for pool in owned if address in pool), None)
    if pool is None:
        raise PermanentError(f"{address} is not in this cloud's pool")
    if address in (pool[0], pool[1], pool[2], pool[-1]):
        raise PermanentError(f"{address} is one of the addresses of {pool} that are not handed out")


def _check_vpc(vpc: VpcSpec) -> None:
    try:
        for cidr in vpc.cidrs:
            ipaddress.IPv4Network(cidr)
        for group in vpc.groups:
            for member in group.members:
                ipaddress.ip_address(member)
            for rule in (*group.ingress, *group.egress):
                if rule.cidr is not None:
                    ipaddress.ip_network(rule.cidr)
    except ValueError as error:
        raise PermanentError(f"{vpc.vpc_id}: {error}") from error
    references = (rule.group for group in vpc.groups for rule in (*group.ingress, *group.egress))
    ids = (vpc.vpc_id, *(group.group_id for group in vpc.groups), *(name for name in references if name is not None))
    for value in ids:
        if not _ID.fullmatch(value):
            raise PermanentError(f"{vpc.vpc_id}: not an id: {value!r}")
    if not vpc.vpc_id.startswith("vpc-") or not vpc.cidrs or not _HOSTNAME.fullmatch(vpc.domain):
        raise PermanentError(f"{vpc.vpc_id}: a VPC has an id vpc-…, at least one CIDR and a domain name")


def _check_interface(interface: InterfaceSpec, vpc: VpcSpec) -> None:
    try:
        subnet = ipaddress.IPv4Network(interface.subnet_cidr)
        private = ipaddress.IPv4Address(interface.private_address)
        ipaddress.IPv4Address(interface.public_address or "0.0.0.0")  # noqa: S104 - a placeholder that always parses
    except ValueError as error:
        raise PermanentError(f"{interface.interface_id}: {error}") from error
    if private not in subnet or not any(subnet.subnet_of(ipaddress.IPv4Network(cidr)) for cidr in vpc.cidrs):
        raise PermanentError(f"{interface.interface_id}: {private} is outside its subnet or its VPC")
    if private in (*(subnet[n] for n in range(4)), subnet[-1]):
        raise PermanentError(f"{interface.interface_id}: {private} is one of the five reserved addresses of {subnet}")
    if not _MAC.fullmatch(interface.mac):
        raise PermanentError(f"{interface.interface_id}: not a MAC address in lower case: {interface.mac!r}")
    for value in (interface.interface_id, *interface.groups):
        if not _ID.fullmatch(value):
            raise PermanentError(f"{interface.interface_id}: not an id: {value!r}")
    for name in (interface.hostname, *interface.names, *interface.public_names):
        if not _HOSTNAME.fullmatch(name):
            raise PermanentError(f"{interface.interface_id}: not a host name: {name!r}")
