"""What a VPC's namespace has in terms of links, addresses and routes: the spec as a ``State``. Pure."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from pileus.drivers.network.linux.links import Address, Link, Neighbour, Route, Rule, State, destination
from pileus.drivers.network.linux.names import (
    EDGE_LINK,
    GATEWAY6,
    GATEWAY_MAC,
    LOWER_MAC,
    METADATA,
    METADATA6,
    NEXT_HOP,
    NEXT_HOP6,
    OWN_TABLE,
    RESOLVER6,
    TRANSIT,
    UPPER_MAC,
    gateway,
    gateway6,
    peering_link,
    resolvers,
    subnets,
    table_number,
    tap_name,
)
from pileus.hostapi.network_spec import InterfaceSpec, PeeringSpec, RouteSpec, VpcSpec

_FIRST, _BY_MARK, _LAST = 50, 100, 32800
"""Priorities of rules: before and after the kernel's own, which ask the main table at 32766."""


class Ways(msgspec.Struct, frozen=True, kw_only=True):
    """Where routes of a VPC may lead: the interfaces that are here, those of NAT gateways by their id, and peerings."""

    interfaces: Mapping[str, InterfaceSpec]
    nat_gateways: Mapping[str, str]
    peerings: frozenset[str]

    @classmethod
    def of(cls, vpc: VpcSpec, peerings: Iterable[PeeringSpec]) -> "Ways":
        """Those of a spec. ``peerings``: the VPC's."""
        return cls(
            interfaces={nic.interface_id: nic for nic in vpc.interfaces},
            nat_gateways={nat.nat_gateway_id: nat.interface_id for nat in vpc.nat_gateways},
            peerings=frozenset(peering.peering_id for peering in peerings),
        )


def wanted(vpc: VpcSpec, peerings: Iterable[PeeringSpec], transit: str) -> State:
    """Links, addresses, neighbours, routes and rules of the namespace. ``transit``: its own address towards the edge."""
    peerings = tuple(peerings)
    ways = Ways.of(vpc, peerings)
    return State(
        links=frozenset(_links(vpc, peerings)),
        addresses=frozenset(_addresses(vpc, transit)),
        neighbours=frozenset(_neighbours(vpc, peerings)),
        routes=frozenset((*_main(vpc), *_tables(vpc, ways))),
        rules=frozenset(_rules(vpc)),
    )


def _links(vpc: VpcSpec, peerings: Iterable[PeeringSpec]) -> Iterator[Link]:
    yield Link(EDGE_LINK, LOWER_MAC, "")
    for nic in vpc.interfaces:
        yield Link(tap_name(nic.interface_id), GATEWAY_MAC, nic.interface_id)
    for peering in peerings:
        mac = UPPER_MAC if peering.requester == vpc.vpc_id else LOWER_MAC
        yield Link(peering_link(peering.peering_id), mac, peering.peering_id)


def _addresses(vpc: VpcSpec, transit: str) -> Iterator[Address]:
    by_id = subnets(vpc)
    own = (*resolvers(vpc), METADATA, *((RESOLVER6, METADATA6) if vpc.ipv6_cidrs else ()))
    yield from (Address(address, "lo") for address in own)
    yield Address(transit, EDGE_LINK)
    for nic in vpc.interfaces:
        name, subnet = tap_name(nic.interface_id), by_id[nic.subnet]
        yield Address(gateway(subnet), name)
        if subnet.ipv6_cidr is not None:
            yield Address(GATEWAY6, name)
            yield Address(gateway6(subnet.ipv6_cidr), name)  # by which dnsmasq knows the link's subnet


def _neighbours(vpc: VpcSpec, peerings: Iterable[PeeringSpec]) -> Iterator[Neighbour]:
    for hop in (NEXT_HOP, NEXT_HOP6):
        yield Neighbour(hop, EDGE_LINK, UPPER_MAC)
        for peering in peerings:
            mac = LOWER_MAC if peering.requester == vpc.vpc_id else UPPER_MAC
            yield Neighbour(hop, peering_link(peering.peering_id), mac)
    for nic in vpc.interfaces:
        name = tap_name(nic.interface_id)
        for address in (NEXT_HOP6, *(one.address for one in nic.addresses), *nic.ipv6):
            yield Neighbour(address, name, nic.mac)


def _main(vpc: VpcSpec) -> Iterator[Route]:
    """Every interface's addresses. One of the VPC's that nobody has must not be answered for by proxy ARP."""
    for cidr in (*vpc.cidrs, *vpc.ipv6_cidrs):
        yield Route(destination(cidr), "")
    for nic in vpc.interfaces:
        name = tap_name(nic.interface_id)
        for address in (*(one.address for one in nic.addresses), *nic.ipv6):
            yield Route(destination(address), name)
        for prefix in nic.prefixes:
            yield Route(destination(prefix), name, _hop(nic, prefix))
    yield Route("default", EDGE_LINK, NEXT_HOP, OWN_TABLE)


def _tables(vpc: VpcSpec, ways: Ways) -> Iterator[Route]:
    for table in vpc.route_tables:
        number = table_number(table.route_table_id)
        routes = {destination(route.destination): _route(route, number, ways) for route in table.routes}
        yield from ({where: Route(where, "", table=number) for where in ("default", "::/0")} | routes).values()


def _route(route: RouteSpec, table: int, ways: Ways) -> Route:
    """One route; a target that is not here is a black hole."""
    where, is_ipv6 = destination(route.destination), ":" in route.destination
    hop = NEXT_HOP6 if is_ipv6 else NEXT_HOP
    match route.kind:
        case "local":
            return Route(where, "", table=table, thrown=True)
        case "internet" | "egress-only" | "carrier" | "endpoint":
            return Route(where, EDGE_LINK, hop, table)
        case "peering" if route.target in ways.peerings:
            return Route(where, peering_link(route.target), hop, table)
        case "nat" | "interface":
            nic = ways.interfaces.get(ways.nat_gateways.get(route.target, route.target))
            if nic is not None:
                return Route(where, tap_name(nic.interface_id), _hop(nic, where), table)
        case _:
            pass
    return Route(where, "", table=table)


def _hop(nic: InterfaceSpec, where: str) -> str:
    """A next hop that the interface's link has a neighbour entry for."""
    return NEXT_HOP6 if ":" in where else nic.private_address


def _rules(vpc: VpcSpec) -> Iterator[Rule]:
    yield Rule(_FIRST, f"from {TRANSIT}", OWN_TABLE)
    yield Rule(_LAST, "iif lo", OWN_TABLE)
    for table in vpc.route_tables:
        number = table_number(table.route_table_id)
        yield Rule(_BY_MARK, f"fwmark {number:#x}", number)
        if vpc.ipv6_cidrs:
            yield Rule(_BY_MARK, f"fwmark {number:#x}", number, ipv6=True)
