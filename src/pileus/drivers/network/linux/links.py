"""Links, addresses, routes and neighbours of a namespace as values, and the ``ip`` commands from one state to another."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from pileus.drivers.network.linux.names import MTU
from pileus.drivers.network.linux.namespace import Namespace

_DOOMED = 1


class Link(NamedTuple):
    """A link that is up. ``alias`` is kept by the kernel: the id of the resource that it belongs to."""

    name: str
    mac: str
    alias: str


class Address(NamedTuple):
    """A /32 on a link."""

    address: str
    link: str


class Neighbour(NamedTuple):
    """A permanent entry: what ARP would otherwise have to ask."""

    address: str
    link: str
    mac: str


class Route(NamedTuple):
    """A route. ``destination`` as ``ip`` prints it (no /32). Without a link it is a black hole; ``via`` is taken as on-link."""

    destination: str
    link: str
    via: str = ""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What a namespace has, or must have. Only links of the kinds that the driver makes, and what is on them and on lo."""

    links: frozenset[Link] = frozenset()
    addresses: frozenset[Address] = frozenset()
    neighbours: frozenset[Neighbour] = frozenset()
    routes: frozenset[Route] = frozenset()

    def link_names(self) -> frozenset[str]:
        """The names of the links."""
        return frozenset(link.name for link in self.links)

    def bare(self) -> "State":
        """What is left once the links are gone: what is on lo, and black holes."""
        return State(
            addresses=frozenset(address for address in self.addresses if address.link == "lo"),
            routes=frozenset(route for route in self.routes if not route.link),
        )


async def observe(namespace: Namespace, is_ours: Callable[[str], bool]) -> State:
    """Asks the kernel. Links for which ``is_ours(name)`` is false, and what is on them, are left out.

    Black holes and the addresses of lo are listed too, except in the host's namespace, where they are not ours.
    A link that is down appears without its MAC, so that it differs from any wanted one.
    """
    common = set[str]() if namespace.name is None else {"lo", ""}
    links, addresses, routes, neighbours = await namespace.show(
        "link show", "address show", "route show", "neighbour show nud permanent"
    )
    present = [entry for entry in links if is_ours(entry["ifname"])]
    names = {entry["ifname"] for entry in present}
    return State(
        links=frozenset(_link(entry) for entry in present),
        addresses=frozenset(
            Address(address["local"], entry["ifname"])
            for entry in addresses
            if entry["ifname"] in names | common
            for address in entry["addr_info"]
            if address["family"] == "inet" and address["local"] != "127.0.0.1"
        ),
        neighbours=frozenset(
            Neighbour(entry["dst"], entry["dev"], entry["lladdr"])
            for entry in neighbours
            if entry["dev"] in names and "lladdr" in entry
        ),
        routes=frozenset(
            Route(entry["dst"], entry.get("dev", ""), entry.get("gateway", ""))
            for entry in routes
            if entry.get("dev", "") in names | common
        ),
    )


def missing(found: State, wanted: State) -> list[Link]:
    """The links that have to be made before ``change`` is performed."""
    have = found.link_names()
    return sorted(link for link in wanted.links if link.name not in have)


def change(found: State, wanted: State) -> list[str]:
    """The ``ip`` commands that turn ``found`` into ``wanted``: [] when they are equal.

    A link that is in both stays up throughout, and a route that moves is exchanged, never absent.
    """
    return list(_changes(found, wanted))


def delete_together(names: Iterable[str]) -> list[str]:
    """The commands that delete links as one group: the kernel needs some 25 ms for a deletion, of however many."""
    commands = [f"link set {name} group {_DOOMED}" for name in sorted(names)]
    return [*commands, f"link delete group {_DOOMED}"] if commands else []


def _changes(found: State, wanted: State) -> Iterator[str]:
    gone = found.link_names() - wanted.link_names()
    yield from (f"link delete {name}" for name in sorted(gone))
    for link in sorted(wanted.links - found.links):
        alias = f" alias {link.alias}" if link.alias else ""
        yield f"link set {link.name} address {link.mac} mtu {MTU}{alias} up"
    yield from _address_changes(found, wanted, gone)
    yield from _neighbour_changes(found, wanted, gone)
    yield from _route_changes(found, wanted, gone)


def _address_changes(found: State, wanted: State, gone: frozenset[str]) -> Iterator[str]:
    for address in sorted(found.addresses - wanted.addresses):
        if address.link not in gone:
            yield f"address delete {address.address}/32 dev {address.link}"
    for address in sorted(wanted.addresses - found.addresses):
        yield f"address replace {address.address}/32 dev {address.link}"


def _neighbour_changes(found: State, wanted: State, gone: frozenset[str]) -> Iterator[str]:
    keep = {(entry.address, entry.link) for entry in wanted.neighbours}
    for entry in sorted(found.neighbours):
        if entry.link not in gone and (entry.address, entry.link) not in keep:
            yield f"neighbour delete {entry.address} dev {entry.link}"
    for entry in sorted(wanted.neighbours - found.neighbours):
        yield f"neighbour replace {entry.address} lladdr {entry.mac} nud permanent dev {entry.link}"


def _route_changes(found: State, wanted: State, gone: frozenset[str]) -> Iterator[str]:
    keep = {route.destination for route in wanted.routes}
    for route in sorted(found.routes):
        if route.link not in gone and route.destination not in keep:
            yield f"route delete {_kind(route)}{route.destination}"
    for route in sorted(wanted.routes - found.routes):
        via = f" via {route.via} onlink" if route.via else ""
        device = f" dev {route.link}" if route.link else ""
        yield f"route replace {_kind(route)}{route.destination}{via}{device}"


def _kind(route: Route) -> str:
    return "" if route.link else "blackhole "


def _link(entry: dict[str, Any]) -> Link:
    is_up = "UP" in entry["flags"] and entry["mtu"] == MTU
    return Link(entry["ifname"], entry["address"] if is_up else "", entry.get("ifalias", ""))
