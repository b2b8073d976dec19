"""Which route a packet takes, and who has an address."""

from ipaddress import ip_network

from pileus.records.gateways import CarrierGateway, InternetGateway
from pileus.records.instance import Instance, State
from pileus.records.network_interface import NetworkInterface, PrivateAddress
from pileus.records.paths.filters import is_in, owns
from pileus.records.prefix_list import PrefixList
from pileus.records.route_table import Route, RouteTable
from pileus.records.routing import Lookup, routes_of
from pileus.records.vpc import Vpc

_NETWORKED = frozenset({State.PENDING, State.RUNNING, State.STOPPING, State.SHUTTING_DOWN})


def best_route(view: Lookup, table: RouteTable, address: str) -> Route | None:
    """The most specific route for an address. Of two with one destination, that of a prefix list gives way."""
    found = [
        ((ip_network(cidr).prefixlen, route.destination == cidr), route)
        for route in routes_of(view, table)
        for cidr in destinations(view, route)
        if is_in(address, cidr)
    ]
    return max(found, key=lambda one: one[0])[1] if found else None


def destinations(view: Lookup, route: Route) -> tuple[str, ...]:
    """The CIDRs that a route is for."""
    if not route.destination.startswith("pl-"):
        return (route.destination,)
    prefix_list = view.get(PrefixList, route.destination)
    return prefix_list.cidrs if prefix_list is not None else ()


def is_of(vpc: Vpc, address: str) -> bool:
    """Whether the address is in one of the VPC's CIDRs."""
    return any(is_in(address, cidr) for _, cidr in vpc.cidrs)


def interface_at(view: Lookup, vpc_id: str, address: str) -> NetworkInterface | None:
    """The interface of a VPC that has this private address."""
    for interface in view.list(NetworkInterface, private_addresses=address):
        if interface.vpc_id == vpc_id:
            return interface
    for interface in view.list(NetworkInterface, vpc_id=vpc_id):
        if owns(interface, address):
            return interface
    return None


def public_owner(
    view: Lookup, account: str, region: str, address: str
) -> tuple[NetworkInterface, PrivateAddress] | None:
    """The account's interface that has this public address, and the private one that it stands for."""
    for interface in view.list(NetworkInterface, public_addresses=address):
        if interface.account == account and interface.region == region:
            for one in interface.addresses:
                if one.public == address:
                    return interface, one
    return None


def gateway_of(view: Lookup, vpc_id: str, *, carrier: bool) -> str | None:
    """The id of the internet gateway (or carrier gateway) of a VPC."""
    for gateway in view.list(CarrierGateway if carrier else InternetGateway, vpc_id=vpc_id):
        return gateway.id
    return None


def functions(view: Lookup, interface: NetworkInterface) -> bool:
    """Whether there is anything behind an interface that could send and receive."""
    if interface.requester_id is not None:
        return True
    instance = view.get(Instance, interface.instance_id) if interface.instance_id else None
    return instance is not None and instance.state in _NETWORKED


def public_of(interface: NetworkInterface, address: str, *, carrier: bool) -> str | None:
    """The public (or carrier's) address that stands for a private one."""
    for one in interface.addresses:
        if one.address == address and one.carrier == carrier:
            return one.public
    return None
