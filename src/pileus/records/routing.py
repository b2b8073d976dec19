"""Which routes and rules hold where: what services show and what controllers tell hosts, read off the records once."""

from collections.abc import Sequence
from typing import Literal, Protocol, TypeVar

from pileus.base.record import Record
from pileus.records.gateways import CarrierGateway, EgressOnlyGateway, InternetGateway
from pileus.records.instance import Instance, State
from pileus.records.nat_gateway import NatGateway
from pileus.records.network_acl import NetworkAcl
from pileus.records.network_interface import NetworkInterface
from pileus.records.peering import Peering
from pileus.records.route_table import Route, RouteTable
from pileus.records.subnet import Subnet
from pileus.records.vpc import Vpc
from pileus.records.vpc_endpoint import VpcEndpoint

R = TypeVar("R", bound=Record)

RouteKind = Literal[
    "local", "internet", "egress-only", "carrier", "nat", "interface", "peering", "endpoint", "blackhole"
]

LOCAL = "local"
"""The target of routes inside of the VPC."""


class Lookup(Protocol):
    """A view or a transaction of the store, or what looks like one."""

    def get(self, kind: type[R], record_id: str, /) -> R | None:
        """The record of this id."""
        ...

    def list(self, kind: type[R], /, **index: str) -> Sequence[R]:
        """The records with these index values."""
        ...


def route_kind(view: Lookup, vpc_id: str, target: str) -> RouteKind:
    """Where a route of this VPC leads: ``blackhole`` when its target is gone, or does not work (any more)."""
    prefix = target.partition("-")[0]
    match prefix:
        case "local":
            return "local"
        case "igw":
            gateway = view.get(InternetGateway, target)
            return "internet" if gateway is not None and gateway.vpc_id == vpc_id else "blackhole"
        case "eigw":
            return "egress-only" if view.get(EgressOnlyGateway, target) is not None else "blackhole"
        case "cagw":
            return "carrier" if view.get(CarrierGateway, target) is not None else "blackhole"
        case "nat":
            nat = view.get(NatGateway, target)
            return "nat" if nat is not None and nat.state == "available" else "blackhole"
        case "eni":
            return "interface" if _receives(view, target) else "blackhole"
        case "pcx":
            peering = view.get(Peering, target)
            return "peering" if peering is not None and peering.state == "active" else "blackhole"
        case "vpce":
            endpoint = view.get(VpcEndpoint, target)
            return "endpoint" if endpoint is not None and endpoint.state == "available" else "blackhole"
        case _:
            return "blackhole"


def _receives(view: Lookup, interface_id: str) -> bool:
    """Whether an interface is in an instance that is neither stopped nor terminated: AWS tells no earlier."""
    interface = view.get(NetworkInterface, interface_id)
    instance = view.get(Instance, interface.instance_id) if interface is not None and interface.instance_id else None
    return instance is not None and instance.state not in {State.STOPPED, State.TERMINATED}


def routes_of(view: Lookup, table: RouteTable) -> tuple[Route, ...]:
    """A table's routes: a local one for each CIDR that its VPC has now, unless it was replaced, and those on record."""
    vpc = view.get(Vpc, table.vpc_id)
    written = tuple(route for route in table.routes if route.target != LOCAL)
    replaced = {route.destination for route in written}
    local = (
        Route(destination=cidr, target=LOCAL, origin="CreateRouteTable")
        for cidr in (local_cidrs(vpc) if vpc is not None else ())
        if cidr not in replaced
    )
    return (*local, *written)


def local_cidrs(vpc: Vpc) -> tuple[str, ...]:
    """What is local in a VPC: its CIDRs, IPv4 before IPv6."""
    return (*(cidr for _, cidr in vpc.cidrs), *vpc.ipv6_cidrs)


def route_table_of(view: Lookup, subnet: Subnet) -> RouteTable:
    """The route table that a subnet uses: its own or the VPC's main one."""
    for table in view.list(RouteTable, subnet_ids=subnet.id):
        return table
    return main_route_table(view, subnet.vpc_id)


def main_route_table(view: Lookup, vpc_id: str) -> RouteTable:
    """The main route table of a VPC."""
    for table in view.list(RouteTable, vpc_id=vpc_id):
        if any(association.main for association in table.associations):
            return table
    raise LookupError(f"{vpc_id} has no main route table")


def network_acl_of(view: Lookup, subnet_id: str) -> NetworkAcl:
    """The network ACL at a subnet's border: there is always exactly one."""
    for acl in view.list(NetworkAcl, subnet_ids=subnet_id):
        return acl
    raise LookupError(f"{subnet_id} has no network ACL")
