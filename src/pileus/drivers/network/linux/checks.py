"""The checks on what a network spec brings in.

Everything that ends up in a script or a path passes through here first, so that no value can smuggle syntax.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from pileus.drivers.errors import PermanentError
from pileus.drivers.network.linux.names import (
    Pools,
    owned,
    peering_link,
    pools,
    subnets,
    table_number,
    tap_name,
    veth_name,
)
from pileus.hostapi.network_spec import AclSpec, GroupSpec, InterfaceSpec, NetworkSpec, SubnetSpec, VpcSpec

_CLOUD = re.compile(r"[a-z][a-z0-9]{0,9}")
_ID = re.compile(r"[a-z]+-[0-9a-z]{1,40}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_WILDCARD = "*."
_PROTOCOL = re.compile(r"-1|tcp|udp|icmp|icmpv6|[0-9]{1,3}")

Claim = Callable[[str, str], None]


def check_cloud(name: str) -> str:
    """A cloud's name, which begins the names of all it makes: up to ten letters and digits, for links have fifteen."""
    if not _CLOUD.fullmatch(name):
        raise PermanentError(f"a cloud's name is up to ten lower-case letters and digits, not {name!r}")
    return name


def check(spec: NetworkSpec, default: Pools) -> None:
    """Refuses a spec whose values are malformed or contradict each other. ``default``: the pools where it names none.

    Raises:
        PermanentError: it says which value of which resource.
    """
    taken: dict[str, str] = {}

    def claim(what: str, owner: str) -> None:
        if taken.setdefault(what, owner) != owner:
            raise PermanentError(f"{what} belongs to {taken[what]} and to {owner}")

    owned_pools = pools(pool.cidr for pool in spec.pools) or default
    _parse("the IPv6 pools", ((IPv6Network, pool) for pool in spec.ipv6_pools))
    for service in spec.services:
        _parse(f"the service {service.service}", [(IPv4Address, service.address)])
        claim(service.address, "the cloud's services")
    for address in (owned_pools[0][1], owned_pools[0][2]):
        claim(str(address), "the host")
    for vpc in spec.vpcs:
        _check_vpc(vpc, claim)
        for interface in vpc.interfaces:
            for address in interface.addresses:
                if address.public is not None:
                    claim(address.public, interface.interface_id)
                    _check_public(IPv4Address(address.public), owned_pools)
    known = {vpc.vpc_id for vpc in spec.vpcs}
    for peering in spec.peerings:
        _check_ids("a peering", (peering.peering_id,))
        claim(peering_link(peering.peering_id), peering.peering_id)
        if not {peering.requester, peering.accepter} <= known or peering.requester == peering.accepter:
            raise PermanentError(f"{peering.peering_id}: a peering is between two VPCs of the spec")


def _check_public(address: IPv4Address, owned_pools: Pools) -> None:
    pool = next((pool for pool in owned_pools if address in pool), None)
    if pool is None:
        raise PermanentError(f"{address} is not in this cloud's pool")
    if address in (pool[0], pool[-1]):
        raise PermanentError(f"{address} is one of the addresses of {pool} that are not handed out")


def _check_vpc(vpc: VpcSpec, claim: Claim) -> None:
    _parse(vpc.vpc_id, _values(vpc))
    _check_ids(vpc.vpc_id, _ids(vpc))
    _check_names(vpc.vpc_id, (vpc.domain, *(host.name.removeprefix(_WILDCARD) for host in vpc.hosts)))
    if vpc.dhcp.domain is not None:
        _check_names(vpc.vpc_id, vpc.dhcp.domain.split(" "))
    if not vpc.vpc_id.startswith("vpc-") or not vpc.cidrs:
        raise PermanentError(f"{vpc.vpc_id}: a VPC has an id vpc-…, at least one CIDR and a domain name")
    _check_rules(vpc)
    claim(veth_name(vpc.vpc_id), vpc.vpc_id)
    for table in vpc.route_tables:
        claim(f"{table_number(table.route_table_id)} of {vpc.vpc_id}", table.route_table_id)
    tables, acls = {table.route_table_id for table in vpc.route_tables}, {acl.acl_id for acl in vpc.acls}
    for subnet in vpc.subnets:
        _check_subnet(subnet, vpc)
        if subnet.route_table not in tables or subnet.acl not in acls:
            raise PermanentError(f"{subnet.subnet_id}: its route table or its ACL is not in {vpc.vpc_id}")
    by_id = subnets(vpc)
    for interface in vpc.interfaces:
        if interface.subnet not in by_id:
            raise PermanentError(f"{interface.interface_id}: {interface.subnet} is not in {vpc.vpc_id}")
        _check_interface(interface, by_id[interface.subnet])
        claim(tap_name(interface.interface_id), f"{interface.interface_id} in {vpc.vpc_id}")
        for address in owned(interface):
            claim(f"{address} of {vpc.vpc_id}", interface.interface_id)
    kinds = {interface.interface_id: interface.kind for interface in vpc.interfaces}
    served = [("nat", nat.nat_gateway_id, nat.interface_id) for nat in vpc.nat_gateways]
    served += [("endpoint", endpoint.endpoint_id, one) for endpoint in vpc.endpoints for one in endpoint.interfaces]
    for kind, owner, interface_id in served:
        if kinds.get(interface_id) != kind:
            raise PermanentError(f"{owner}: {interface_id} is not an interface of kind {kind} in {vpc.vpc_id}")


def _values(vpc: VpcSpec) -> Iterator[tuple[Callable[[str], object], str]]:
    """Everything that must parse, and as what."""
    yield from ((IPv4Network, cidr) for cidr in vpc.cidrs)
    yield from ((IPv6Network, cidr) for cidr in vpc.ipv6_cidrs)
    for subnet in vpc.subnets:
        yield IPv4Network, subnet.cidr
        if subnet.ipv6_cidr is not None:
            yield IPv6Network, subnet.ipv6_cidr
    yield from ((ip_network, route.destination) for table in vpc.route_tables for route in table.routes)
    for group in vpc.groups:
        yield from ((ip_network, member) for member in group.members)
        yield from ((ip_network, rule.cidr) for rule in (*group.ingress, *group.egress) if rule.cidr is not None)
    yield from ((ip_network, entry.cidr) for acl in vpc.acls for entry in (*acl.ingress, *acl.egress))
    yield from ((ip_network, cidr) for prefix_list in vpc.prefix_lists for cidr in prefix_list.cidrs)
    yield from ((ip_address, address) for host in vpc.hosts for address in host.addresses)
    dhcp = vpc.dhcp
    yield from ((ip_address, server) for server in (*dhcp.dns_servers, *dhcp.ntp_servers) if server != "amazon")
    yield from ((IPv4Address, server) for server in dhcp.netbios_servers)
    for interface in vpc.interfaces:
        yield from ((IPv4Address, one.address) for one in interface.addresses)
        yield from ((IPv4Address, one.public) for one in interface.addresses if one.public is not None)
        yield from ((IPv6Address, address) for address in interface.ipv6)
        yield from ((ip_network, prefix) for prefix in interface.prefixes)


def _ids(vpc: VpcSpec) -> Iterator[str]:
    yield vpc.vpc_id
    for subnet in vpc.subnets:
        yield from (subnet.subnet_id, subnet.route_table, subnet.acl)
    for table in vpc.route_tables:
        yield table.route_table_id
        yield from (route.target for route in table.routes if route.target)
    for group in vpc.groups:
        yield group.group_id
        for rule in (*group.ingress, *group.egress):
            yield from (name for name in (rule.group, rule.prefix_list) if name is not None)
    yield from (acl.acl_id for acl in vpc.acls)
    yield from (prefix_list.prefix_list_id for prefix_list in vpc.prefix_lists)
    yield from (capture.interface_id for capture in vpc.captures)
    for nat in vpc.nat_gateways:
        yield from (nat.nat_gateway_id, nat.interface_id)
    for endpoint in vpc.endpoints:
        yield from (endpoint.endpoint_id, *endpoint.interfaces)
    for interface in vpc.interfaces:
        yield from (interface.interface_id, interface.subnet, *interface.groups)


def _check_rules(vpc: VpcSpec) -> None:
    def protocols(part: GroupSpec | AclSpec) -> Iterator[str]:
        return (rule.protocol for rule in (*part.ingress, *part.egress))

    for part in (*vpc.groups, *vpc.acls):
        for protocol in protocols(part):
            if not _PROTOCOL.fullmatch(protocol):
                raise PermanentError(f"{vpc.vpc_id}: not a protocol: {protocol!r}")


def _check_subnet(subnet: SubnetSpec, vpc: VpcSpec) -> None:
    inside = any(IPv4Network(subnet.cidr).subnet_of(IPv4Network(cidr)) for cidr in vpc.cidrs)
    if subnet.ipv6_cidr is not None:
        network = IPv6Network(subnet.ipv6_cidr)
        inside = inside and any(network.subnet_of(IPv6Network(cidr)) for cidr in vpc.ipv6_cidrs)
    if not inside:
        raise PermanentError(f"{subnet.subnet_id} is outside of {vpc.vpc_id}")


@lru_cache(maxsize=8192)
def _check_interface(interface: InterfaceSpec, subnet: SubnetSpec) -> None:
    name, network = interface.interface_id, IPv4Network(subnet.cidr)
    if not interface.addresses:
        raise PermanentError(f"{name} has no address")
    reserved = (*(network[n] for n in range(4)), network[-1])
    for one in interface.addresses:
        if IPv4Address(one.address) not in network:
            raise PermanentError(f"{name}: {one.address} is outside its subnet")
        if IPv4Address(one.address) in reserved:
            raise PermanentError(f"{name}: {one.address} is one of the five reserved addresses of {network}")
        _check_names(name, (*one.names, *one.public_names))
    inside = [IPv6Network(address) for address in interface.ipv6]
    inside += [IPv6Network(prefix) for prefix in interface.prefixes if ":" in prefix]
    if inside and (subnet.ipv6_cidr is None or not all(one.subnet_of(IPv6Network(subnet.ipv6_cidr)) for one in inside)):
        raise PermanentError(f"{name}: an IPv6 address or prefix of it is outside its subnet")
    if not all(IPv4Network(prefix).subnet_of(network) for prefix in interface.prefixes if ":" not in prefix):
        raise PermanentError(f"{name}: a prefix of it is outside its subnet")
    if not _MAC.fullmatch(interface.mac):
        raise PermanentError(f"{name}: not a MAC address in lower case: {interface.mac!r}")
    _check_names(name, (interface.hostname, *interface.ipv6_names))


def _parse(owner: str, values: Iterable[tuple[Callable[[str], object], str]]) -> None:
    try:
        for parse, value in values:
            _parsed(parse, value)
    except ValueError as error:
        raise PermanentError(f"{owner}: {error}") from error


@lru_cache(maxsize=1 << 16)
def _parsed(parse: Callable[[str], object], value: str) -> None:
    """Parses what was not parsed before: a change of one rule brings a thousand others along."""
    parse(value)


def _check_ids(owner: str, values: Iterable[str]) -> None:
    for value in values:
        if not _ID.fullmatch(value):
            raise PermanentError(f"{owner}: not an id: {value!r}")


def _check_names(owner: str, values: Iterable[str]) -> None:
    for value in values:
        if not _HOSTNAME.fullmatch(value):
            raise PermanentError(f"{owner}: not a host name: {value!r}")
