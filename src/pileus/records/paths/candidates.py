"""What a question leaves open: addresses and ports to try, one of each kind that rules and routes tell apart."""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network

from pileus.records.network_interface import NetworkInterface
from pileus.records.paths.filters import groups_of
from pileus.records.paths.routes import destinations
from pileus.records.prefix_list import PrefixList
from pileus.records.routing import Lookup, network_acl_of, route_table_of, routes_of
from pileus.records.subnet import Subnet

SOMEBODY = "8.8.8.8"
"""An address on the internet that no rule is about, unless it says so."""
SOME_PORT = 443
SOURCE_PORT = 50000
"""One that clients choose by themselves: Linux takes 32768 to 60999."""


def edges(view: Lookup, interfaces: Iterable[NetworkInterface]) -> tuple[list[str], list[int]]:
    """Addresses and ports just within and just beyond the bounds of every rule, route and entry about these interfaces."""
    addresses = dict[str, None]()
    ports = dict[int, None]()
    for interface in interfaces:
        for cidr, low, high in _bounds(view, interface):
            addresses.update(dict.fromkeys(_around(cidr)))
            if low >= 0:
                ports.update(dict.fromkeys(port for port in (low, high, low - 1, high + 1) if 0 <= port <= 65535))
    return list(addresses), list(ports)


def outside(addresses: Iterable[str]) -> Iterator[str]:
    """Those that somebody on the internet may have, an ordinary one first."""
    yield SOMEBODY
    yield from (address for address in addresses if IPv4Address(address).is_global)


def within(addresses: Iterable[str], cidrs: Iterable[str]) -> Iterator[str]:
    """Those in the CIDRs, and one of each that has none."""
    found = list(addresses)
    for cidr in cidrs:
        network = IPv4Network(cidr)
        inside = [address for address in found if IPv4Address(address) in network]
        yield from (str(network[min(4, network.num_addresses - 1)]), *inside)


def _bounds(view: Lookup, interface: NetworkInterface) -> Iterator[tuple[str, int, int]]:
    """CIDR, lowest and highest port (-1 any) of all that decides about an interface's packets."""
    for group in groups_of(view, interface):
        for rule in group.rules:
            prefix_list = view.get(PrefixList, rule.prefix_list_id) if rule.prefix_list_id else None
            cidrs = prefix_list.cidrs if prefix_list is not None else (rule.cidr or "0.0.0.0/0",)
            yield from ((cidr, rule.from_port, rule.to_port) for cidr in cidrs)
    for entry in network_acl_of(view, interface.subnet_id).entries:
        if entry.cidr is not None:
            yield entry.cidr, entry.from_port, entry.to_port
    subnet = view.get(Subnet, interface.subnet_id)
    if subnet is not None:
        for route in routes_of(view, route_table_of(view, subnet)):
            yield from ((cidr, -1, -1) for cidr in destinations(view, route))


def _around(cidr: str) -> Iterator[str]:
    if ":" in cidr:
        return
    network = IPv4Network(cidr, strict=False)
    first, last = int(network.network_address), int(network.broadcast_address)
    yield from (str(IPv4Address(value)) for value in (first, last, first - 1, last + 1) if 0 < value < 2**32 - 1)
